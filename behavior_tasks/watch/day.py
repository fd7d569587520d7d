"""A watched day: today's log, what was served and who serves in; tables and findings out.

`watch_day` is the whole watch of one day and writes nothing but caches. The one thing to know: the day is that of the
moment, so a replay asks for one day after the other with the log as it stood then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home
from behavior_tasks.base.timeline import local_day
from behavior_tasks.data.events import open_events
from behavior_tasks.examples.feature_table import UNITS, Unit
from behavior_tasks.serve.banners import Banner
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.moment import Moment
from behavior_tasks.serve.score import Place
from behavior_tasks.watch import drift, matured
from behavior_tasks.watch.alerts import Finding
from behavior_tasks.watch.findings import (
    find_in_banners,
    find_in_columns,
    find_in_dates,
    find_in_figures,
    missing_dates,
)
from behavior_tasks.watch.handed_findings import find_in_handed_out
from behavior_tasks.watch.handed_out import look_back
from behavior_tasks.watch.matured import Log, mature
from behavior_tasks.watch.signals import read_signals
from behavior_tasks.watch.traffic import Traffic, count_traffic


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What the watch of a day found."""

    moment: Moment
    matured: pd.DataFrame
    """`watch.matured.COLUMNS`, of both units."""
    handed_out: pd.DataFrame
    """`watch.handed_out.COLUMNS`, of all applications."""
    drift: pd.DataFrame
    """`watch.drift.COLUMNS`, of both units."""
    traffic: Traffic
    findings: list[Finding]
    champions: dict[Unit, str | None]
    """Unit → version of the champion that serves now."""


def watch_day(
    home: Home,
    config: Config,
    *,
    clean: Artifact,
    ingest: Artifact,
    champions: Artifact,
    moment: Moment,
    banners: Sequence[Banner] = (),
) -> Watched:
    """Watch one day.

    Args:
        home: the state folder, with what was served; references and figures are kept in its cache.
        config: `watch`, `train.device`, `train.threads` and the engine.
        clean: today's clean events.
        ingest: what they were made of; its quarantine tells of rows in milliseconds.
        champions: that serve now, of the stage of that name.
        moment: nothing from then on counts.
        banners: of the moment; those that are no notice become findings.
    """
    log = read_log(clean, moment)
    place = Place.of(home, config)
    settings = config.watch
    traffic = count_traffic(
        log, ingest.path / "quarantine.parquet", days=settings.days, memory_mb=config.engine.memory_mb
    )
    findings: list[Finding] = read_signals(traffic, settings)
    judged: list[pd.DataFrame] = []
    columns: list[pd.DataFrame] = []
    serving = {unit: Champion.load(champions, unit) for unit in UNITS}
    for unit, champion in serving.items():
        figures = mature(home, unit, champion, log, days=settings.days, place=place)
        judged.append(figures)
        if champion is not None:
            seen = {name for table in columns for name in table["column"][table["kind"] == "feature"]}
            columns.append(drift.watch_columns(home, champion, log, settings, place=place, without=seen))
            findings += [
                *find_in_figures(figures, champion, settings),
                *find_in_columns(columns[-1], champion, settings),
            ]
    every = _joined(judged, matured.COLUMNS)
    handed_out = look_back(home, log, days=settings.days, place=place)
    findings += [*find_in_dates(every), *missing_dates(every)]
    findings += find_in_handed_out(handed_out, today=moment.as_of)
    findings += find_in_banners(banners, list(findings))
    return Watched(
        moment=moment,
        matured=every,
        handed_out=handed_out,
        drift=_joined(columns, drift.COLUMNS),
        traffic=traffic,
        findings=findings,
        champions={unit: champion.version if champion else None for unit, champion in serving.items()},
    )


def read_log(clean: Artifact, moment: Moment) -> Log:
    """Return today's log. Its last day counts as whole when it has an event in its last hour, as for the training."""
    zone = ZoneInfo(moment.timezone)
    last = datetime.fromisoformat(clean.facts["last"])
    whole = last.replace(tzinfo=UTC).astimezone(zone).hour == 23
    known = local_day(last, ZoneInfo(moment.timezone)) + timedelta(days=1 if whole else 0)
    first = datetime.fromisoformat(clean.facts["first"])
    return Log(events=open_events(clean), moment=moment, first=first, known_until=min(known, moment.as_of))


def _joined(tables: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(columns))
