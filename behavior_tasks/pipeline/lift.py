"""The lift of a campaign: the list of a date and today's log in; what the contact brought, or why not yet, out.

The list that somebody took away is measured as it was taken, even if its date was scored again; a nightly list that
nobody took, as it is handed out. The one thing to know: a purchase counts from the list's cutoff to one horizon later,
as it counts for the model, whether or not the message had been read by then.
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.few import withheld
from behavior_tasks.base.home import Home
from behavior_tasks.base.timeline import local_day, local_midnight
from behavior_tasks.data.events import open_events
from behavior_tasks.pipeline.campaigns import APPLICATION, Campaign, dates_of, every_campaign, newest_over
from behavior_tasks.pipeline.later import need_clean, newest_scoring, read_again, same_key
from behavior_tasks.pipeline.privacy.small_groups import least_group
from behavior_tasks.pipeline.runs import Run
from behavior_tasks.serve.audiences_facts import outcomes_at, seen_before, with_outcomes
from behavior_tasks.serve.audiences_lift import find_campaign, measure_lift
from behavior_tasks.serve.audiences_lists import ChosenList
from behavior_tasks.serve.audiences_rules import Costs
from behavior_tasks.serve.audiences_taken import taken_lists
from behavior_tasks.serve.served import served_dates

TOLD_OF_TAKEN = {"audience", "number", "taken_by", "taken_at"}


def campaign_lift(
    home: Home,
    campaign: str,
    *,
    run_id: str,
    day: date,
    as_of: date | None = None,
    input_path: str | None = None,
    costs: Costs | None = None,
) -> dict[str, Any]:
    """Return what a campaign brought.

    Args:
        home: the state folder.
        campaign: an audience's name, or the campaign that its rule names.
        run_id: of the run that reads the log again.
        day: of that run.
        as_of: the date of the list; None: the newest that was taken away and whose horizon is over in the log, of
            none that is over the newest; where none was taken, the same of the nightly lists.
        input_path: the log, where it lies elsewhere than when it was last scored.
        costs: in place of those of the audience.

    Returns:
        `campaign`, `as_of`, `until`, `log_until`, `over`, `taken` (who took each list and when; empty: nobody did),
        and of a horizon that is over `gone`, the shoppers that the log no longer holds, and what `measure_lift` gives.

    Raises:
        UserError: when there is no such campaign or date, no control, or the log or the key is not the same.
    """
    dates = dates_of(home, campaign, as_of)
    run = read_again(home, run_id, day=day, as_read_by=newest_scoring(home), input_path=input_path)
    return _lift(home, campaign, dates, run, costs)


def lift_as_scored(home: Home, campaign: str, as_of: date | None = None) -> dict[str, Any]:
    """Return what `campaign_lift` does, by the log as it was scored last: nothing is read again.

    Args:
        home: the state folder.
        campaign: an audience's name, or the campaign that its rule names.
        as_of: the date of the list; None: as above.

    Raises:
        UserError: as `campaign_lift`, or when the clean events of that scoring are gone.
    """
    dates, run = dates_of(home, campaign, as_of), newest_scoring(home)
    if run.artifact("clean") is None:
        raise UserError("The log that was scored last is not kept any more.", next_step="behavior score reads it again")
    return _lift(home, campaign, dates, run, None)


def _lift(home: Home, campaign: str, dates: Iterator[Campaign], run: Run, costs: Costs | None) -> dict[str, Any]:
    known = log_until(run)
    sent = newest_over(dates, known)
    assert sent is not None  # `dates_of` gives one or more
    find_campaign(sent.told, campaign, sent.as_of)
    lists = sent.lists()
    for one in lists:
        same_key(home, one)
    zone = ZoneInfo(run.record.config.source.timezone)
    told: dict[str, Any] = {
        "campaign": campaign,
        "as_of": sent.as_of.isoformat(),
        "until": local_day(sent.end, zone).isoformat(),
        "log_until": None if known is None else local_day(known, zone).isoformat(),
        "over": known is not None and sent.end <= known,
        "taken": [one.record.model_dump(mode="json", include=TOLD_OF_TAKEN) for one in sent.taken],
    }
    return told | _measured(run, sent, lists, costs) if told["over"] else told


def _measured(run: Run, sent: Campaign, lists: list[ChosenList], costs: Costs | None) -> dict[str, Any]:
    """Return what `campaign_lift` tells of a horizon that is over."""
    clean, memory_mb = need_clean(run), run.record.config.engine.memory_mb
    events, tables = open_events(clean), []
    horizons: dict[tuple[datetime, datetime], list[pd.DataFrame]] = {}
    for one in lists:
        horizons.setdefault((datetime.fromisoformat(one.facts["cutoff"]), one.end), []).append(one.members)
    for (cutoff, end), some in horizons.items():
        asked = pd.concat(some, ignore_index=True)
        there = asked["shopper"].isin(seen_before(events, cutoff, memory_mb=memory_mb))
        bought = outcomes_at(events, cutoff, end, memory_mb=memory_mb)
        tables.append(with_outcomes(asked.assign(there=there), bought))
    # With `overlap: allow` one shopper may stand on two lists of one campaign; the lot is the same for both.
    every = pd.concat(tables).drop_duplicates("shopper").reset_index(drop=True)
    members = every[every["there"]]
    missing = [name for name in ("contact", "control") if not (members["group"] == name).any()]
    if missing:
        raise UserError(
            f"Of the list of {sent.name} of {sent.as_of} the log holds no {' and no '.join(missing)} any more.",
            found=f"{len(every) - len(members):,} of {len(every):,} shoppers did nothing in it before the list",
            expected="the log that was scored, grown since; whoever was erased from it is left out",
            next_step="--input with that log",
        )
    own = costs if costs is not None else Costs.model_validate(sent.told[0]["costs"])
    lift = measure_lift(members, own, has_amounts="amount" in clean.facts["present"])
    told = {**lift, "gone": len(every) - len(members), "costs": own.model_dump()}
    return shown_lift(told, least_group(run.home))


def shown_lift(told: dict[str, Any], least: int) -> dict[str, Any]:
    """Return what may be shown of a lift: nothing of a group of fewer people than `least`, nor what compares with it.

    Shown again, nothing changes.

    Args:
        told: what `measure_lift` gives, with `gone`.
        least: fewest people that anything may be told of.
    """
    gone = {"gone": withheld(told["gone"], least), "least_told": least}
    small = [name for name in ("contact", "control") if withheld(told[name]["shoppers"], least) is None]
    if not small:
        return {**told, **gone}
    words = {"contact": "the contacted are", "control": "the control is"}
    return {
        **{**told, **gone},
        **{name: dict.fromkeys(told[name]) for name in small},
        "more": dict.fromkeys(told["more"]),
        **{"needed_control": None, "enough": False},
        "why": f"{' and '.join(words[name] for name in small)} fewer than {least} people, of whom nothing is told "
        "(privacy.min_group)",
    }


def campaign_states(home: Home) -> list[dict[str, Any]]:
    """Return every campaign, the newest first, by the log as it was scored last: nothing is read again.

    Returns:
        For each `campaign`, `as_of`, `until`, `contacts` and `control` (None: fewer than `least_told`), `taken_by` and
        `taken_at` (None: nobody took it), `ready`, and `state`: `ready`, `not over until …`, or `no control`.
    """
    if not (taken_lists(home) or served_dates(home, APPLICATION)):
        return []
    run = newest_scoring(home)
    known, zone = log_until(run), ZoneInfo(run.record.config.source.timezone)
    states, least = [], least_group(home)
    for one in every_campaign(home, known):
        last = max((taken.record for taken in one.taken), key=lambda record: record.taken_at, default=None)
        until = local_day(one.end, zone).isoformat()
        over = known is not None and one.end <= known
        states.append(
            {
                "campaign": one.name,
                "as_of": one.as_of.isoformat(),
                "until": until,
                "contacts": withheld(one.count("contacts"), least),
                "control": withheld(one.count("control"), least),
                "least_told": least,
                "taken_by": None if last is None else last.taken_by,
                "taken_at": None if last is None else last.taken_at.isoformat(),
                "ready": bool(over and one.count("control")),
                "state": "no control" if not one.count("control") else "ready" if over else f"not over until {until}",
            }
        )
    return states


def log_until(run: Run) -> datetime | None:
    """Return the instant, naive UTC, up to which a run's log tells everything: the end of its last local day."""
    clean = run.artifact("clean")
    if clean is None or clean.facts["last"] is None:
        return None
    zone = ZoneInfo(run.record.config.source.timezone)
    last = local_day(datetime.fromisoformat(clean.facts["last"]), zone)
    return local_midnight(last + timedelta(days=1), zone)
