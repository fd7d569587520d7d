"""The moment: at which instant the shop is looked at, and what must be known before anybody believes the answer.

In come the clean events, the champions and the day that was asked for; out come the instant and the banners. The one
thing to know: without a day, it is the beginning of the day after the log's last event, but never later than the day
that the run is for, which is not over yet.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from behavior_tasks.base.artifacts import Artifact, Output, Rows
from behavior_tasks.base.stage import Job
from behavior_tasks.base.timeline import local_midnight
from behavior_tasks.data.parts import read_parts
from behavior_tasks.examples.feature_table import UNITS
from behavior_tasks.serve import readiness
from behavior_tasks.serve.banners import banner_facts
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.log_days import count_days, unseen_products


class Moment(BaseModel):
    """The instant at which the shop is looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: date
    """The local day that begins there."""
    cutoff: datetime
    """Naive UTC."""
    timezone: str

    @classmethod
    def load(cls, artifact: Artifact) -> "Moment":
        """Return the moment of the stage's artifact."""
        return cls.model_validate({name: artifact.facts[name] for name in cls.model_fields})

    def earlier(self, days: int) -> "Moment":
        """Return the moment so many local days before."""
        return moment_at(self.as_of - timedelta(days=days), self.timezone)


def moment_at(as_of: date, timezone: str) -> Moment:
    """Return the beginning of a local day."""
    return Moment(as_of=as_of, cutoff=local_midnight(as_of, ZoneInfo(timezone)), timezone=timezone)


def backtest_moment(moment: Moment, champion: Champion) -> Moment | None:
    """Return the newest moment whose horizon is over, or None when the champion has trained on what followed it."""
    earlier = moment.earlier(champion.examples.horizon_days)
    return earlier if earlier.cutoff >= champion.tested_from else None


def moment_stage(job: Job) -> Output:
    """Choose the instant and look whether log and champions are fit for it.

    Facts: `as_of`, `cutoff`, `timezone`, `last_day` (the newest with an event before it) and `banners`.

    Raises:
        UserError: when nobody can be scored, or a champion needs a column that the log lacks.
    """
    clean, config, zone = job.inputs["clean"], job.config, ZoneInfo(job.config.source.timezone)
    last = datetime.fromisoformat(clean.facts["last"]).replace(tzinfo=UTC).astimezone(zone).date()
    simulated = "simulate" in job.inputs["ingest"].manifest.inputs
    # The day that the run is for is not over yet.
    as_of = job.as_of or (last + timedelta(days=1) if simulated else min(last + timedelta(days=1), job.today))
    moment = moment_at(as_of, config.source.timezone)
    found = (Champion.load(job.inputs["champions"], unit) for unit in UNITS)
    champions = [champion for champion in found if champion is not None]
    days = count_days(clean, read_parts(job.inputs["ingest"].path), moment.cutoff, moment.timezone)
    readiness.need_events(days, as_of, champions)
    # Of a day that was asked for, or of a simulated shop, today's date says nothing.
    needed_on = as_of if job.as_of or simulated else job.today
    lookback_days = max(champion.examples.lookback_days for champion in champions)
    banners = [
        *readiness.about_lateness(days, needed_on, config),
        *readiness.about_days(days, as_of, config, lookback_days=lookback_days),
        *readiness.about_units(champions),
    ]
    for champion in champions:
        banners += readiness.about_columns(champion, clean.facts["present"], config.serve.missing_columns)
        banners += readiness.about_champion(champion, as_of, moment.cutoff, config)
    banners += readiness.about_products(_unseen(champions, clean, days.last, moment), days.last, config)
    rows = Rows(unit_in="moments", unit_out="moments", rows_in=1, rows_out=1)
    facts = {**moment.model_dump(mode="json"), "last_day": days.last.isoformat(), "banners": banner_facts(banners)}
    return Output(rows=rows, facts=facts)


def _unseen(champions: Sequence[Champion], clean: Artifact, day: date, moment: Moment) -> list[readiness.NewProducts]:
    """Count the new products of the newest day, and of the days that each champion was tested on."""
    begin, end = moment_at(day, moment.timezone).cutoff, moment_at(day + timedelta(days=1), moment.timezone).cutoff
    return [
        readiness.NewProducts(
            champion=champion,
            newest=unseen_products(champion, clean, begin, end),
            tested=unseen_products(champion, clean, champion.tested_from, champion.tested_from + champion.horizon),
        )
        for champion in champions
        if champion.tested_from < begin
    ]
