"""What cleaning did, as JSON: by column what happened to missing values, and which amounts were bounded how.

In come counts and fits; out come two small tables for `report.json`. The one thing to know: categories with no replaced
amount are left out, and so are all beyond the first hundred; `replaced.parquet` has every replacement.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from behavior_tasks.base.artifacts import Rows
from behavior_tasks.base.config import CleanConfig, Config
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.schema import EVENT_COLUMNS
from behavior_tasks.base.tables import connect
from behavior_tasks.base.timeline import Timeline
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.data.outliers import FACTORS, Fit, Fits

MOST_REPORTED = 100
WHOLE_LOG = None
"""The category under which the fit of the whole log stands."""
HOW = ("derived", "constant", "forward_fill", "interpolate", "median")


def missing_report(
    buckets: Sequence[BucketEvents], filled: Counter[str], rows: Rows, config: Config
) -> dict[str, dict[str, Any]]:
    """Return by column: its rule, and how many values were derived, filled, or cost an event.

    Args:
        buckets: the clean events as they are read.
        filled: what else was filled, by `derived.<column>` or `constant.<column>`.
    """
    total = filled + _filled_on_reading(buckets, config)
    report: dict[str, dict[str, Any]] = {}
    for column in (c.name for c in EVENT_COLUMNS if not c.required):
        rule = config.clean.missing.get(column)
        counts = {how: total[f"{how}.{column}"] for how in HOW}
        counts["dropped"] = rows.removed.get(f"missing_{column}", 0)
        report[column] = {"rule": rule.rule if rule else "keep", **{how: n for how, n in counts.items() if n}}
    return report


def _filled_on_reading(buckets: Sequence[BucketEvents], config: Config) -> Counter[str]:
    """Count what the view fills: neighbours' values and medians."""
    index = buckets[0].index
    assert index is not None
    columns = {**dict.fromkeys(index.medians, "median"), **{c: r.rule for c, r in index.sequences.items()}}
    if not columns:
        return Counter()
    jobs = [(bucket, columns, config.engine.memory_mb) for bucket in buckets]
    parts = run_buckets(_count_filled, jobs, engine=config.engine, what="clean: filled values")
    return sum(parts, Counter())


def _count_filled(job: tuple[BucketEvents, Mapping[str, str], int]) -> Counter[str]:
    """Compare how many values each column has in the files and in the view."""
    bucket, columns, memory_mb = job
    counts = ", ".join(f"count({column})" for column in columns)
    with connect(memory_mb=memory_mb) as connection:
        before = connection.execute(f"SELECT {counts} FROM ({bucket.stored_sql()})").fetchall()[0]
        after = connection.execute(f"SELECT {counts} FROM ({bucket.sql()})").fetchall()[0]
    return +Counter({f"{how}.{c}": after[n] - before[n] for n, (c, how) in enumerate(columns.items())})


def outlier_report(
    config: CleanConfig, fits: Fits | None, replaced: Mapping[str, int], timeline: Timeline | None
) -> dict[str, Any]:
    """Return the method, the bounds of the whole log and of categories with replacements, and the counts."""
    named = dict(list(replaced.items())[:MOST_REPORTED])
    fitted = fits.of([WHOLE_LOG, *named]) if fits else {}
    return {
        "method": config.outliers,
        "scale": config.outlier_scale,
        "factor": config.outlier_factor or FACTORS.get(config.outliers),
        "replaced_by": config.outlier_replace,
        "fitted_before": timeline.fit_until.isoformat() if timeline else None,
        "whole_log": _shown(fitted.get(WHOLE_LOG)),
        "replaced": sum(replaced.values()),
        "by_category": {
            category: {"replaced": n, "fit": _shown(fitted.get(category)) or "of a parent, or the whole log"}
            for category, n in named.items()
        },
    }


def _shown(fit: Fit | None) -> dict[str, float | None] | None:
    return {"amounts": fit.values, "median": fit.median, "low": fit.low, "high": fit.high} if fit else None
