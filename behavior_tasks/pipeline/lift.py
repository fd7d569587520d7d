"""The lift of a campaign: the audiences of a date and today's log in; what the contact brought, or why not yet, out.

The one thing to know: a purchase counts from the cutoff of the audiences to one horizon later, as it counts for the
model, whether or not the message had been read by then.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.home import Home
from behavior_tasks.base.timeline import local_midnight
from behavior_tasks.data.events import open_events
from behavior_tasks.pipeline.later import need_clean, newest_scoring, read_again, same_key
from behavior_tasks.serve.audiences_facts import outcomes_at, with_outcomes
from behavior_tasks.serve.audiences_files import MEMBERS
from behavior_tasks.serve.audiences_lift import find_campaign, measure_lift
from behavior_tasks.serve.audiences_rules import Costs
from behavior_tasks.serve.served import Served, need_served, served_dates

APPLICATION = "audiences"


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
        as_of: the date of the list; None: the newest whose horizon is over in the log, else the newest.
        input_path: the log, where it lies elsewhere than when it was last scored.
        costs: in place of those of the audience.

    Returns:
        `campaign`, `as_of`, `until`, `log_until`, `over`, and of a horizon that is over what `measure_lift` gives.

    Raises:
        UserError: when there is no such campaign or date, no control, or the log or the key is not the same.
    """
    need_served(home, APPLICATION, as_of)
    run = read_again(home, run_id, day=day, as_read_by=newest_scoring(home), input_path=input_path)
    clean, zone = need_clean(run), ZoneInfo(run.record.config.source.timezone)
    served = _choose(home, as_of, _known_until(clean, zone))
    same_key(home, served)
    found = find_campaign(served, campaign)
    known_until = _known_until(clean, zone)
    end = datetime.fromisoformat(served.facts["end"])
    told: dict[str, Any] = {
        "campaign": campaign,
        "as_of": served.as_of.isoformat(),
        "until": _local_day(end, zone).isoformat(),
        "log_until": None if known_until is None else _local_day(known_until, zone).isoformat(),
        "over": known_until is not None and end <= known_until,
    }
    if not told["over"]:
        return told
    names = [one["name"] for one in found]
    members = pd.read_parquet(served.folder / MEMBERS, filters=[("audience", "in", names)])
    # With `overlap: allow` one shopper may stand on two lists of one campaign; the lot is the same for both.
    members = members.drop_duplicates("shopper").reset_index(drop=True)
    bought = outcomes_at(
        open_events(clean),
        datetime.fromisoformat(served.facts["cutoff"]),
        end,
        memory_mb=run.record.config.engine.memory_mb,
    )
    own = costs if costs is not None else Costs.model_validate(found[0]["costs"])
    has_amounts = "amount" in clean.facts["present"]
    return (
        told | measure_lift(with_outcomes(members, bought), own, has_amounts=has_amounts) | {"costs": own.model_dump()}
    )


def _choose(home: Home, as_of: date | None, known_until: datetime | None) -> Served:
    """Return the audiences of a date; without one the newest whose horizon is over, else the newest."""
    newest = need_served(home, APPLICATION, as_of)
    if as_of is not None or known_until is None:
        return newest
    for day in reversed(served_dates(home, APPLICATION)):
        served = need_served(home, APPLICATION, day)
        if datetime.fromisoformat(served.facts["end"]) <= known_until:
            return served
    return newest


def _known_until(clean: Artifact, zone: ZoneInfo) -> datetime | None:
    """Return the instant, naive UTC, up to which the log tells everything: the end of its last local day."""
    if clean.facts["last"] is None:
        return None
    last = _local_day(datetime.fromisoformat(clean.facts["last"]), zone)
    return local_midnight(last + timedelta(days=1), zone)


def _local_day(instant: datetime, zone: ZoneInfo) -> date:
    return instant.replace(tzinfo=UTC).astimezone(zone).date()
