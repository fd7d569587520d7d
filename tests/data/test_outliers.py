"""Outlier bounds and medians: the three methods against numpy, parents, fall-backs, order, JSON, replacement."""

import math
import random
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from behavior_tasks.base.config import CleanConfig
from behavior_tasks.base.tables import connect
from behavior_tasks.data.outliers import SCHEMA, Fits, fit_amounts, make_fit_table, outlying_sql, replaced_amount_sql

Count = tuple[str | None, float, int]


def counts_table(counts: Sequence[Count]) -> pa.Table:
    category, value, n = zip(*counts, strict=True)
    return pa.table({"category": pa.array(category, pa.string()), "value": value, "n": n})


def fit(counts: Sequence[Count], *, with_bounds: bool = True, **settings: object) -> Fits:
    with connect() as connection:
        connection.register("counts", counts_table(counts))
        return fit_amounts(connection, "counts", CleanConfig(**settings), with_bounds=with_bounds)  # type: ignore[arg-type]


def resolved(fits: Fits, *categories: str | None) -> dict[str | None, tuple[float, float, float]]:
    """Return category → (low, high, median), fall-backs resolved."""
    with connect() as connection:
        connection.register("events", pa.table({"category": pa.array(categories, pa.string())}))
        make_fit_table(connection, "fits", fits, "events")
        rows = connection.execute("SELECT category, low, high, median FROM fits").fetchall()
    assert len(rows) == len({*categories, None})
    return {row[0]: row[1:] for row in rows}


def apply(fits: Fits, events: Sequence[tuple[str | None, str, float | None]], **settings: object) -> list[object]:
    """Return, for each event (category, action, amount), its amount after replacement."""
    category, action, amount = zip(*events, strict=True)
    config = CleanConfig(**settings)  # type: ignore[arg-type]
    table = {"category": pa.array(category, pa.string()), "action": action, "amount": pa.array(amount, pa.float64())}
    with connect() as connection:
        connection.register("events", pa.table({"row": range(len(events)), **table}))
        make_fit_table(connection, "fits", fits, "events")
        query = f"""SELECT {replaced_amount_sql(config)}, {outlying_sql()} FROM events AS e
            JOIN fits AS f ON f.category IS NOT DISTINCT FROM e.category ORDER BY row"""
        rows = connection.execute(query).fetchall()
    # What is no outlier is never changed.
    assert all(flagged or new == old for (new, flagged), old in zip(rows, amount, strict=True))
    return [new for new, _ in rows]


def expected(values: np.ndarray, method: str, factor: float, scale: str) -> tuple[float, float]:
    """Return the bounds of single values as a textbook has them."""
    y = np.log(values) if scale == "log" else values
    if method == "iqr":
        q1, q3 = np.percentile(y, [25, 75])
        low, high = q1 - factor * (q3 - q1), q3 + factor * (q3 - q1)
    else:
        middle = np.median(y) if method == "mad" else y.mean()
        spread = 1.4826 * np.median(np.abs(y - middle)) if method == "mad" else y.std()
        low, high = middle - factor * spread, middle + factor * spread
    return (float(np.exp(low)), float(np.exp(high))) if scale == "log" else (float(low), float(high))


@pytest.mark.parametrize("scale", ["log", "linear"])
@pytest.mark.parametrize(("method", "default"), [("iqr", 3.0), ("mad", 3.5), ("zscore", 3.0)])
def test_bounds_and_medians_are_those_of_the_single_values(method: str, default: float, scale: str) -> None:
    random_state = np.random.default_rng(5)
    groups = {name: np.round(np.exp(random_state.normal(3, 1, size)), 2) for name, size in (("toys", 61), ("b", 90))}
    counts: list[Count] = []
    for name, values in groups.items():
        distinct, n = np.unique(values, return_counts=True)
        counts += [(name, float(v), int(k)) for v, k in zip(distinct, n, strict=True)]
    counts.append((None, 7.5, 3))
    everything = np.concatenate([*groups.values(), [7.5] * 3])
    for factor in (None, 1.7):
        fits = fit(counts, outliers=method, outlier_scale=scale, outlier_factor=factor)
        found = fits.of(["toys", "b", None])
        for name, values in {**groups, None: everything}.items():
            bounds = expected(values, method, factor or default, scale)
            assert (found[name].low, found[name].high) == pytest.approx(bounds, rel=1e-12)
            assert found[name].median == np.median(values)
            assert found[name].values == len(values)


def test_the_answer_depends_on_neither_the_order_nor_the_split_of_the_counts() -> None:
    rows: list[Count] = [(f"c{i % 3}.s{i % 7}", 1 + (i * 37 % 101) / 7, 2 + 2 * (i % 5)) for i in range(500)]
    halves: list[Count] = [(category, value, n // 2) for category, value, n in rows for _ in range(2)]
    random.Random(3).shuffle(halves)
    for method in ("iqr", "mad", "zscore"):
        assert fit(rows, outliers=method) == fit(halves, outliers=method)


def flat(category: str | None, value: float, n: int = 40) -> list[Count]:
    return [(category, value, n)]


def spread(category: str | None, start: int, n: int = 40) -> list[Count]:
    return [(category, float(start + i), 1) for i in range(n)]


def test_a_parent_holds_what_all_its_children_hold() -> None:
    counts = [
        *spread("electronics.audio.headphone", 100, 20),
        *spread("electronics.audio", 120, 10),
        *spread("electronics.phone", 1000, 25),
        *spread("shoes > men / boots", 10, 45),
    ]
    fits = fit(counts, outlier_min_group=30)
    assert fits.table["category"].to_pylist() == [
        *(None, "electronics", "electronics.audio", "shoes", "shoes > men", "shoes > men / boots"),
    ]
    assert fits.table["values"].to_pylist() == [100, 55, 30, 45, 45, 45]
    audio = fits.of(["electronics.audio"])["electronics.audio"]
    assert audio.median == 114.5
    found = resolved(fits, "electronics.audio.headphone", "electronics.audio.x.y", "electronics.phone", "new", "shoes")
    assert found["electronics.audio.headphone"] == found["electronics.audio.x.y"] == (audio.low, audio.high, 114.5)
    electronics, whole, shoes = (fits.of([name])[name] for name in ("electronics", None, "shoes"))
    assert found["electronics.phone"] == (electronics.low, electronics.high, electronics.median)
    assert found["new"] == found[None] == (whole.low, whole.high, whole.median)
    assert found["shoes"] == (shoes.low, shoes.high, 32)


def test_a_category_without_spread_takes_its_parents_bounds_and_keeps_its_own_median() -> None:
    counts: list[Count] = [*(("a", 50.0 + i, 5) for i in range(60)), *flat("a.gift", 0.01), *flat("a.same", 80)]
    fits = fit(counts, outlier_factor=1)
    found = resolved(fits, "a", "a.same", "a.gift")
    low, high = found["a"][:2]
    assert found["a.same"] == (low, high, 80)
    # What a category is ordinary for is no outlier in it, however far from its parent's bounds.
    assert low > 0.01
    assert found["a.gift"] == (0.01, high, 0.01)
    assert fits.of(["a.gift"])["a.gift"].low is None


def test_with_too_few_values_nothing_is_fitted_and_nothing_replaced() -> None:
    few = spread("a", 1, 29)
    fits = fit(few)
    assert fits.table.num_rows == 0
    assert resolved(fits, "a") == {"a": (None, None, None), None: (None, None, None)}
    assert apply(fits, [("a", "purchase", 1e9)]) == [1e9]
    assert apply(Fits(table=SCHEMA.empty_table()), [(None, "purchase", 1e9)]) == [1e9]
    assert fit([*few, ("b", 5.0, 1)]).of(["a", None]).keys() == {None}


def test_medians_alone_have_no_bounds_and_count_what_is_not_positive() -> None:
    counts: list[Count] = [("a", 0.0, 20), ("a", 4.0, 15)]
    medians = fit(counts, with_bounds=False).of(["a"])["a"]
    assert (medians.median, medians.low, medians.values) == (0, None, 35)
    assert fit(counts).table.num_rows == 0
    assert fit([*counts, *spread("a", 1)], outliers="off").of(["a"])["a"].low is None


def test_outlying_sales_become_the_median_or_the_bound() -> None:
    counts = spread("a", 10, 41)
    fits = fit(counts, outlier_factor=1)
    bounds = fits.of(["a"])["a"]
    assert bounds.low is not None
    assert bounds.high is not None
    events = [
        ("a", "purchase", bounds.low * 0.99),
        ("a", "purchase", bounds.low),
        ("a", "return", bounds.high * 1.01),
        ("new", "purchase", bounds.high),
        (None, "purchase", 1e6),
        ("a", "browse", 1e6),
        ("a", "purchase", 0.0),
        ("a", "purchase", None),
    ]
    kept = [bounds.low, bounds.high, 1e6, 0, None]
    replaced = apply(fits, events)
    assert replaced == [30, kept[0], 30, kept[1], 30, *kept[2:]]
    clipped = apply(fits, events, outlier_replace="clip")
    assert clipped == [bounds.low, kept[0], bounds.high, kept[1], bounds.high, *kept[2:]]
    assert apply(fits, [("a", "purchase", x) for x in clipped[:5]], outlier_replace="clip") == clipped[:5]  # type: ignore[misc]


def test_bounds_of_the_largest_amounts_are_finite() -> None:
    counts = [*spread("a.ü", 1), *flat("b/c", 3), *[(None, 10.0**k, 1) for k in range(-300, 300, 3)]]
    whole = fit(counts, outlier_factor=100).of([None])[None]
    assert whole.high is not None
    assert 1e308 < whole.high < math.inf
