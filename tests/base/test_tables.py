"""Tables: the hash of rows sees every value and the order, and nothing of how the file was written."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from behavior_tasks.base.tables import connect, hash_query, hash_rows


def written(path: Path, rows: list[tuple[object, object]], **options: object) -> str:
    table = pa.table({"a": [r[0] for r in rows], "b": [r[1] for r in rows]})
    pq.write_table(table, path, **options)
    return hash_rows(connect(), path)


def test_the_hash_is_of_rows_not_of_bytes(tmp_path: Path) -> None:
    rows: list[tuple[object, object]] = [("x", 1.5), (None, 2.0), ("y", None)]
    plain = written(tmp_path / "plain.parquet", rows)
    assert written(tmp_path / "other.parquet", rows, compression="gzip", row_group_size=1, version="1.0") == plain
    assert written(tmp_path / "order.parquet", rows[::-1]) != plain
    assert written(tmp_path / "value.parquet", [*rows[:2], ("y", 0.0)]) != plain
    assert written(tmp_path / "null.parquet", [("x", 1.5), ("NULL", 2.0), ("y", None)]) != plain


def test_the_hash_of_lists_sees_every_item_and_where_each_list_ends() -> None:
    def lists(rows: str) -> str:
        return hash_query(connect(), f"SELECT * FROM (VALUES {rows}) AS t(a)")

    rows = ["(['a', 'b']), (['c'])", "(['a']), (['b', 'c'])", "(['a', 'bc']), (['d'])", "(['a', 'b']), (NULL)"]
    rows += ["(['a', 'b']), ([]::VARCHAR[])", "(['a', NULL]), (['c'])", "([1, 2]), ([3])", "(['ab']), (['c'])"]
    assert len({lists(row) for row in rows}) == len(rows)
    assert lists(rows[0]) == lists(rows[0])
