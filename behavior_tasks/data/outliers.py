"""Outliers and medians of amounts, fitted on the train period only, for every category and its parents.

In come counts (category, value, how often) from before `fit_until`; out come, for each category with enough values,
its median and the bounds beyond which an amount is an outlier, and the SQL that applies them. The one thing to know:
a category with too few values, or without spread, takes what its parent has, and at last what the whole log has.

Methods, with the factor used when none is set: `iqr`, Tukey's fences (J. W. Tukey, Exploratory Data Analysis, 1977;
3 is his "far out"); `mad`, the median absolute deviation made comparable with a standard deviation by 1.4826 (B.
Iglewicz and D. Hoaglin, How to Detect and Handle Outliers, 1993; 3.5); `zscore`, standard deviations from the mean (3).
"""

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from behavior_tasks.base.config import CleanConfig
from behavior_tasks.data.missing import SALE_SQL

FACTORS: Mapping[str, float] = {"iqr": 3.0, "mad": 3.5, "zscore": 3.0}
"""Method → factor when `clean.outlier_factor` is not set."""
MAD_CONSISTENCY = 1.4826
"""Times this, the median absolute deviation of normal values estimates their standard deviation."""
LEAST_SPREAD = 1e-9
"""Less than this is rounding: on the logarithm of an amount as it is, on a linear scale as a share of the centre."""
MOST_PARENTS = 12
"""Levels of parents looked at above a category before the whole log stands in."""
PARENT_SQL = "nullif(rtrim(regexp_extract({0}, '^(.*)(?:\\.|/| > )', 1, 's')), '')"
"""A category's parent: the text before the last `.`, `/` or ` > `; NULL (the whole log) when there is none."""
SCHEMA = pa.schema(
    [
        pa.field("category", pa.string()),
        pa.field("values", pa.int64()),
        pa.field("median", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What was fitted for one category with enough values, or (category None) for the whole log."""

    category: str | None
    values: int
    median: float
    low: float | None
    """Amounts equal to a bound are within. None: the values have no spread, or no bounds were asked for."""
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Fits:
    """Every fit of one column; the whole log comes first, when it has enough values."""

    table: pa.Table
    """Columns as in SCHEMA; an Arrow table, so that a million categories stay small."""

    def of(self, categories: Collection[str | None]) -> dict[str | None, Fit]:
        """Return the fits of those of these categories that have one of their own (None: the whole log)."""
        wanted = pc.is_in(self.table["category"], value_set=pa.array(list(categories), pa.string()))
        return {row["category"]: Fit(**row) for row in self.table.filter(wanted).to_pylist()}


def fit_amounts(connection: duckdb.DuckDBPyConnection, counts: str, config: CleanConfig, *, with_bounds: bool) -> Fits:
    """Fit the whole log, every category and every parent of one, where there are enough values.

    Quantiles are exact, by linear interpolation between the two nearest values, as numpy's default does. The answer
    depends on the counts alone, not on the order of their rows or how they are split.

    Args:
        counts: what can stand after FROM, with category VARCHAR (NULL: unknown), value DOUBLE and n BIGINT; rows of
            the same category and value are added up.
        with_bounds: also fit outlier bounds; only values > 0 count then.
    """
    tables = ("fit_counts", "fit_groups", "fit_values", "fit_centres")
    connection.execute(f"""
        CREATE TEMP TABLE fit_counts AS
        SELECT category, CAST(value AS DOUBLE) AS value, CAST(sum(n) AS BIGINT) AS n FROM {counts}
        WHERE value > {0 if with_bounds else "'-infinity'::DOUBLE"} GROUP BY ALL
    """)
    _group(connection, config.outlier_min_group)
    bounded = with_bounds and config.outliers != "off"
    bounds = _bounds_sql(config) if bounded else "CAST(NULL AS DOUBLE) AS low, CAST(NULL AS DOUBLE) AS high"
    connection.execute(f"CREATE TEMP TABLE fit_centres AS {_quantiles_sql('fit_values', 'value')}")
    if bounded and config.outliers != "iqr":
        _add_spread(connection, config)
    fitted = connection.sql(f"""
        SELECT category, total AS values, {_between("x", 0.5, "{}")} AS median, {bounds}
        FROM fit_centres JOIN fit_groups USING (number, total) ORDER BY category NULLS FIRST
    """).to_arrow_table()
    for table in tables:
        connection.execute(f"DROP TABLE {table}")
    return Fits(table=fitted.cast(SCHEMA))


def make_fit_table(connection: duckdb.DuckDBPyConnection, name: str, fits: Fits, categories_of: str) -> None:
    """Make a temporary table with one row a category: category, low, high, median, all fall-backs resolved.

    A row with the category NULL (unknown) is always there; join with IS NOT DISTINCT FROM. The median comes from the
    nearest of category, parents and whole log with enough values, the bounds from the nearest that also has spread;
    they are widened to hold that median, so that what is ordinary in a category is never an outlier in it.

    Args:
        categories_of: what can stand after FROM, with a column category.
    """
    connection.register("fits_to_keep", fits.table)
    connection.execute(f"""
        CREATE TEMP TABLE {name} AS
        WITH RECURSIVE wanted AS (SELECT DISTINCT category FROM {categories_of} UNION SELECT NULL),
        {_lines_sql("wanted")},
        nearest AS (
            SELECT l.category, arg_min(f.median, depth) FILTER (WHERE f.median IS NOT NULL) AS median,
                arg_min(f.low, depth) FILTER (WHERE f.low IS NOT NULL) AS low,
                arg_min(f.high, depth) FILTER (WHERE f.high IS NOT NULL) AS high
            FROM lines AS l LEFT JOIN fits_to_keep AS f ON f.category IS NOT DISTINCT FROM l.ancestor
            GROUP BY l.category
        )
        SELECT category, CASE WHEN low IS NOT NULL THEN least(low, median) END AS low,
            CASE WHEN high IS NOT NULL THEN greatest(high, median) END AS high, median
        FROM nearest
    """)
    connection.unregister("fits_to_keep")


def outlying_sql() -> str:
    """Return the condition of an outlier, over an event's columns and the low and high joined to it."""
    return f"coalesce({SALE_SQL} AND amount > 0 AND (amount < low OR amount > high), false)"


def replaced_amount_sql(config: CleanConfig) -> str:
    """Return the amount after replacement, over an event's columns and the low, high and median joined to it."""
    instead = "median" if config.outlier_replace == "median" else "greatest(low, least(high, amount))"
    return f"CASE WHEN {outlying_sql()} THEN {instead} ELSE amount END"


def _lines_sql(wanted: str) -> str:
    """Return the common table `lines`: each category of a relation with itself and every ancestor, nearest first."""
    parent = PARENT_SQL.format("ancestor")
    return f"""lines AS (
            SELECT category, category AS ancestor, 0 AS depth FROM {wanted}
            UNION ALL
            SELECT category, CASE WHEN depth < {MOST_PARENTS} THEN {parent} END, depth + 1
            FROM lines WHERE ancestor IS NOT NULL
        )"""


def _group(connection: duckdb.DuckDBPyConnection, least: int) -> None:
    """Make fit_groups (number, category, total) of the groups with enough values, and fit_values (number, value, n)."""
    connection.execute(f"""
        CREATE TEMP TABLE fit_groups AS
        WITH RECURSIVE sizes AS (SELECT category, sum(n) AS n FROM fit_counts GROUP BY category),
        {_lines_sql("sizes")},
        enough AS (
            SELECT ancestor AS category, CAST(sum(n) AS BIGINT) AS total
            FROM lines JOIN sizes ON sizes.category IS NOT DISTINCT FROM lines.category
            GROUP BY ancestor HAVING sum(n) >= {least}
        )
        SELECT row_number() OVER (ORDER BY category NULLS FIRST) AS number, category, total FROM enough
    """)
    connection.execute(f"""
        CREATE TEMP TABLE fit_values AS
        WITH RECURSIVE wanted AS (SELECT DISTINCT category FROM fit_counts),
        {_lines_sql("wanted")},
        members AS (
            SELECT lines.category, number FROM lines
                JOIN fit_groups AS g ON g.category IS NOT DISTINCT FROM lines.ancestor
        )
        SELECT number, value, CAST(sum(n) AS BIGINT) AS n
        FROM fit_counts AS c JOIN members AS m ON m.category IS NOT DISTINCT FROM c.category
        GROUP BY number, value
    """)


def _quantiles_sql(relation: str, value: str) -> str:
    """Return a query: number, total, and the two values nearest to each quartile, `x25_below`, `x25_above`, ….

    Args:
        relation: table with number, the value and n.
    """
    picks = []
    for percent in (25, 50, 75):
        below = f"floor({percent / 100} * (total - 1))"
        picks.append(f"min({value}) FILTER (WHERE ends > {below}) AS x{percent}_below")
        picks.append(f"min({value}) FILTER (WHERE ends > least({below} + 1, total - 1)) AS x{percent}_above")
    return f"""
        SELECT number, total, {", ".join(picks)} FROM (
            SELECT number, {value},
                sum(n) OVER (PARTITION BY number ORDER BY {value} ROWS UNBOUNDED PRECEDING) AS ends
            FROM {relation}
        ) JOIN fit_groups USING (number) GROUP BY number, total
    """


def _between(name: str, q: float, scale: str) -> str:
    """Return a quantile from the two values nearest to it, on a scale: linear interpolation."""
    place = f"({q} * (total - 1))"
    below, above = (scale.format(f"{name}{q * 100:.0f}_{side}") for side in ("below", "above"))
    return f"({below} + ({above} - {below}) * ({place} - floor({place})))"


def _scale(config: CleanConfig) -> str:
    return "ln({})" if config.outlier_scale == "log" else "{}"


def _add_spread(connection: duckdb.DuckDBPyConnection, config: CleanConfig) -> None:
    """Add the columns `centre` and `spread` to fit_centres: of the z-score, or of the median absolute deviation."""
    y = _scale(config).format("value")
    if config.outliers == "mad":
        centre = f"SELECT number, {_between('x', 0.5, _scale(config))} AS centre FROM fit_centres"
        away = f"""SELECT number, abs({y} - centre) AS away, n FROM fit_values JOIN ({centre}) USING (number)"""
        quantiles = _quantiles_sql(f"({away})", "away")
        spread = f"SELECT number, {MAD_CONSISTENCY} * {_between('x', 0.5, '{}')} AS spread FROM ({quantiles})"
        query = f"SELECT * FROM ({centre}) JOIN ({spread}) USING (number)"
    else:
        # Added up in the order of the values, so that the last bit does not depend on the order of the rows.
        centre = f"SELECT number, sum(n * {y} ORDER BY value) / sum(n) AS centre FROM fit_values GROUP BY number"
        square = f"pow({y} - centre, 2)"
        query = f"""SELECT number, centre, sqrt(sum(n * {square} ORDER BY value) / sum(n)) AS spread
            FROM fit_values JOIN ({centre}) USING (number) GROUP BY number, centre"""
    connection.execute(f"CREATE TEMP TABLE fit_spread AS SELECT * FROM fit_centres JOIN ({query}) USING (number)")
    connection.execute("DROP TABLE fit_centres")
    connection.execute("ALTER TABLE fit_spread RENAME TO fit_centres")


def _bounds_sql(config: CleanConfig) -> str:
    """Return the two columns low and high over fit_centres; NULL where the values have no spread."""
    factor = config.outlier_factor or FACTORS[config.outliers]
    if config.outliers == "iqr":
        low, high = _between("x", 0.25, _scale(config)), _between("x", 0.75, _scale(config))
        spread = f"({high} - {low})"
    else:
        low, high, spread = "centre", "centre", "spread"
    log_scale = config.outlier_scale == "log"
    least = str(LEAST_SPREAD) if log_scale else f"{LEAST_SPREAD} * abs({low})"
    back = "exp({})" if log_scale else "{}"
    ends = (back.format(f"({low} - {factor} * {spread})"), back.format(f"({high} + {factor} * {spread})"))
    # A margin beyond what a float can hold bounds nothing on that side; a finite number keeps the JSON valid.
    most = sys.float_info.max
    kept = [f"greatest(-{most}, least({most}, {end}))" for end in ends]
    return ", ".join(
        f"CASE WHEN {spread} > {least} THEN {end} END AS {name}"
        for end, name in zip(kept, ("low", "high"), strict=True)
    )
