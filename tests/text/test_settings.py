from pathlib import Path

import pytest

from behavior_tasks.base.config import TextConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.schema import SHOPPER_COLUMNS
from behavior_tasks.base.tables import bucket_file, connect, write_parquet
from behavior_tasks.data.events import BucketEvents
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
    others = ", ".join(
        f"CAST(NULL AS {c.type}) AS {c.name}" for c in SHOPPER_COLUMNS if c.name not in {"category", "timestamp"}
    )
    write_parquet(connection, f"SELECT *, {others} FROM ({events})", bucket_file(folder / "events", 0))
    config = TextConfig(quantiles=quantiles)
    log = BucketEvents(files=(bucket_file(folder / "events", 0),))
    return fit_settings(folder / "examples", [log], config, lookback_days=30)


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
