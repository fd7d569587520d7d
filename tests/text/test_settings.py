from datetime import datetime
from pathlib import Path

import pytest

from behavior_tasks.base.config import EngineConfig, TextConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.schema import SHOPPER_COLUMNS
from behavior_tasks.base.tables import bucket_file, bucket_files, connect, write_parquet
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.text.counts import Counts, count_events
from behavior_tasks.text.settings import POPULAR_CATEGORIES, TextSettings, fit_settings


def fit(folder: Path, values: list[float | None], *, quantiles: int = 4, test_value: float = 0.0) -> TextSettings:
    """Settings fitted on train examples with these numbers of events, and one test example."""
    (folder / "examples").mkdir(parents=True)
    (folder / "events").mkdir()
    rows = ", ".join(f"('train', {'NULL' if v is None else v}::DOUBLE)" for v in values)
    rows += f", ('test', {test_value}::DOUBLE), ('validation', {test_value}::DOUBLE)"
    connection = connect()
    query = f"""
        SELECT split, TIMESTAMP '2026-01-10' + to_days(CASE split WHEN 'train' THEN 0 ELSE 7 END) AS cutoff, events,
               1.0 AS carts
        FROM (VALUES {rows}) AS t(split, events)
    """
    write_parquet(connection, query, bucket_file(folder / "examples", 0))
    # Category c7 has seven events, and so on; those at the last train cutoff are the future.
    events = f"""
        SELECT 'c' || n AS category, TIMESTAMP '2026-01-10' - INTERVAL 1 MICROSECOND AS timestamp
        FROM range(1, {POPULAR_CATEGORIES + 3}) AS t(n), range(n)
        UNION ALL SELECT 'future', TIMESTAMP '2026-01-10' FROM range(1000)
        UNION ALL SELECT 'unknown', TIMESTAMP '2026-01-01' FROM range(1000)
        UNION ALL SELECT NULL, TIMESTAMP '2026-01-01' FROM range(1000)
    """
    write_events(folder / "events", [events])
    config = TextConfig(quantiles=quantiles)
    counts = counts_of(folder)
    return fit_settings(folder / "examples", counts, config, lookback_days=30)


def write_events(folder: Path, buckets: list[str]) -> None:
    """Write the buckets of a clean log, each from a query of some of its columns; the others are NULL."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, query in enumerate(buckets):
        connection = connect()
        given = {row[0] for row in connection.execute(f"DESCRIBE {query}").fetchall()}
        columns = [f"CAST({c.name if c.name in given else 'NULL'} AS {c.type}) AS {c.name}" for c in SHOPPER_COLUMNS]
        write_parquet(connection, f"SELECT {', '.join(columns)} FROM ({query})", bucket_file(folder, number))


def counts_of(folder: Path, until: datetime = datetime(2026, 1, 10)) -> Counts:
    """The counts of the log in `folder/events`."""
    log = [BucketEvents(files=(file,)) for file in bucket_files(folder / "events")]
    (folder / "counts").mkdir()
    return count_events(log, until, folder / "counts", engine=EngineConfig(workers=1))


ORDERS = """
    SELECT 's' || n AS shopper, TIMESTAMP '2026-01-01 10:00' AS timestamp, 'purchase' AS action,
           'p' || (n % 4) AS product_id, n AS amount, n / 2 AS price,
           CASE n % 4 WHEN 0 THEN NULL WHEN 1 THEN 'Mug, red' WHEN 2 THEN 'mug - RED' ELSE 'Item p3' END AS product_name
    FROM range({first}, {last}) AS t(n)
"""


def test_amounts_prices_and_products_are_counted_over_all_buckets(tmp_path: Path) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    write_events(whole / "events", [ORDERS.format(first=1, last=10)])
    write_events(parted / "events", [ORDERS.format(first=1, last=4), ORDERS.format(first=4, last=10)])
    for folder in (whole, parted):
        counts = counts_of(folder)
        assert counts.quantiles("amount", 3) == [3.0, 6.0]
        assert counts.quantiles("price", 3) == [1.5, 3.0]
        assert counts.most("product", 3) == ["p1", "p0", "p2"]
        assert counts.product_names(["p0", "p1", "p3"]) == {"p1": "Mug, red", "p3": "Item p3"}


def test_what_a_shopper_pays_in_a_day_is_one_amount(tmp_path: Path) -> None:
    day = ORDERS.format(first=1, last=5).replace("'s' || n AS shopper", "'s' AS shopper")
    write_events(tmp_path / "events", [f"{day} UNION ALL ({ORDERS.format(first=20, last=21)})"])
    assert counts_of(tmp_path).quantiles("amount", 2) == [10.0]


def test_products_are_called_by_name_and_else_by_their_place(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    write_parquet(
        connect(), "SELECT 'train' AS split, TIMESTAMP '2026-01-10' AS cutoff", bucket_file(tmp_path / "examples", 0)
    )
    write_events(tmp_path / "events", [ORDERS.format(first=1, last=12)])
    counts = counts_of(tmp_path)
    # p0 has no name, p2 that of p1, and the name of p3 would tell its id.
    words = {"p1": "mug-red", "p2": "top-2", "p3": "top-3", "p0": "top-4"}
    for most in (4, 2, 0):
        found = fit_settings(tmp_path / "examples", counts, TextConfig(named_products=most), lookback_days=30).products
        assert found == dict(list(words.items())[:most])


def test_a_product_that_few_shoppers_touched_is_not_called_by_name(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    write_parquet(
        connect(), "SELECT 'train' AS split, TIMESTAMP '2026-01-10' AS cutoff", bucket_file(tmp_path / "examples", 0)
    )
    # One shopper has most of the events of p9, in a bucket of their own; p1 and p0 have three and two shoppers.
    alone = ORDERS.format(first=1, last=30).replace("'s' || n AS shopper", "'alone' AS shopper")
    alone = alone.replace("'p' || (n % 4) AS product_id", "'p9' AS product_id")
    write_events(tmp_path / "events", [alone, ORDERS.format(first=1, last=5), ORDERS.format(first=5, last=10)])
    counts = counts_of(tmp_path)
    assert counts.most_products(9, of_shoppers=0) == ["p9", "p1", "p0", "p2", "p3"]
    assert counts.most_products(9, of_shoppers=2) == ["p1", "p0", "p2", "p3"]
    assert counts.most_products(9, of_shoppers=3) == ["p1"]
    fitted = fit_settings(tmp_path / "examples", counts, TextConfig(), lookback_days=30, min_product_shoppers=3)
    assert list(fitted.products) == ["p1"]


def test_categories_that_are_mere_numbers_are_called_by_their_place(tmp_path: Path) -> None:
    settings = fit(tmp_path, [1, 2]).model_copy(update={"categories": ["2520771", "Home & Garden", "№ 7", "#"]})
    assert settings.category_words() == ["kind-1", "home-garden", "kind-3", "kind-4"]


def test_bins_part_the_train_values_evenly(tmp_path: Path) -> None:
    assert fit(tmp_path, [8, 7, 6, 5, 4, 3, 2, 1]).bins == {"events": [2, 4, 6]}


def test_bins_are_fitted_on_train_only(tmp_path: Path) -> None:
    values: list[float | None] = [8, 7, 6, 5, 4, 3, 2, 1]
    assert fit(tmp_path / "a", values) == fit(tmp_path / "b", values, test_value=1e9)


@pytest.mark.parametrize(
    ("values", "edges"),
    [
        ([0, 0, 0, 0, 0, 0, 1, 9], [0]),
        ([0, 5, 5, 5, 5, 5, 5, 5], [0]),
        ([None, None, 1, 2, 3, 4], [1, 2, 3]),
    ],
)
def test_equal_edges_are_one_and_none_lies_at_the_top(
    tmp_path: Path, values: list[float | None], edges: list[float]
) -> None:
    assert fit(tmp_path, values).bins["events"] == edges


@pytest.mark.parametrize("values", [[3, 3, 3], [None, None], [3, None]])
def test_a_feature_with_one_known_value_has_no_words(tmp_path: Path, values: list[float | None]) -> None:
    assert fit(tmp_path, values).bins == {}


def test_popular_categories_of_the_train_period(tmp_path: Path) -> None:
    names = fit(tmp_path, [1, 2]).categories
    assert names == [f"c{n}" for n in range(POPULAR_CATEGORIES + 2, 2, -1)]


def test_settings_survive_saving(tmp_path: Path) -> None:
    settings = fit(tmp_path, [0.1, 1 / 3, 2e-17, 5])
    settings.save(tmp_path / "text.json")
    assert TextSettings.load(tmp_path / "text.json") == settings


def test_missing_and_damaged_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"text\.json are missing"):
        TextSettings.load(tmp_path / "text.json")
    (tmp_path / "text.json").write_text('{"language": "en"}')
    with pytest.raises(UserError, match=r"text\.json can't be read") as caught:
        TextSettings.load(tmp_path / "text.json")
    assert "last_events" in str(caught.value)
