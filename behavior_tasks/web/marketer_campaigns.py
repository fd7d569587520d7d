"""Past campaigns: lists that were taken away in; how many were contacted, and what the contact brought, out.

A lift reads the shop's events, so it is measured once, when somebody asks for it, and kept in the cache until the log
is scored again. The one thing to know: who measures holds a lock of the kernel, so a measurement that was killed is
never waited for.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from filelock import FileLock, Timeout

from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.pipeline.later import newest_scoring
from behavior_tasks.pipeline.lift import campaign_states, lift_as_scored, shown_lift
from behavior_tasks.serve.audiences_lift import effect_of
from behavior_tasks.serve.served import Served
from behavior_tasks.web.marketer_charts import bars_of
from behavior_tasks.web.marketer_look import shown_problem
from behavior_tasks.web.view import View

CACHE = "lift"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How far the lift of a campaign is known."""

    state: Literal["none", "measuring", "done", "failed"]
    told: Mapping[str, Any]
    """What `lift_as_scored` gives, or the problem."""


def campaigns_values(home: Home, view: View, _served: Served | None) -> dict[str, Any]:
    """Return what the page of the campaigns shows; past ones are there whatever was handed out since."""
    values: dict[str, Any] = {"campaigns": [], "waiting": False, "is_there": True}
    try:
        states = campaign_states(home)
        zone = ZoneInfo(newest_scoring(home).record.config.source.timezone) if states else ZoneInfo("UTC")
    except UserError as trouble:
        return {**values, "trouble": shown_problem(view, trouble)}
    campaigns = [
        _row(view, one, measured(home, one["campaign"], date.fromisoformat(one["as_of"])), zone) for one in states
    ]
    return {
        **values,
        "campaigns": campaigns,
        "zone": str(zone),
        # Who has just asked for a lift comes back before it is begun.
        "waiting": view.said == "measuring" or any(one["measured"].state == "measuring" for one in campaigns),
    }


def measured(home: Home, campaign: str, as_of: date) -> Measured:
    """Return how far the lift of a campaign's list is known, by the log as it was scored last."""
    file = _file(home, campaign, as_of)
    if _is_held(file):
        return Measured(state="measuring", told={})
    try:
        content = json.loads(file.read_bytes())
    except (FileNotFoundError, json.JSONDecodeError):
        return Measured(state="none", told={})
    return Measured(state="failed" if "problem" in content else "done", told=content)


def need_campaign(home: Home, campaign: str, as_of: date) -> None:
    """Refuse a campaign whose lift can't be measured.

    Raises:
        UserError: naming the campaigns that are ready.
    """
    states = campaign_states(home)
    ready = {(one["campaign"], one["as_of"]) for one in states if one["ready"]}
    if (campaign, as_of.isoformat()) not in ready:
        raise UserError(
            f"The lift of {campaign} of {as_of} can't be measured.",
            expected=", ".join(f"{name} of {day}" for name, day in sorted(ready)) or "a campaign whose days are over",
            next_step="open the page of the campaigns again",
        )


def measure(home: Home, campaign: str, as_of: date) -> None:
    """Measure the lift of a campaign's list and keep it; whoever measures the same already is left alone."""
    file = _file(home, campaign, as_of)
    lock = _lock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return
    try:
        told = _measure(home, campaign, as_of)
        write_durably(file, json.dumps(told, ensure_ascii=False).encode())
    finally:
        lock.release()


def _measure(home: Home, campaign: str, as_of: date) -> dict[str, Any]:
    try:
        return lift_as_scored(home, campaign, as_of)
    except UserError as trouble:
        return {"problem": trouble.problem, "found": trouble.found, "next_step": trouble.next_step}


def _row(view: View, state: Mapping[str, Any], found: Measured, zone: ZoneInfo) -> dict[str, Any]:
    """Return one campaign for a template."""
    taken_at = state["taken_at"]
    is_told = found.state == "done" and found.told.get("over", False)
    return {
        **state,
        "taken_at": f"{datetime.fromisoformat(taken_at).astimezone(zone):%Y-%m-%d %H:%M}" if taken_at else None,
        "measured": found,
        "lift": _lift(view, shown_lift(dict(found.told), state["least_told"])) if is_told else None,
    }


def _lift(view: View, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return a measured lift for a template: what happened, in words and figures."""
    groups = {name: told[name] for name in ("contact", "control")}
    rates = [float(group["rate"] or 0.0) for group in groups.values()]
    effect = effect_of(told)
    return {
        **told,
        "effect": effect,
        "verdict": view.text(f"marketer.effects.{effect}"),
        "bars": dict(zip(groups, bars_of([(rate, rate, rate) for rate in rates]), strict=True)),
        "points": _scaled(told["more"]["rate"], 100),
        "extra": told["more"]["buyers"],
        "profit": told["more"]["profit"],
        "amount": told["more"]["amount"],
    }


def _scaled(figure: Mapping[str, float] | None, factor: float) -> dict[str, float] | None:
    return None if figure is None else {name: factor * value for name, value in figure.items()}


def _file(home: Home, campaign: str, as_of: date) -> Path:
    """Return where a lift is kept: another log is another file."""
    run = newest_scoring(home)
    clean = next((record.uri for record in run.stages() if record.stage == "clean"), "none")
    return make_folder(home.cache / CACHE) / f"{campaign}.{as_of}.{clean.rpartition('/')[2]}.json"


def _lock(file: Path) -> FileLock:
    return FileLock(file.with_suffix(".lock"))


def _is_held(file: Path) -> bool:
    lock = _lock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
