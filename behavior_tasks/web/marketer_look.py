"""What was handed out, as the page meets it: an application's name in; its newest date, or why there is none, out.

The one thing to know: what is damaged spoils its own part of the page and no other; so every part looks for itself.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from behavior_tasks.base.config import ServeConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.pipeline.serving import RECORD, last_scoring
from behavior_tasks.serve.audiences_taken import scored_again
from behavior_tasks.serve.audiences_way import APPLICATION as AUDIENCES
from behavior_tasks.serve.banners import Banner
from behavior_tasks.serve.served import RECORD as SERVED_RECORD
from behavior_tasks.serve.served import Served, find_served
from behavior_tasks.web.marketer_phrases import phrase
from behavior_tasks.web.texts import texts
from behavior_tasks.web.view import View

SECONDS_A_DAY = 86_400


@dataclass(frozen=True, kw_only=True)
class Told:
    """One banner, in plain words."""

    level: str
    """notice, warning or severe."""
    words: str
    """One sentence in the reader's language."""
    details: str | None
    """The banner's own sentence with its figures, in English; None: `words` is all there is."""
    next_step: str | None
    """What to type or do, in English."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What there is of an application."""

    application: str
    state: Literal["there", "empty", "damaged"]
    served: Served | None = None
    trouble: UserError | None = None
    """Why it is damaged."""


def look_for(home: Home, application: str) -> Look:
    """Return the newest that was handed out of an application, or why there is none."""
    try:
        served = find_served(home, application)
    except UserError as trouble:
        return Look(application=application, state="damaged", trouble=trouble)
    return Look(application=application, state="there" if served else "empty", served=served)


def banners_for(home: Home, view: View, look: Look, also: Sequence[Banner] = (), *, now: datetime) -> list[Told]:
    """Return all that must be known before a part of the page is believed, the gravest first.

    Args:
        home: the state folder.
        view: whose language.
        look: the part.
        also: banners beside those that were handed out.
        now: the time, with its zone.
    """
    told = [*_not_renewed(home, view, look), *_old(view, look, now)]
    if look.served is not None:
        told += [_plain(view, banner) for banner in (*look.served.banners, *also)]
    order = ("severe", "warning", "notice")
    return sorted(dict.fromkeys(told), key=lambda one: order.index(one.level))


def part_values(home: Home, view: View, look: Look, *, now: datetime) -> dict[str, Any]:
    """Return what every part of the page shows: whether there is anything, and what must be known of it."""
    also: list[Banner] = []
    if look.application == AUDIENCES and look.served is not None:
        also = _scored_again(home, look.served)
    return {
        "look": look,
        "is_there": look.served is not None,
        "banners": banners_for(home, view, look, also, now=now),
        "trouble": shown_problem(view, look.trouble) if look.trouble else None,
    }


def _scored_again(home: Home, served: Served) -> list[Banner]:
    try:
        return scored_again(home, served)
    except UserError:
        return []  # a damaged campaign is told where the campaigns are


def _plain(view: View, banner: Banner) -> Told:
    """Return a banner in plain words where there are some, else as it stands."""
    code = banner.code.replace("other_horizon_days", "other_settings").replace("other_lookback_days", "other_settings")
    key = f"marketer.banners.{code}"
    if key not in texts(view.language):
        return Told(level=banner.level, words=banner.words, details=None, next_step=banner.next_step)
    return Told(level=banner.level, words=view.text(key), details=banner.words, next_step=banner.next_step)


def _not_renewed(home: Home, view: View, look: Look) -> list[Told]:
    """Return a banner where the newest scoring gave nothing new of an application."""
    run = last_scoring(home)
    if run is None or look.served is None:
        return []
    scored: dict[str, Any] = run.noted(RECORD) or {}
    why = scored.get("failed", {}).get(look.application)
    if not scored and (error := run.noted("error")) is not None:
        why = error["message"]
    if why is None:
        return []
    words = view.text("marketer.not_renewed", as_of=look.served.as_of)
    return [Told(level="severe", words=words, details=str(why), next_step="behavior score")]


def _old(view: View, look: Look, now: datetime) -> list[Told]:
    """Return a banner where nothing new was handed out for longer than a log may be silent."""
    if look.served is None:
        return []
    handed_out = (look.served.folder / SERVED_RECORD).stat().st_mtime
    days = int((now.astimezone(UTC).timestamp() - handed_out) // SECONDS_A_DAY)
    if days <= ServeConfig().max_silent_days:
        return []
    words = view.text("marketer.stale", days=days, as_of=look.served.as_of)
    return [Told(level="warning", words=words, details=None, next_step="behavior score")]


def first_rows(file: Path, most: int) -> list[dict[str, str]]:
    """Return the first rows of a CSV; none where there is no file."""
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as stream:
        return list(islice(csv.DictReader(stream), most))


def shown_problem(view: View, trouble: UserError) -> dict[str, str | None]:
    """Return an error for a template: the reader's words where there are some, and the next step."""
    return {
        "problem": phrase(view.language, trouble.problem),
        "found": trouble.found,
        "expected": trouble.expected,
        "next_step": trouble.next_step,
    }
