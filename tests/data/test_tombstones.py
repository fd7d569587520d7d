"""Tombstones: who was erased stays out of any later file, in any format, and a damaged ledger stops the reading."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.data.erasures import Erasure, add_erasure, ledger_file, open_erasures, read_erasures
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.inputs import RawFile
from behavior_tasks.data.keys import identity_key, key_path, secret_key
from behavior_tasks.data.raw_erase import count_raw_rows, erase_raw_rows
from behavior_tasks.data.rawstore import keep_copy
from behavior_tasks.data.sources import layout_of
from behavior_tasks.data.tombstones import Tombstones, tombstone
from behavior_tasks.pipeline import Run
from tests.shop import run_until

HEADER = "user_id,action,product_id,timestamp,category"
ROWS = [f"{who},browse,p{n},{1767595000 + 60 * n},tea" for n, who in enumerate(["ann", "bob", "ann", "cem", "bob"])]
BROKEN = "bob,browse,p9,no time,tea"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "var"))
    return Home(tmp_path / "var")


def bury(home: Home, *ids: str, request: str = "r1") -> Erasure:
    key = secret_key(home, "tombstone")
    stones = tuple(tombstone(one, key) for one in ids)
    told = {"when": "2026-11-28T08:00:00+00:00", "who": "ann", "why": "ticket", "identity_key": "0"}
    return add_erasure(
        home,
        Erasure(kind="asked", request=request, shoppers=("0" * 20,) * len(ids), tombstones=stones, **told),
    )


def read(log: Path, home: Home) -> Run:
    return run_until("ingest", f"read-{log.name}", log=log, overrides={"source.max_bad_fraction": 0.9})


def write(kind: str, folder: Path) -> Path:
    cells = [row.split(",") for row in [*ROWS, BROKEN]]
    names = HEADER.split(",")
    text = "\n".join([HEADER, *ROWS, BROKEN]) + "\n"
    path = folder / f"log.{kind}"
    if kind == "csv":
        path.write_text(text)
    elif kind == "csv.gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in cells))
    else:
        pq.write_table(pa.table({name: [row[n] for row in cells] for n, name in enumerate(names)}), path)
    return path


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "jsonl", "parquet"])
def test_a_late_file_does_not_bring_them_back(kind: str, tmp_path: Path, home: Home) -> None:
    bury(home, "bob")
    run = read(write(kind, tmp_path), home)
    ingest, key = run.need("ingest"), identity_key(home)
    rows = ingest.manifest.rows
    assert (rows.rows_in, rows.rows_out, rows.removed) == (6, 3, {"erased": 3})
    parts = home.artifacts.glob("ingest-part/*/runs/*.parquet")
    shoppers = {one for part in parts for one in pd.read_parquet(part)["shopper"]}
    assert shoppers == {pseudonym("ann", key), pseudonym("cem", key)}
    assert len(pd.read_parquet(ingest.path / "quarantine.parquet")) == 0


def test_tombstones_outlive_the_identity_key_and_nobody_costs_no_key(home: Home) -> None:
    assert Tombstones.load(home) is None
    assert not key_path(home, "tombstone").exists()
    bury(home, "bob")
    bury(home, "dora", request="r2")
    held = Tombstones.load(home)
    assert held is not None
    assert [held.hold(one) for one in ("bob", "dora", "ann", None)] == [True, True, False, False]
    assert held.mask(pa.array(["ann", None, "dora"])).to_pylist() == [False, False, True]
    assert "bob" not in repr(held)
    assert held.key.hex() not in repr(held)
    key_path(home, "identity").unlink(missing_ok=True)
    assert Tombstones.load(home) == held
    key_path(home, "tombstone").unlink()
    with pytest.raises(UserError, match="tombstone key is gone"):
        Tombstones.load(home)


@pytest.mark.parametrize("how", ["changed", "lost", "no json"])
def test_a_damaged_ledger_stops_an_ingest(how: str, tmp_path: Path, home: Home) -> None:
    for number in range(3):
        bury(home, f"user {number}", request=f"r{number}")
    assert [one.request for one in open_erasures(read_erasures(home))] == ["r0", "r1", "r2"]
    lines = ledger_file(home).read_text().splitlines(keepends=True)
    damaged = {
        "changed": [lines[0].replace('"ann"', '"eve"'), *lines[1:]],
        "lost": [lines[0], lines[2]],
        "no json": [*lines[:2], "x\n"],
    }
    ledger_file(home).write_text("".join(damaged[how]))
    with pytest.raises(UserError, match="ledger of erasures"):
        read(write("csv", tmp_path), home)
    ledger_file(home).write_text("".join(lines) + '{"half a line')
    assert len(read_erasures(home)) == 3, "half a line is a crash's, not a damage"


LINES = [
    "user_id,action,product_id,timestamp,category",
    "bob,browse,p1,1767595000,tea",
    'ann,browse,p1,1767595001,"green\ntea"',
    '"bob",browse,p2,1767595002,"black\r\ntea"',
    "",
    "ann,browse,p2,1767595003,größe 茶",
    "ann,broken row of bob,1",
    "bobby,browse,p2,1767595004,tea",
    " bob ,browse,p3,1767595005,tea",
]
KEPT = [LINES[n] for n in (0, 2, 5, 7)]


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_copy_loses_their_rows_and_no_byte_else(encoding: str, end: str, tmp_path: Path, home: Home) -> None:
    bury(home, "bob")
    stones = Tombstones.load(home)
    assert stones is not None
    path = tmp_path / "copy.csv.gz"
    path.write_bytes(gzip.compress(end.join([*LINES, ""]).encode(encoding)))
    config = Config.model_validate({"source": {"encoding": encoding}}).source
    held = path.stat()
    file = RawFile(path=path, shown="copy", name="copy", bytes=held.st_size, sha256="", mtime_ns=held.st_mtime_ns)
    layout = layout_of(file, config)
    assert count_raw_rows(path, layout, config, stones, shown="copy") == 4
    assert erase_raw_rows(path, layout, config, stones, shown="copy") == 4
    assert gzip.decompress(path.read_bytes()) == end.join([*KEPT, ""]).encode(encoding)
    before = path.stat().st_ino
    assert erase_raw_rows(path, layout, config, stones, shown="copy") == 0
    assert path.stat().st_ino == before


def test_a_parquet_copy_keeps_its_types(tmp_path: Path, home: Home) -> None:
    bury(home, "2")
    stones = Tombstones.load(home)
    assert stones is not None
    table = pa.table(
        {"user_id": pa.array([1, 2, 3, 2], pa.int64()), "action": ["browse"] * 4, "product_id": ["p"] * 4}
        | {"timestamp": pa.array([datetime(2026, 1, n, tzinfo=UTC) for n in (1, 2, 3, 4)], pa.timestamp("us", "UTC"))}
    )
    path = tmp_path / "copy.parquet"
    pq.write_table(table, path, row_group_size=2)
    config, held = Config().source, path.stat()
    file = RawFile(path=path, shown="copy", name="copy", bytes=held.st_size, sha256="", mtime_ns=held.st_mtime_ns)
    assert erase_raw_rows(path, layout_of(file, config), config, stones, shown="copy") == 2
    assert pq.read_table(path).equals(table.take([0, 2]))


def test_a_log_behind_an_address_is_rid_of_them_when_it_is_copied(tmp_path: Path, home: Home) -> None:
    bury(home, "bob")
    log = write("csv", tmp_path)
    url = f"memory://logs/{tmp_path.name}.csv"
    import fsspec

    with fsspec.open(url, "wb") as out:
        out.write(log.read_bytes())
    run = run_until("ingest", "remote", log=url, overrides={"source.max_bad_fraction": 0.9})  # type: ignore[arg-type]
    (copy,) = (file for file in home.raw.iterdir() if file.suffix == ".csv")
    assert "bob" not in copy.read_text()
    assert copy.read_text().count("ann") == 2
    assert run.need("ingest").manifest.rows.rows_out == 3
    again = run_until("ingest", "again", log=url, overrides={"source.max_bad_fraction": 0.9})  # type: ignore[arg-type]
    assert again.need("source").uri == run.need("source").uri
    assert (
        keep_copy(home, lambda out: out.write(log.read_bytes()), suffix=".csv", shown="log", min_free_mb=0).path == copy
    )
