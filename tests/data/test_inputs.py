"""The input: whatever a user types becomes named, hashed files, and an unchanged file is not read again."""

import gzip
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from behavior_tasks.base.artifacts import hash_file
from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.data import filehashes
from behavior_tasks.data.filehashes import FileHashes
from behavior_tasks.data.inputs import check_unchanged, find_inputs, resolve_inputs
from behavior_tasks.data.sources import hash_raw_files
from tests.data.stages import HEADER, run_to, write_log

HOUR_NS = 3_600 * 10**9


def row(n: int) -> str:
    return f"u{n},browse,p{n},{1_700_000_000 + n}"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder of three days, two of them below other folders, with a few things that are no log."""
    folder = tmp_path / "logs"
    (folder / "2026" / "03").mkdir(parents=True)
    (folder / ".git").mkdir()
    write_log(folder / "b.csv", [row(1)])
    (folder / "2026" / "a.csv.gz").write_bytes(gzip.compress(f"{HEADER}\n{row(2)}\n".encode()))
    write_log(folder / "2026" / "03" / "c.tsv", [row(3)])
    write_log(folder / ".hidden.csv", [row(4)])
    write_log(folder / ".git" / "d.csv", [row(5)])
    (folder / "README.md").write_text("not a log", encoding="utf-8")
    return folder


def names(text: str, tmp_path: Path) -> list[str]:
    return [file.name for file in resolve_inputs(text, Config(), Home(tmp_path / "home"))]


def test_a_folder_gives_its_logs_sorted_by_name(shop: Path, tmp_path: Path) -> None:
    assert names(str(shop), tmp_path) == ["2026/03/c.tsv", "2026/a.csv.gz", "b.csv"]
    assert names(f"file://{shop}", tmp_path) == ["2026/03/c.tsv", "2026/a.csv.gz", "b.csv"]
    for file in resolve_inputs(f"{shop}/", Config(), Home(tmp_path / "home")):
        assert file.sha256 == hash_file(shop / file.name)
        assert file.bytes == (shop / file.name).stat().st_size
        assert file.shown == f"{shop}/{file.name}"


def test_a_pattern(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(f"{shop}/*", tmp_path) == ["b.csv"]
    assert names(f"{shop}/**/*.csv*", tmp_path) == ["2026/a.csv.gz", "b.csv"]
    assert names(f"{shop}/2026/*.gz", tmp_path) == ["a.csv.gz"]
    assert names(f"{shop}/*.md", tmp_path) == ["README.md"]
    monkeypatch.chdir(shop.parent)
    assert [f.shown for f in resolve_inputs("logs/**/*.csv", Config(), Home(tmp_path / "home"))] == ["logs/b.csv"]
    with pytest.raises(UserError, match=r"No file fits logs/\*\.zip"):
        names("logs/*.zip", tmp_path)


def test_a_file_whose_name_looks_like_a_pattern_or_has_another_ending(tmp_path: Path) -> None:
    assert names(str(write_log(tmp_path / "log[1].csv", [row(1)])), tmp_path) == ["log[1].csv"]
    assert names(str(write_log(tmp_path / "export.dat", [row(1)])), tmp_path) == ["export.dat"]


def test_a_repeated_file_counts_once_and_is_reported(
    shop: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (shop / "z-again.csv").write_bytes((shop / "b.csv").read_bytes())
    inputs = find_inputs(str(shop), Config(), Home(tmp_path / "home"))
    assert [file.name for file in inputs.files] == ["2026/03/c.tsv", "2026/a.csv.gz", "b.csv"]
    assert inputs.repeated == {"z-again.csv": "b.csv"}
    with caplog.at_level("WARNING", "behavior"):
        hashes = hash_raw_files(shop, Config(), Home(tmp_path / "home"))
    assert "z-again.csv = b.csv" in caplog.text
    (shop / "z-again.csv").unlink()
    assert hash_raw_files(shop, Config(), Home(tmp_path / "home")) == hashes


def test_empty_files_among_others_are_left_out_and_reported(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    for name in ("a.csv", "b.csv"):
        (folder / name).touch()
    with pytest.raises(UserError, match=r"Every file in .* is empty") as caught:
        names(str(folder), tmp_path)
    assert "a.csv, b.csv" in str(caught.value)
    write_log(folder / "c.csv", [row(1)])
    source = run_to("source", folder, tmp_path / "home")
    assert source.facts["empty"] == ["a.csv", "b.csv"]
    assert source.manifest.rows.removed == {"empty": 2}
    assert source.manifest.rows.balanced
    with pytest.raises(UserError, match=r"a\.csv is empty"):
        names(str(folder / "a.csv"), tmp_path)


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    log = write_log(tmp_path / "log.csv", [row(1)])
    later = log.stat().st_mtime_ns + HOUR_NS

    def look(now_ns: int) -> tuple[str, int]:
        hashes = FileHashes(home, now_ns=lambda: now_ns)
        digest = hashes.sha256(log, shown="log.csv")[0]
        hashes.close()
        return digest, hashes.read

    assert look(later) == (hash_file(log), 1)
    assert look(later) == (hash_file(log), 0)
    os.utime(log, ns=(later, later))
    assert look(later + HOUR_NS) == (hash_file(log), 1)
    held = log.stat()
    log.write_text(log.read_text().replace("browse", "search"), encoding="utf-8")
    os.utime(log, ns=(held.st_atime_ns, held.st_mtime_ns))
    assert log.stat().st_size == held.st_size
    assert look(later + HOUR_NS)[0] == hash_file(log)


def test_a_file_written_just_now_is_read_again(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    log = write_log(tmp_path / "log.csv", [row(1)])
    for _ in range(2):
        hashes = FileHashes(home, now_ns=lambda: log.stat().st_mtime_ns + 1_999_999_999)
        hashes.sha256(log, shown="log.csv")
        hashes.close()
        assert hashes.read == 1


def test_a_damaged_memory_is_forgotten(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    log = write_log(tmp_path / "log.csv", [row(1)])
    home.cache.mkdir(parents=True)
    for content in ("{", "[1]", '{"x": 3}', '{"x": [1]}'):
        (home.cache / "file_hashes.json").write_text(content, encoding="utf-8")
        assert resolve_inputs(str(log), Config(), home)[0].sha256 == hash_file(log)


def test_a_file_that_grows_while_it_is_hashed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = write_log(tmp_path / "log.csv", [row(1)])

    def hash_and_grow(path: Path) -> str:
        digest = hash_file(path)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(row(2))
        return digest

    monkeypatch.setattr(filehashes, "hash_file", hash_and_grow)
    with pytest.raises(UserError, match="changed while the run was reading it"):
        names(str(log), tmp_path)


def test_check_unchanged(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", [row(1)])
    (file,) = resolve_inputs(str(log), Config(), Home(tmp_path / "home"))
    check_unchanged(file)
    os.utime(log, ns=(0, 0))
    with pytest.raises(UserError, match="changed while"):
        check_unchanged(file)
    log.unlink()
    with pytest.raises(UserError, match="changed while"):
        check_unchanged(file)


def test_many_files_in_any_order_have_one_key(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    for n in range(300):
        write_log(folder / f"{n * 7 % 300:03d}.csv", [row(n)])
    hashes = hash_raw_files(folder, Config(), Home(tmp_path / "home"))
    assert list(hashes) == sorted(hashes)
    assert len(hashes) == 300


def test_files_may_differ_in_order_and_in_optional_columns(shop: Path, tmp_path: Path) -> None:
    write_log(shop / "2026" / "03" / "c.tsv", ["1700000000,u,p,buy,9.5"], "timestamp,user_id,product_id,action,price")
    pq.write_table(
        pa.table({"user_id": [1], "action": ["buy"], "product_id": [2], "timestamp": [3], "brand": ["x"]}),
        shop / "d.parquet",
    )
    objects = '{"user_id": "u", "action": "buy"}\n{"product_id": 1, "timestamp": 2}\n'
    (shop / "e.jsonl").write_text(f"\ufeff{objects}", encoding="utf-8")
    facts = run_to("source", shop, tmp_path / "home").facts
    formats = {file["name"]: file["format"] for file in facts["files"]}
    assert formats == {
        "2026/03/c.tsv": "csv", "2026/a.csv.gz": "csv", "b.csv": "csv", "d.parquet": "parquet", "e.jsonl": "jsonl",
    }  # fmt: skip


def test_two_files_that_disagree_are_both_named(shop: Path, tmp_path: Path) -> None:
    write_log(shop / "x.csv", ["u,buy,p"], "user_id,action,product_id")
    with pytest.raises(UserError, match=r"disagree on their columns: .*x\.csv lacks timestamp") as caught:
        run_to("source", shop, tmp_path / "home")
    assert "c.tsv: user_id, action, product_id, timestamp" in str(caught.value)
    assert "x.csv: user_id, action, product_id" in str(caught.value)


def test_a_mapped_optional_column_must_be_in_one_file(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    write_log(folder / "a.csv", [row(1)])
    write_log(folder / "b.csv", [f"{row(2)},5"], f"{HEADER},Preis")
    mapped: dict[str, object] = {"source.columns": {"price": "Preis"}}
    assert run_to("source", folder, tmp_path / "home", overrides=mapped).manifest.rows.rows_out == 2
    (folder / "b.csv").unlink()
    with pytest.raises(UserError, match=r"lacks a column: Preis \(the price\)"):
        run_to("source", folder, tmp_path / "home", overrides=mapped)


def test_a_day_without_events_is_no_mistake_among_others(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    write_log(folder / "a.csv", [row(1)])
    write_log(folder / "b.csv", [])
    assert run_to("source", folder, tmp_path / "home").manifest.rows.rows_out == 2


def test_the_format_is_told_from_the_bytes_and_a_wrong_statement_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    pq.write_table(pa.table({"user_id": [1], "action": ["buy"], "product_id": [2], "timestamp": [3]}), log)
    assert run_to("source", log, tmp_path / "home").facts["files"][0]["format"] == "parquet"
    with pytest.raises(UserError, match="the format that the settings state") as caught:
        run_to("source", log, tmp_path / "home", overrides={"source.format": "csv"})
    assert caught.value.next_step == "--set source.format=auto"
    log.write_bytes(log.read_bytes()[:60])
    with pytest.raises(UserError, match=r"Parquet file .* is damaged"):
        run_to("source", log, tmp_path / "home")
    log.write_text("[\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"No line of .* is a JSON object"):
        run_to("source", log, tmp_path / "home", overrides={"source.format": "jsonl"})


def test_zstd_is_read_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    log = tmp_path / "log.csv.zst"
    packed = pa.compress("\n".join([HEADER, *map(row, range(500))]).encode(), codec="zstd", asbytes=True)
    log.write_bytes(packed)
    assert run_to("source", log, tmp_path / "home").facts["columns"] == HEADER.split(",")
    log.write_bytes(packed[:-20])
    with pytest.raises(UserError, match="is damaged") as caught:
        run_to("source", log, tmp_path / "home")
    assert "zstd --test" in str(caught.value)


def test_only_the_head_is_looked_at(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", map(row, range(40_000)))
    with log.open("ab") as stream:
        stream.write(b"u,search,\xff\xfe,1\n" * 5000)
    assert log.stat().st_size > 1_100_000
    assert run_to("source", log, tmp_path / "home").manifest.rows.rows_out == 1
    with pytest.raises(UserError, match="bad_encoding") as caught:
        run_to("ingest", log, tmp_path / "home")
    assert "source.encoding" in str(caught.value)
