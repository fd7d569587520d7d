"""Clean: exact duplicates go, missing values are derived, filled or dropped, outlying amounts are replaced.

In come the buckets of `ingest`; out come the same columns in the same order, `replaced.parquet` with every replaced
amount beside its original, and `report.json`. The one thing to know: bounds and medians are fitted on events of
the train period only and then applied to all, so no later event changes how an earlier one is cleaned.

The order of work: duplicates, a sale's amount from price x quantity, constants, rules that drop, outliers, price
or quantity from the amount, medians. Recorded prices and quantities of a replaced amount stay as they are.
"""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from behavior_tasks.base.artifacts import Output, Rows
from behavior_tasks.base.config import CleanConfig, Config
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.schema import EVENT_COLUMNS
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_file, bucket_files, combine_hashes, full_disk, quote, write_parquet
from behavior_tasks.base.timeline import plan
from behavior_tasks.data.buckets import connect_spilling, event_facts, workers_for
from behavior_tasks.data.clean_bucket import Finish, Finished, Preparation, Prepared, finish_bucket, prepare_bucket
from behavior_tasks.data.missing import SALE_SQL, active_rules, check_rules
from behavior_tasks.data.outliers import FACTORS, Fit, Fits, fit_amounts

MOST_REPORTED = 100
"""Categories listed in the report, most replacements first; replaced.parquet has every replacement."""
log = logging.getLogger("behavior")


@full_disk()
def clean_stage(job: Job) -> Output:
    """Write `events/`, `replaced.parquet` and `report.json`.

    Raises:
        UserError: when a rule for missing values can't be applied, or leaves no event.
    """
    ingested, config = job.inputs["ingest"], job.config.clean
    check_rules(config.missing, ingested.facts["present"])
    work = job.out / ".work"
    for folder in (work / "prepared", work / "replaced", job.out / "events"):
        folder.mkdir(parents=True)
    workers = workers_for(ingested.manifest.rows.rows_out, most=job.config.engine.workers)
    preparations = _preparations(job, work)
    prepared = run_buckets(prepare_bucket, preparations, workers=workers, what="clean: duplicates")
    fit_until = _fit_until(prepared, job.config)
    with connect_spilling(work / "spill", memory_mb=job.config.engine.memory_mb) as connection:
        fits = _fit(connection, work / "prepared", fit_until, config, present=ingested.facts["present"])
        finishes = [_finish(bucket, job, work, fits) for bucket in preparations]
        finished = run_buckets(finish_bucket, finishes, workers=workers, what="clean: outliers")
        parts = ", ".join(quote(bucket.replaced) for bucket in finishes)
        write_parquet(connection, f"SELECT * FROM read_parquet([{parts}]) ORDER BY ALL", job.out / "replaced.parquet")
        replaced = _replaced_by_category(connection, job.out / "replaced.parquet")
    shutil.rmtree(work)
    rows = _rows(prepared)
    report = {
        "rows": rows.model_dump(),
        "missing": _missing_report(prepared, finished, config),
        "outliers": _outlier_report(config, fits.get("outliers"), replaced, fit_until),
    }
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (job.out / "report.json").write_text(text + "\n", encoding="utf-8")
    log.info("clean: %d rows in, %d out, %d amounts replaced", rows.rows_in, rows.rows_out, sum(replaced.values()))
    return Output(
        rows=rows,
        content_hash=combine_hashes(part.summary.content_hash for part in finished),
        facts={
            **event_facts((part.summary for part in finished), EVENT_COLUMNS),
            "replaced_amounts": sum(replaced.values()),
            "fit_until": fit_until.isoformat() if fit_until else None,
        },
    )


def _preparations(job: Job, work: Path) -> list[Preparation]:
    present, rules = job.inputs["ingest"].facts["present"], job.config.clean.missing
    return [
        Preparation(
            source=source,
            out=bucket_file(work / "prepared", number),
            spill=work / f"spill-{number}",
            memory_mb=job.config.engine.memory_mb,
            constants=active_rules(rules, present, kind="constant"),
            drops=tuple(active_rules(rules, present, kind="drop")),
        )
        for number, source in enumerate(bucket_files(job.inputs["ingest"].path / "events"))
    ]


def _finish(bucket: Preparation, job: Job, work: Path, fits: Mapping[str, Fits]) -> Finish:
    return Finish(
        prepared=bucket.out,
        out=job.out / "events" / bucket.source.name,
        replaced=work / "replaced" / bucket.source.name,
        spill=bucket.spill,
        memory_mb=bucket.memory_mb,
        config=job.config.clean,
        amounts=fits.get("outliers"),
        medians={column: column_fits for column, column_fits in fits.items() if column != "outliers"},
    )


def _fit_until(prepared: Sequence[Prepared], config: Config) -> datetime | None:
    """Return the end of the train period, or None when the log is too short to have one.

    Raises:
        UserError: when no event is left.
    """
    firsts = [part.first for part in prepared if part.first is not None]
    lasts = [part.last for part in prepared if part.last is not None]
    if not firsts:
        dropped: Counter[str] = sum((part.dropped for part in prepared), Counter())
        raise UserError(
            "Cleaning left no event.",
            found=", ".join(f"{n:,} events dropped without {column}" for column, n in dropped.items()),
            next_step="change clean.missing in your configuration",
        )
    timeline = plan(
        min(firsts),
        max(lasts),
        horizon_days=config.examples.horizon_days,
        train_cutoffs=config.examples.train_cutoffs,
        train_every_days=config.examples.train_every_days,
        timezone=config.source.timezone,
    )
    return timeline.fit_until if timeline else None


def _fit(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    fit_until: datetime | None,
    config: CleanConfig,
    *,
    present: Sequence[str],
) -> dict[str, Fits]:
    """Fit what is needed: `outliers` for the amounts of sales, and each column whose rule is the median."""
    until = f"timestamp < TIMESTAMP '{fit_until}'" if fit_until else "true"
    wanted = {column: ("true", column) for column in active_rules(config.missing, present, kind="median")}
    if config.outliers != "off":
        wanted["outliers"] = (f"{SALE_SQL} AND amount > 0", "amount")
    fits = {}
    for name, (condition, column) in wanted.items():
        counts = f"""(
            SELECT category, CAST({column} AS DOUBLE) AS value, count(*) AS n
            FROM read_parquet([{", ".join(map(quote, bucket_files(folder)))}])
            WHERE {until} AND {condition} AND {column} IS NOT NULL GROUP BY ALL
        )"""
        fits[name] = fit_amounts(connection, counts, config, with_bounds=name == "outliers")
    return fits


def _rows(prepared: Sequence[Prepared]) -> Rows:
    dropped: Counter[str] = sum((part.dropped for part in prepared), Counter())
    removed = {"duplicate": sum(part.duplicates for part in prepared)}
    return Rows(
        unit_in="rows",
        unit_out="rows",
        rows_in=sum(part.rows_in for part in prepared),
        rows_out=sum(part.rows_out for part in prepared),
        removed=removed | {f"missing_{column}": n for column, n in sorted(dropped.items())},
    )


def _replaced_by_category(connection: duckdb.DuckDBPyConnection, path: Path) -> dict[str, int]:
    """Return how many amounts were replaced by category, most first; an unknown category is the empty text."""
    query = f"""SELECT coalesce(category, ''), count(*) FROM read_parquet({quote(path)})
        GROUP BY category ORDER BY count(*) DESC, category NULLS FIRST"""
    return dict(connection.execute(query).fetchall())


def _missing_report(
    prepared: Sequence[Prepared], finished: Sequence[Finished], config: CleanConfig
) -> dict[str, dict[str, Any]]:
    """Return by column: its rule, and how many values were derived, filled, or cost an event."""
    filled: Counter[str] = sum((*(p.filled for p in prepared), *(f.filled for f in finished)), Counter())
    dropped: Counter[str] = sum((part.dropped for part in prepared), Counter())
    report: dict[str, dict[str, Any]] = {}
    for column in (c.name for c in EVENT_COLUMNS if not c.required):
        rule = config.missing.get(column)
        counts = {how: filled[f"{how}.{column}"] for how in ("derived", "constant", "median")}
        counts["dropped"] = dropped[column]
        report[column] = {"rule": rule.rule if rule else "keep", **{how: n for how, n in counts.items() if n}}
    return report


def _outlier_report(
    config: CleanConfig, fits: Fits | None, replaced: Mapping[str, int], fit_until: datetime | None
) -> dict[str, Any]:
    """Return the method, the bounds of the whole log and of categories with replacements, and the counts."""
    reported = list(replaced.items())[:MOST_REPORTED]
    fitted = fits.of([None, *(category for category, _ in reported)]) if fits else {}
    return {
        "method": config.outliers,
        "factor": config.outlier_factor or FACTORS.get(config.outliers),
        "fitted_before": fit_until.isoformat() if fit_until else None,
        "whole_log": _fit_report(fitted.get(None)),
        "replaced": sum(replaced.values()),
        "by_category": {
            category: {"replaced": n, "fit": _fit_report(fitted.get(category)) or "whole log"}
            for category, n in reported
        },
    }


def _fit_report(fit: Fit | None) -> dict[str, float | None] | None:
    if fit is None:
        return None
    return {"amounts": fit.values, "median": fit.median, "low": fit.low, "high": fit.high}
