"""The lists of the newest date: what was handed out in; their sizes, worth and a few journeys in words, out.

The one thing to know: nothing is counted here; every figure stands in the facts of the audiences, however many
shoppers there are.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from behavior_tasks.base.errors import UserError, nearest
from behavior_tasks.base.home import Home
from behavior_tasks.pipeline.export import real_ids_are_there
from behavior_tasks.pipeline.privacy.small_groups import least_group
from behavior_tasks.serve.audiences_files import TOLD, read_journeys
from behavior_tasks.serve.audiences_small import shown_audience
from behavior_tasks.serve.served import Served
from behavior_tasks.web.marketer_charts import line_of, scale_of
from behavior_tasks.web.marketer_phrases import phrase
from behavior_tasks.web.view import View

FIGURES = ("buyers", "amount", "profit")
NEXT_TO_NOTHING = 1e-3
"""Of a total: below, it is written as nought."""


def audiences_values(home: Home, view: View, served: Served) -> dict[str, Any]:
    """Return what the page of all audiences shows of what was handed out."""
    facts, least = served.facts, least_group(home)
    return {
        "facts": facts,
        "method": method_words(view, facts["method"]),
        "least": least,
        "audiences": [_row(view, shown_audience(one, least)) for one in facts["audiences"]],
    }


def audience_values(home: Home, view: View, served: Served, *, name: str) -> dict[str, Any]:
    """Return what the page of one audience shows.

    Args:
        home: the state folder.
        view: whose language.
        served: the audiences as they were handed out.
        name: of the audience.

    Raises:
        UserError: when there is none of that name.
    """
    told = {one["name"]: one for one in served.facts["audiences"]}
    if name not in told:
        raise UserError(
            f"There is no audience {name} of {served.as_of}.",
            expected=", ".join(told),
            next_step=f"open {nearest(name, told) or 'one of these'} on the page of the audiences",
        )
    least = least_group(home)
    one = shown_audience(told[name], least)
    return {
        "facts": served.facts,
        "least": least,
        "one": _row(view, one),
        "curve": _curve(one, least),
        "journeys": _journeys(view, served, one),
        "real_ids": view.visitor.may_decide and real_ids_are_there(home, served),
    }


def method_words(view: View, method: str) -> str:
    """Return whose chances the lists rest on, in words."""
    return view.text(f"marketer.methods.{method}")


def _row(view: View, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return one audience for a template."""
    return {
        **told,
        "heading": phrase(view.language, told["heading"]),
        "about": phrase(view.language, told["about"]),
        "note": phrase(view.language, told["note"]) if told["note"] else None,
        **{name: tidied(told[name]) for name in FIGURES},
    }


def tidied(figure: Mapping[str, float] | None) -> dict[str, float] | None:
    """Return a figure and its interval, with nought in the place of what is next to nothing.

    >>> tidied({"expected": 14.5, "lower": 1.29e-27, "upper": 163.0})
    {'expected': 14.5, 'lower': 0.0, 'upper': 163.0}
    """
    if figure is None:
        return None
    return {name: 0.0 if abs(value) < NEXT_TO_NOTHING else value for name, value in figure.items()}


def _curve(told: Mapping[str, Any], least: int) -> dict[str, Any] | None:
    """Return the picture of what contacting ever more of an audience is expected to bring, in steps of `least`."""
    points = apart(zip(map(float, told["curve"]["contacts"]), told["curve"]["values"], strict=True), least)
    if len(points) < 2:
        return None
    scale = scale_of(points)
    value = max((value for contacts, value in points if contacts <= told["contacts"]), default=0.0)
    return {
        "of": told["curve"]["of"],
        "line": line_of(points, scale),
        "mark": scale.place(float(told["contacts"]), value),
        "most_x": int(scale.most_x),
        "most_y": scale.most_y,
    }


def apart(points: Iterable[tuple[float, float]], least: int) -> list[tuple[float, float]]:
    """Return the points that lie at least so many people apart, from the first on.

    >>> apart([(1, 0.5), (7, 2.0), (21, 4.0), (22, 4.5)], 20)
    [(1, 0.5), (21, 4.0)]
    """
    kept: list[tuple[float, float]] = []
    for point in points:
        if not kept or point[0] - kept[-1][0] >= least:
            kept.append(point)
    return kept


def _journeys(view: View, served: Served, told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the first shoppers of an audience: what they did, their chance, and why it is what it is."""
    journeys = read_journeys(served.folder, view.language)
    return [
        {
            **row,
            "journey": journeys.get((told["name"], row["shopper"])),
            "reasons": [phrase(view.language, one) for one in (row["reason"] or "").split("; ") if one],
        }
        for row in told["first"][:TOLD]
    ]
