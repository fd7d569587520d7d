"""The moment: at which instant the shop is looked at, and what must be known before anybody believes the answer.

In come the clean events, the champions and the day that was asked for; out come the instant and the banners. The one
thing to know: without a day, it is the beginning of the day after the log's last event.
"""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from behavior_tasks.base.artifacts import Artifact, Output, Rows
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.stage import Job
from behavior_tasks.base.timeline import local_midnight
from behavior_tasks.serve.banners import Banner, banner_facts
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


def moment_stage(job: Job) -> Output:
    """Choose the instant; facts: `as_of`, `cutoff`, `timezone`, `banners`."""
    clean, zone = job.inputs["clean"], ZoneInfo(job.config.source.timezone)
    if clean.facts["last"] is None:
        raise UserError(
            "The log has no clean event, so there is nobody to score.",
            expected="events before the day that is asked for",
            next_step="behavior quarantine shows why rows stand aside",
        )
    last = datetime.fromisoformat(clean.facts["last"]).replace(tzinfo=UTC).astimezone(zone).date()
    moment = moment_at(job.as_of or last + timedelta(days=1), job.config.source.timezone)
    banners: list[Banner] = []
    rows = Rows(unit_in="moments", unit_out="moments", rows_in=1, rows_out=1)
    return Output(rows=rows, facts={**moment.model_dump(mode="json"), "banners": banner_facts(banners)})
