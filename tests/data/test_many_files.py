"""One log in many files: whatever the files' formats, order and columns, the same clean events come out."""

import csv
import gzip
import io
import json
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.stages import events, real_log, run_to, seconds, write_log

Rows = list[dict[str, str]]
INSTANTS = ["2026-03-01 00:30:00", "2026-03-28 23:59:59", "2026-07-01 12:00:00", "2026-11-01 17:45:10"]
"""In UTC."""
SUMMER = "Europe/Berlin"


def as_csv(rows: Rows, names: list[str]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def test_a_real_log_in_five_dresses(tmp_path: Path) -> None:
    log = real_log("retailrocket_sample_events.csv.gz")
    with gzip.open(log, "rt", encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        rows = list(reader)
        names = list(reader.fieldnames or ())
    parts = [rows[n::5] for n in range(5)]
    folder = tmp_path / "logs"
    (folder / "late").mkdir(parents=True)
    (folder / "a.csv").write_bytes(as_csv(parts[0], names))
    (folder / "b.csv.gz").write_bytes(gzip.compress(as_csv(parts[1], names[::-1])))
    (folder / "c.csv.zst").write_bytes(pa.compress(as_csv(parts[2], names[:4]), codec="zstd", asbytes=True))
    pq.write_table(
        pa.Table.from_pylist([{**row, "timestamp": int(row["timestamp"])} for row in parts[3]]), folder / "d.parquet"
    )
    (folder / "late" / "e.jsonl").write_text("".join(json.dumps(row) + "\n" for row in parts[4]), encoding="utf-8")
    (folder / "again.csv").write_bytes((folder / "a.csv").read_bytes())
    whole, split = (run_to("clean", path, tmp_path / "home", preset="retailrocket") for path in (log, folder))
    assert events(split) == events(whole)
    assert split.manifest.rows == whole.manifest.rows
    source = run_to("source", folder, tmp_path / "home", preset="retailrocket").facts
    assert source["repeated"] == {"again.csv": "a.csv"}
    assert len(source["files"]) == 5


def read_times(column: pa.Array, home: Path, **source: object) -> list[object]:
    """Return the instants that ingest reads in a Parquet file with such a column of times."""
    rows = len(column)
    log = home / "log.parquet"
    home.mkdir()
    others = {"user_id": [f"u{n}" for n in range(rows)], "action": ["buy"] * rows, "product_id": ["p"] * rows}
    pq.write_table(pa.table({**others, "timestamp": column}), log)
    settings: dict[str, object] = {f"source.{key}": value for key, value in source.items()}
    read = run_to("ingest", log, home, overrides=settings)
    assert read.manifest.rows.removed == {}
    return [instant for (instant,) in events(read, "timestamp")]


@pytest.mark.parametrize("time_format", ["unix_seconds", "unix_milliseconds", "iso", "%d.%m.%Y"])
def test_instants_and_days_in_parquet_are_read_whatever_the_time_format(time_format: str, tmp_path: Path) -> None:
    utc = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in INSTANTS]
    naive = [instant.replace(tzinfo=None) for instant in utc]
    local = [instant.astimezone(ZoneInfo(SUMMER)).replace(tzinfo=None) for instant in utc]
    days = [date(2026, 3, 1), date(2026, 7, 1)]
    columns = {
        "naive": (pa.array(local, pa.timestamp("us")), naive),
        "nanoseconds": (pa.array(local, pa.timestamp("ns")), naive),
        "zoned": (pa.array(utc, pa.timestamp("ms", "Asia/Shanghai")), naive),
        "days": (pa.array(days, pa.date32()), [datetime(2026, 2, 28, 23), datetime(2026, 6, 30, 22)]),
    }
    for name, (column, expected) in columns.items():
        assert read_times(column, tmp_path / name, time_format=time_format, timezone=SUMMER) == expected


def test_numbers_and_texts_in_parquet_are_read_as_the_settings_say(tmp_path: Path) -> None:
    naive = [datetime.fromisoformat(text) for text in INSTANTS]
    counts = [seconds(text) for text in INSTANTS]
    assert read_times(pa.array(counts, pa.int64()), tmp_path / "a") == naive
    milliseconds = pa.array([1000 * count for count in counts], pa.int64())
    assert read_times(milliseconds, tmp_path / "b", time_format="unix_milliseconds") == naive
    texts = [f"{instant:%d.%m.%Y %H:%M:%S}" for instant in naive]
    assert read_times(pa.array(texts), tmp_path / "c", time_format="%d.%m.%Y %H:%M:%S") == naive


def test_one_log_as_csv_and_as_parquet_with_each_kind_of_time(tmp_path: Path) -> None:
    rows = [(f"u{n % 3}", "buy", f"p{n}", seconds(text)) for n, text in enumerate(INSTANTS)]
    folder = tmp_path / "logs"
    folder.mkdir()
    whole = write_log(tmp_path / "log.csv", [",".join(map(str, row)) for row in rows])
    write_log(folder / "a.csv", [",".join(map(str, rows[0]))])
    instants = [datetime.fromisoformat(text) for text in INSTANTS]
    kinds = {
        "b": (rows[1], pa.array([instants[1]], pa.timestamp("us"))),
        "c": (rows[2], pa.array([instants[2].replace(tzinfo=UTC)], pa.timestamp("ms", "America/New_York"))),
        "d": (rows[3], pa.array([rows[3][3]], pa.int64())),
    }
    for name, (row, times) in kinds.items():
        table = pa.table({"timestamp": times, "user_id": [row[0]], "action": [row[1]], "product_id": [row[2]]})
        pq.write_table(table, folder / f"{name}.parquet")
    assert events(run_to("clean", folder, tmp_path / "home")) == events(run_to("clean", whole, tmp_path / "home"))
