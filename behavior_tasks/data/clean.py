"""Clean: exact duplicates, double-clicks and bots go, missing values are filled or dropped, outliers are bounded.

In come the parts of `ingest`; out come `events.json` (which artifacts hold the clean events, and how they are read),
the fitted bounds and medians, `replaced.parquet` with every replaced amount beside its original, `apart.parquet` and
`report.json`. The one thing to know: what is fitted is fitted on events of the train period only and then applied to
all, so no later event changes how an earlier one is cleaned.

The order of work: duplicates, bots, double-clicks, a sale's amount from price x quantity, constants, rules that drop;
then, on reading, neighbouring values, outliers, price or quantity from the amount, medians. Recorded prices and
quantities of a replaced amount stay as they are.
"""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import duckdb

from behavior_tasks.base.artifacts import Artifact, ArtifactStore, Output, Rows
from behavior_tasks.base.config import Config
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.schema import SHOPPER_COLUMNS
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import (
    bucket_files,
    combine_hashes,
    full_disk,
    hash_rows,
    parquet_sql,
    quote,
    write_parquet,
)
from behavior_tasks.base.timeline import Timeline, plan
from behavior_tasks.data.buckets import connect_spilling, merge_facts
from behavior_tasks.data.clean_part import PartJob, build_part, find_part
from behavior_tasks.data.clean_range import cleaning_rules
from behavior_tasks.data.clean_report import missing_report, outlier_report
from behavior_tasks.data.coarsen import Coarsening
from behavior_tasks.data.events import BOUNDS_FILE, INDEX_FILE, EventIndex, bucket_events, median_file
from behavior_tasks.data.missing import active_rules, check_rules
from behavior_tasks.data.outliers import Fits, fit_amounts, make_fit_table, outlying_sql, replaced_amount_sql
from behavior_tasks.data.parts import LogPart, read_parts, sharing_days

ROWS_PER_BUCKET = 300_000
log = logging.getLogger("behavior")


@dataclass(frozen=True, kw_only=True)
class _Fitted:
    """What was fitted on the whole log's train period."""

    bounds: Fits | None
    medians: tuple[str, ...]


@full_disk()
def clean_stage(job: Job) -> Output:
    """Clean the parts that are new, and fit what the whole log decides.

    Raises:
        UserError: when a rule for missing values can't be applied, or leaves no event.
    """
    ingested, config = job.inputs["ingest"], job.config.clean
    present = ingested.facts["present"]
    check_rules(config.missing, present)
    store = ArtifactStore(job.home.artifacts)
    parts = [store.open(uri) for uri in _clean_parts(read_parts(ingested.path), job, present)]
    rows = _rows(parts)
    timeline = _timeline(parts, rows, job.config)
    work = job.out / ".work"
    with connect_spilling(work, memory_mb=job.config.engine.memory_mb) as connection:
        fitted = _fit(connection, parts, timeline, job, present)
        replaced = _write_replaced(connection, parts, fitted, job)
        write_parquet(connection, f"SELECT * FROM {_source(parts, 'apart')} ORDER BY ALL", job.out / "apart.parquet")
        fit_hashes = [hash_rows(connection, file) for file in sorted(job.out.glob("*.parquet"))]
    index = EventIndex(
        parts=[part.uri for part in parts],
        buckets=job.config.engine.buckets or max(1, round(rows.rows_out / ROWS_PER_BUCKET)),
        clean=config,
        coarsening=Coarsening.of(job.config.privacy),
        bounded=fitted.bounds is not None,
        medians=list(fitted.medians),
        sequences={
            column: rule
            for kind in ("forward_fill", "interpolate")
            for column, rule in active_rules(config.missing, present, kind=kind).items()
        },
        cutoffs=[window.cutoff for window in timeline.windows] if timeline else [],
    )
    (job.out / INDEX_FILE).write_text(index.model_dump_json(indent=2) + "\n", encoding="utf-8")
    _write_report(job, parts, rows, index, fitted=fitted, replaced=replaced, timeline=timeline)
    log.info("clean: %d rows in, %d out, %d amounts replaced", rows.rows_in, rows.rows_out, sum(replaced.values()))
    return Output(
        rows=rows,
        content_hash=combine_hashes([*(part.manifest.content_hash or "" for part in parts), *fit_hashes]),
        facts={
            **_facts(parts),
            "buckets": index.buckets,
            "replaced_amounts": sum(replaced.values()),
            "fit_until": timeline.fit_until.isoformat() if timeline else None,
        },
    )


def _clean_parts(parts: Sequence[LogPart], job: Job, present: Sequence[str]) -> list[str]:
    """Return the clean artifact of each part, making those that are missing: many small ones side by side."""
    rules = cleaning_rules(
        job.config.clean,
        present,
        timezone=job.config.source.timezone,
        coarsening=Coarsening.of(job.config.privacy),
    )
    shared = sharing_days(parts)
    engine = job.config.engine
    jobs = [
        PartJob(part=part, shared=shared[part.uri], rules=rules, engine=engine, artifacts=job.home.artifacts)
        for part in parts
    ]
    uris = {number: uri for number, one in enumerate(jobs) if (uri := find_part(one)) is not None}
    new = [number for number in range(len(jobs)) if number not in uris]
    alone = engine.model_copy(update={"workers": 1, "runner": "local"})
    small = [number for number in new if len(new) > 1 and parts[number].rows <= 2 * ROWS_PER_BUCKET]
    one_each = [replace(jobs[number], engine=alone) for number in small]
    rows = sum(parts[number].rows for number in small)
    uris |= dict(
        zip(small, run_buckets(build_part, one_each, engine=engine, what="clean files", rows=rows), strict=True)
    )
    uris |= {number: build_part(jobs[number]) for number in new if number not in uris}
    return [uris[number] for number in range(len(jobs))]


def _rows(parts: Sequence[Artifact]) -> Rows:
    counted = [part.manifest.rows for part in parts]
    removed: Counter[str] = sum((Counter(rows.removed) for rows in counted), Counter({"duplicate": 0}))
    return Rows(
        unit_in="rows",
        unit_out="rows",
        rows_in=sum(rows.rows_in for rows in counted),
        rows_out=sum(rows.rows_out for rows in counted),
        removed={reason: removed[reason] for reason in sorted(removed)} | {"duplicate": removed["duplicate"]},
    )


def _timeline(parts: Sequence[Artifact], rows: Rows, config: Config) -> Timeline | None:
    """Return the label windows, or None when the log is too short to have them.

    Raises:
        UserError: when no event is left.
    """
    if not rows.rows_out:
        raise UserError(
            "Cleaning left no event.",
            found=", ".join(f"{n:,} events: {reason}" for reason, n in rows.removed.items() if n),
            next_step="change clean.missing in your configuration",
        )
    facts = _facts(parts)
    return plan(
        datetime.fromisoformat(facts["first"]),
        datetime.fromisoformat(facts["last"]),
        horizon_days=config.examples.horizon_days,
        train_cutoffs=config.examples.train_cutoffs,
        train_every_days=config.examples.train_every_days,
        timezone=config.source.timezone,
    )


def _facts(parts: Sequence[Artifact]) -> dict[str, Any]:
    """Return first and last instant (ISO, naive UTC), actions and present columns of all parts."""
    return merge_facts([part.facts for part in parts], SHOPPER_COLUMNS)


def _fit(
    connection: duckdb.DuckDBPyConnection,
    parts: Sequence[Artifact],
    timeline: Timeline | None,
    job: Job,
    present: Sequence[str],
) -> _Fitted:
    """Fit bounds of the amounts of sales and each column whose rule is the median; write them beside the index."""
    config = job.config.clean
    until = f"timestamp < TIMESTAMP '{timeline.fit_until}'" if timeline else "true"
    sales, events = _source(parts, "sales"), _source(parts, "events")
    connection.execute(f"CREATE TEMP VIEW sales AS SELECT * FROM {sales}")
    bounds = None
    if config.outliers != "off":
        counts = f"""(SELECT category, amount AS value, count(*) AS n FROM sales WHERE {until} GROUP BY ALL)"""
        bounds = fit_amounts(connection, counts, config, with_bounds=True)
        make_fit_table(connection, "bounds", bounds, "sales")
        write_parquet(connection, "SELECT * FROM bounds ORDER BY category NULLS FIRST", job.out / BOUNDS_FILE)
    medians = active_rules(config.missing, present, kind="median")
    for column in medians:
        counts = f"""(SELECT category, CAST({column} AS DOUBLE) AS value, count(*) AS n FROM {events}
            WHERE {until} AND {column} IS NOT NULL GROUP BY ALL)"""
        fits = fit_amounts(connection, counts, config, with_bounds=False)
        make_fit_table(connection, "medians", fits, f"(SELECT DISTINCT category FROM {events})")
        write_parquet(
            connection,
            "SELECT category, median FROM medians ORDER BY category NULLS FIRST",
            median_file(job.out, column),
        )
        connection.execute("DROP TABLE medians")
    return _Fitted(bounds=bounds, medians=tuple(medians))


def _source(parts: Sequence[Artifact], folder: str) -> str:
    return parquet_sql(file for part in parts for file in bucket_files(part.path / folder))


def _write_replaced(
    connection: duckdb.DuckDBPyConnection, parts: Sequence[Artifact], fitted: _Fitted, job: Job
) -> dict[str, int]:
    """Write every replaced amount beside its original; return how many by category, most first."""
    path = job.out / "replaced.parquet"
    joined, outlying, amount = "sales", "false", "NULL"
    low = high = "CAST(NULL AS DOUBLE)"
    if fitted.bounds is not None:
        joined = (
            "sales LEFT JOIN (SELECT category AS of, low, high, median FROM bounds) ON of IS NOT DISTINCT FROM category"
        )
        outlying, amount, low, high = outlying_sql(), replaced_amount_sql(job.config.clean), "low", "high"
    query = f"""SELECT shopper, timestamp, action, product_id, category, 'amount' AS replaced_column,
        amount AS original, CAST({amount} AS DOUBLE) AS replacement, {low} AS low, {high} AS high
        FROM {joined} WHERE {outlying} ORDER BY ALL"""
    write_parquet(connection, query, path)
    counted = f"""SELECT coalesce(category, ''), count(*) FROM read_parquet({quote(path)})
        GROUP BY category ORDER BY count(*) DESC, category NULLS FIRST"""
    return dict(connection.execute(counted).fetchall())


def _write_report(
    job: Job,
    parts: Sequence[Artifact],
    rows: Rows,
    index: EventIndex,
    *,
    fitted: _Fitted,
    replaced: dict[str, int],
    timeline: Timeline | None,
) -> None:
    filled: Counter[str] = sum((Counter(part.facts["filled"]) for part in parts), Counter())
    buckets = bucket_events(index, job.out, ArtifactStore(job.home.artifacts))
    report = {
        "rows": rows.model_dump(),
        "missing": missing_report(buckets, filled, rows, job.config),
        "outliers": outlier_report(job.config.clean, fitted.bounds, replaced, timeline),
    }
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (job.out / "report.json").write_text(text + "\n", encoding="utf-8")
