"""The stage `watch`: today's log, the champions and what was served in; the tables and findings of one day out.

The one thing to know: since when a finding stands is no part of it. That depends on earlier days, so it is added when
the day is kept.
"""

import json
from datetime import date
from pathlib import Path

import pandas as pd

from behavior_tasks.base.artifacts import Output, Rows, hash_of
from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import combine_hashes, connect, hash_rows
from behavior_tasks.serve.banners import banners_of
from behavior_tasks.serve.moment import Moment
from behavior_tasks.serve.served import find_served, served_dates
from behavior_tasks.watch.came import MEASURED
from behavior_tasks.watch.day import Watched, watch_day
from behavior_tasks.watch.matured import APPLICATIONS

FINDINGS = "findings.json"
TABLES = ("matured", "drift", "traffic", "categories", "handed_out")


def served_identity(raw: Path | None, config: Config, home: Home) -> dict[str, str]:
    """Return what names all that was served in the key of `watch_stage`; `raw` and the settings play no part."""
    named = {}
    for application in (*APPLICATIONS.values(), *MEASURED):
        dates = served_dates(home, application)
        named[f"served {application}"] = hash_of([[str(day), _artifact(home, application, day)] for day in dates])
    return named


def _artifact(home: Home, application: str, day: date) -> str:
    try:
        found = find_served(home, application, day)
    except UserError:
        return "damaged"
    return found.artifact if found is not None else "nothing"


def watch_stage(job: Job) -> Output:
    """Watch the day of the moment; write TABLES (Parquet) and `findings.json`.

    Facts: `as_of`, `champions` (unit → version), `findings` (level → number).
    """
    watched = watch_day(
        job.home,
        job.config,
        clean=job.inputs["clean"],
        ingest=job.inputs["ingest"],
        champions=job.inputs["champions"],
        moment=Moment.load(job.inputs["moment"]),
        banners=banners_of(job.inputs["readiness"].facts),
    )
    write_tables(watched, job.out)
    with connect() as connection:
        hashes = [hash_rows(connection, job.out / f"{name}.parquet") for name in TABLES]
    levels = [finding.level for finding in watched.findings]
    return Output(
        rows=_rows(watched.matured),
        content_hash=combine_hashes(hashes),
        facts={
            "as_of": watched.moment.as_of.isoformat(),
            "champions": watched.champions,
            "findings": {level: levels.count(level) for level in sorted(set(levels))},
        },
    )


def write_tables(watched: Watched, folder: Path) -> None:
    """Write what a day's watch found into a folder."""
    for name, table in zip(TABLES, _tables(watched), strict=True):
        table.to_parquet(folder / f"{name}.parquet", index=False)
    findings = [finding.model_dump() for finding in watched.findings]
    (folder / FINDINGS).write_text(json.dumps(findings, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _tables(watched: Watched) -> list[pd.DataFrame]:
    figures = watched.matured.copy()
    words = {"unit", "what", "version", "state", "as_of", "until"}
    for name in figures.columns:
        if name in {"as_of", "until"}:
            figures[name] = pd.to_datetime(figures[name])
        elif name not in words:
            figures[name] = pd.to_numeric(figures[name])
    drift = watched.drift.assign(**{name: pd.to_datetime(watched.drift[name]) for name in ("reference_day", "day")})
    days, kinds = (table.reset_index() for table in (watched.traffic.days, watched.traffic.categories))
    kinds = kinds.melt(id_vars="day", var_name="category", value_name="shoppers")
    by_day = (table.assign(day=pd.to_datetime(table["day"])) for table in (days, kinds))
    dates = {name: pd.to_datetime(watched.handed_out[name]) for name in ("as_of", "until")}
    return [figures, drift, *by_day, watched.handed_out.assign(**dates)]


def _rows(matured: pd.DataFrame) -> Rows:
    days = matured[(matured["what"] == "day") & matured["state"].isin(["judged", "nobody left"])]
    served, examples, erased, changed = (int(days[n].sum()) for n in ("served", "examples", "erased", "changed"))
    return Rows(
        unit_in="answers",
        unit_out="answers",
        rows_in=served,
        rows_out=examples,
        removed={"erased": erased, "log_changed": changed},
    )
