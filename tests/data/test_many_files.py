"""One log in many files: whatever the files' formats, order and columns, the same clean events come out."""

import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.data.stages import events, real_log, run_to

Rows = list[dict[str, str]]


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
