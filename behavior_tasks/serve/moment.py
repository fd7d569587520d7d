"""The moment: the day at whose beginning the shop is looked at.

In come the clean events and the day that was asked for; out comes the instant. The one thing to know: without a day,
it is the beginning of the day after the log's last event, but never later than the day that the run is for, which is
not over yet.
"""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from behavior_tasks.base.artifacts import Artifact, Output, Rows
from behavior_tasks.base.config import Config
from behavior_tasks.base.stage import Job
from behavior_tasks.base.timeline import local_day, local_midnight
from behavior_tasks.serve.champions import Champion


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


def day_looked_at(asked: date | None, today: date, config: Config, inputs: Mapping[str, Artifact]) -> date:
    """Return the local day at whose beginning the shop is looked at; (the shape of a row's `day`)."""
    zone = ZoneInfo(config.source.timezone)
    last = local_day(datetime.fromisoformat(inputs["clean"].facts["last"]), zone)
    after = last + timedelta(days=1)
    # The day that the run is for is not over yet.
    return asked or (after if is_simulated(inputs["ingest"]) else min(after, today))


def is_simulated(ingest: Artifact) -> bool:
    """Whether the log is that of a simulated shop, of whose days today's date says nothing."""
    return "simulate" in ingest.manifest.inputs


def moment_stage(job: Job) -> Output:
    """Keep the instant; facts: `as_of`, `cutoff` and `timezone`."""
    assert job.day is not None
    moment = moment_at(job.day, job.config.source.timezone)
    rows = Rows(unit_in="moments", unit_out="moments", rows_in=1, rows_out=1)
    return Output(rows=rows, facts=moment.model_dump(mode="json"))
