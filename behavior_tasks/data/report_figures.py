"""The data report's figures: what `report.json` holds and `report.html` shows.

In come the merged counts of the clean events and the artifacts of `ingest` and `clean`; out comes one dictionary that
JSON can hold. The one thing to know: what was there before cleaning is not counted again, it follows exactly from
what is there now and what `clean` says it did.
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.schema import ACTIONS
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import quote
from behavior_tasks.base.timeline import Timeline, plan
from behavior_tasks.data.reasons import EXAMPLES, REASONS
from behavior_tasks.data.report_counts import BINS_PER_DECADE, COLUMNS, Counts, count_amounts

FILLED = ("derived", "constant", "forward_fill", "interpolate", "median")
"""Ways in which a missing value gets one, as `clean` counts them."""
DAYS_SHOWN, WEEKS_SHOWN = 45, 60
"""A longer log is told by week, a still longer one by month; report.json always has every day."""
MOST_FILES = 100
"""Files listed in the report, largest first."""


def figures_of(job: Job, counts: Counts, connection: duckdb.DuckDBPyConnection, *, products: int) -> dict[str, Any]:
    """Return everything that the report tells.

    Args:
        job: the report's, with its inputs.
        counts: of all buckets together.
        connection: reads the tables of what was replaced and quarantined.
        products: different products in the clean events.
    """
    ingested, cleaned = job.inputs["ingest"], job.inputs["clean"]
    did = json.loads((cleaned.path / "report.json").read_bytes())
    assert counts.first is not None
    assert counts.last is not None
    timeline = plan(
        counts.first,
        counts.last,
        horizon_days=job.config.examples.horizon_days,
        train_cutoffs=job.config.examples.train_cutoffs,
        train_every_days=job.config.examples.train_every_days,
        timezone=job.config.source.timezone,
    )
    actions: Counter[str] = Counter()
    for (_, action), n in counts.days.items():
        actions[action] += n
    days = _days(counts.days)
    return {
        "headline": _headline(ingested, cleaned, counts, products=products, zone=ZoneInfo(job.config.source.timezone)),
        "windows": _windows(timeline, ZoneInfo(job.config.source.timezone)),
        "days": days,
        "periods": _periods(days),
        "gaps": [row["day"] for row in days if not row["events"]],
        "actions": {action: actions[action] for action in ACTIONS if actions[action]},
        "missing": _missing(counts, did["missing"], present=cleaned.facts["present"]),
        "amounts": _amounts(counts, did["outliers"], cleaned.path / "replaced.parquet", connection),
        "quarantine": _quarantine(ingested, connection, expected=job.config.source.reasons_that_are_not_bad),
        "shoppers": _shoppers(counts.shoppers),
        "hours": [[counts.hours[weekday, hour] for hour in range(24)] for weekday in range(1, 8)],
    }


def _headline(
    ingested: Artifact, cleaned: Artifact, counts: Counts, *, products: int, zone: ZoneInfo
) -> dict[str, Any]:
    """Return the figures at the top, and check that they add up."""
    aside = {reason: n for reason, n in cleaned.manifest.rows.removed.items() if n and reason != "duplicate"}
    parts = {
        "events": counts.events,
        "quarantined": sum(ingested.manifest.rows.removed.values()),
        "duplicates": cleaned.manifest.rows.removed.get("duplicate", 0),
        "set apart": sum(aside.values()),
    }
    rows_in = ingested.manifest.rows.rows_in
    equation = f"{rows_in:,} rows = " + " + ".join(f"{n:,} {name}" for name, n in parts.items())
    assert rows_in == sum(parts.values()), f"rows do not add up: {equation}"
    sales, unpriced = counts.applies["amount"], counts.lacking["amount"]
    assert counts.first is not None
    assert counts.last is not None
    files = ingested.facts.get("files", {})
    return {
        "equation": equation,
        "rows": rows_in,
        "parts": parts,
        "set_apart": aside,
        "first": f"{_local(counts.first, zone):%Y-%m-%d %H:%M:%S}",
        "last": f"{_local(counts.last, zone):%Y-%m-%d %H:%M:%S}",
        "timezone": zone.key,
        "shoppers": sum(counts.shoppers.values()),
        "products": products,
        "sales": sales,
        "price_coverage": 1 - unpriced / sales if sales else None,
        "files": [
            {"name": name, **files[name]} for name in sorted(files, key=lambda name: (-files[name]["rows"], name))
        ][:MOST_FILES],
        "more_files": max(0, len(files) - MOST_FILES),
    }


def _windows(timeline: Timeline | None, zone: ZoneInfo) -> list[dict[str, str]]:
    """Return the label windows as local days; the end is the day after the last."""
    windows = timeline.windows if timeline else ()
    return [
        {
            "split": window.split,
            "start": _local(window.cutoff, zone).date().isoformat(),
            "end": _local(window.end, zone).date().isoformat(),
        }
        for window in windows
    ]


def _local(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.replace(tzinfo=UTC).astimezone(zone)


def _days(counted: Counter[tuple[date, str]]) -> list[dict[str, Any]]:
    """Return every local day from the first to the last, those without events too."""
    first, last = min(day for day, _ in counted), max(day for day, _ in counted)
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    rows = []
    for day in days:
        actions = {action: counted[day, action] for action in ACTIONS if counted[day, action]}
        rows.append({"day": day.isoformat(), "events": sum(actions.values()), "actions": actions})
    return rows


def _periods(days: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the days, weeks or months of a table that a person can read."""
    unit = "day" if len(days) <= DAYS_SHOWN else "week" if len(days) <= 7 * WEEKS_SHOWN else "month"
    rows: dict[str, dict[str, Any]] = {}
    for row in days:
        day = date.fromisoformat(row["day"])
        start = {"day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}[unit]
        period = rows.setdefault(start.isoformat(), {"start": start.isoformat(), "events": 0, "empty_days": 0})
        period["events"] += row["events"]
        period["empty_days"] += not row["events"]
        for action, n in row["actions"].items():
            period[action] = period.get(action, 0) + n
    return {"unit": unit, "rows": list(rows.values())}


def _missing(counts: Counts, did: Mapping[str, Any], *, present: Sequence[str]) -> list[dict[str, Any]]:
    """Return, by column, how many values were missing before the rules and are after them, where one applies."""
    rows = []
    for column in COLUMNS:
        rule = did.get(column, {})
        filled, dropped = {how: rule[how] for how in FILLED if rule.get(how)}, rule.get("dropped", 0)
        after, lacking = counts.applies[column], counts.lacking[column]
        rows.append(
            {
                "column": column,
                "rule": rule.get("rule", "keep"),
                "in_log": column in present or lacking < after,
                "filled": filled,
                "dropped": dropped,
                "events_before": after + dropped,
                "missing_before": lacking + sum(filled.values()) + dropped,
                "events_after": after,
                "missing_after": lacking,
            }
        )
    return rows


def _amounts(
    counts: Counts, did: Mapping[str, Any], replaced: Path, connection: duckdb.DuckDBPyConnection
) -> dict[str, Any]:
    """Return the histogram of the amounts of sales before and after outliers were replaced, with the bounds."""
    gone, came = (count_amounts(connection, replaced, column) for column in ("original", "replacement"))
    before = Counter(counts.amounts)
    before.update(gone)
    before.subtract(came)
    held = [bin_ for bin_ in before | counts.amounts if before[bin_] or counts.amounts[bin_]]
    bins = range(min(held), max(held) + 1) if held else range(0)
    return {
        "bins": [
            {
                "low": 10 ** (k / BINS_PER_DECADE),
                "high": 10 ** ((k + 1) / BINS_PER_DECADE),
                "before": before[k],
                "after": counts.amounts[k],
            }
            for k in bins
        ],
        "free": counts.free,
        "outliers": {name: value for name, value in did.items() if name != "by_category"},
    }


def _quarantine(
    ingested: Artifact, connection: duckdb.DuckDBPyConnection, *, expected: Collection[str]
) -> list[dict[str, Any]]:
    """Return the reasons, most frequent first, with the first places of each."""
    source = f"read_parquet({quote(ingested.path / 'quarantine.parquet')})"
    query = f"""SELECT reason, count(*), list(file || ':' || line ORDER BY file, line)[:{EXAMPLES}]
        FROM {source} GROUP BY reason ORDER BY count(*) DESC, reason"""
    rows_in = ingested.manifest.rows.rows_in
    found = connection.execute(query).fetchall()
    kept = {reason for reason, _, _ in found}
    # Of some rows nothing is kept but their number.
    found += [(reason, rows, []) for reason, rows in ingested.manifest.rows.removed.items() if reason not in kept]
    return [
        {
            "reason": reason,
            "rows": rows,
            "share": rows / rows_in,
            "places": places,
            "expected": reason in expected,
            "advice": REASONS.get(reason, ""),
        }
        for reason, rows, places in sorted(found, key=lambda one: (-one[1], one[0]))
    ]


def _shoppers(sizes: Counter[int]) -> dict[str, Any]:
    """Return how many shoppers have how many events: quantiles, and bins that double in width."""
    shoppers = sum(sizes.values())
    quantiles = {}
    for name, share in (("median", 0.5), ("90 %", 0.9), ("99 %", 0.99), ("most", 1.0)):
        seen = 0
        for size in sorted(sizes):
            seen += sizes[size]
            if seen >= share * shoppers:
                quantiles[name] = size
                break
    doubled: Counter[int] = Counter()
    for size, n in sizes.items():
        doubled[size.bit_length() - 1] += n
    bins = [
        {"low": 2**k, "high": 2 ** (k + 1) - 1, "shoppers": doubled[k]} for k in range(max(doubled, default=-1) + 1)
    ]
    return {"quantiles": quantiles, "bins": bins}
