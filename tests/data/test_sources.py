"""Sources: the file is named by its bytes, read whatever its dress, and refused with what to type."""

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.data.sources import hash_raw_files
from tests.data.stages import HEADER, events, run_to, write_log

ROWS = [f"u{n},browse,p{n},{1_628_751_662 + n}" for n in range(30)]


def test_a_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", ROWS)
    source = run_to("source", log, tmp_path / "home")
    digest = hashlib.sha256(log.read_bytes()).hexdigest()
    assert source.facts["files"] == [
        {"name": "log.csv", "bytes": log.stat().st_size, "sha256": digest, "format": "csv"}
    ]
    assert source.facts["columns"] == HEADER.split(",")
    assert source.facts["read_on"] == "2026-11-23"
    written = json.loads((source.path / "source.json").read_bytes())
    assert written["files"] == [{**source.facts["files"][0], "columns": HEADER.split(",")}]
    assert str(tmp_path) not in (source.path / "manifest.json").read_text()
    assert hash_raw_files(log, Config(), Home(tmp_path)) == {"log.csv": digest}
    assert hash_raw_files(None, Config(), Home(tmp_path)) == {}


@pytest.mark.parametrize(
    "dress",
    [
        gzip.compress,
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.replace(b"\n", b"\r"),
        lambda text: b"\n" + text.replace(b"\n", b"\n\n"),
        lambda text: text.replace(b"user_id,action", b" User_ID ,ACTION"),
    ],
    ids=["gzip", "byte order mark", "CRLF", "CR", "blank lines", "header in capitals"],
)
def test_the_same_rows_in_another_dress_are_the_same_events(dress: object, tmp_path: Path) -> None:
    plain = write_log(tmp_path / "log.csv", ROWS)
    dressed = tmp_path / "dressed.csv"
    dressed.write_bytes(dress(plain.read_bytes()))  # type: ignore[operator]
    first, second = (run_to("ingest", path, tmp_path / "home").manifest for path in (plain, dressed))
    assert first.content_hash == second.content_hash
    assert second.rows.rows_in == second.rows.rows_out == len(ROWS)


def test_other_delimiters_and_encodings_are_settings(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_bytes("user_id;action;product_id;timestamp;query\nu1;search;;1628751662;连衣裙\n".encode("gbk"))
    settings = {"source.delimiter": ";", "source.encoding": "gb18030"}
    assert events(run_to("ingest", log, tmp_path / "home", overrides=settings), "query") == [("连衣裙",)]
    log.write_bytes("user_id\taction\tproduct_id\ttimestamp\nu1\tbuy\tp1\t1628751662\n".encode("utf-16"))
    settings = {"source.delimiter": "\t", "source.encoding": "utf-16"}
    assert events(run_to("ingest", log, tmp_path / "home", overrides=settings), "action") == [("purchase",)]


def test_a_file_without_a_header_is_named_by_a_setting(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("1,browse,1001,1628751662\n2,buy,1001,1628751663\n", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        run_to("source", log, tmp_path / "home")
    header = ["user_id", "action", "product_id", "timestamp"]
    assert caught.value.next_step == f"if it has no header line: --set 'source.header=[{', '.join(header)}]'"
    assert "1001" not in str(caught.value)
    ingested = run_to("ingest", log, tmp_path / "home", overrides={"source.header": header})
    assert ingested.manifest.rows.rows_out == 2


@pytest.mark.parametrize(
    ("header", "row", "advice"),
    [
        ("a,b,c", "1,2,3", "map them: --set 'source.columns={user_id: your_column, …}'"),
        (
            "timestamp,visitorid,event,itemid",
            "1,2,view,3",
            "this looks like the preset retailrocket: --preset retailrocket",
        ),
        (
            "timestamp,visitor_id,event,item",
            "1,2,view,3",
            "map them: --set 'source.columns={user_id: visitor_id, action: event, product_id: item}'",
        ),
        (
            "InvoiceNo,StockCode,Quantity,InvoiceDate,UnitPrice,CustomerID",
            "1,2,3,4,5,6",
            "this looks like the preset online_retail: --preset online_retail",
        ),
        ("1,2268318,2520377,pv,1511544070", "1,2,3,pv,4", "this looks like the preset taobao: --preset taobao"),
    ],
)
def test_missing_columns_are_met_with_a_proposal(header: str, row: str, advice: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        run_to("source", write_log(tmp_path / "log.csv", [row], header), tmp_path / "home")
    assert caught.value.next_step == advice
    assert caught.value.expected == "user_id, timestamp, action, product_id"


def test_a_canonical_file_under_another_preset(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", ROWS)
    with pytest.raises(UserError, match=r"don't fit source\.header") as caught:
        run_to("source", log, tmp_path / "home", preset="taobao")
    assert "--preset canonical" in str(caught.value)


def test_a_mapped_column_must_be_there_and_only_once(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", ROWS)
    with pytest.raises(UserError, match=r"lacks a column: Preis \(the price\)"):
        run_to("source", log, tmp_path / "home", overrides={"source.columns": {"price": "Preis"}})
    twice = write_log(tmp_path / "twice.csv", ["a,b,browse,p,1"], "user_id,user_id,action,product_id,timestamp")
    with pytest.raises(UserError, match="stands 2 times"):
        run_to("source", twice, tmp_path / "home")


def test_a_column_can_be_ignored(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", ["u,buy,p,1628751662,free"], f"{HEADER},price")
    ingested = run_to("ingest", log, tmp_path / "home", overrides={"source.columns": {"price": None}})
    assert events(ingested, "price") == [(None,)]


def test_all_wrong_settings_are_named_at_once(tmp_path: Path) -> None:
    wrong: dict[str, object] = {
        "source.expected_reasons": ["mising_user_id"],
        "source.actions": {"look": "brows"},
        "source.action_prefixes": {"C": "refund"},
        "source.default_action": "purchse",
        "source.time_format": "unix_second",
        "source.columns": {"usr_id": "uid"},
        "source.header": ["a", "a"],
        "source.delimiter": '"',
    }
    with pytest.raises(UserError, match="8 mistakes") as caught:
        run_to("source", write_log(tmp_path / "log.csv", ROWS), tmp_path / "home", overrides=wrong)
    for hint in ("missing_user_id?", "browse?", "purchase?", "unix_seconds?", "user_id?"):
        assert f"did you mean {hint}" in str(caught.value)
    with pytest.raises(UserError, match="1 mistake"):
        run_to(
            "source", write_log(tmp_path / "log.csv", ROWS), tmp_path / "home", overrides={"source.time_format": "%Q"}
        )


def test_a_file_that_grows_meanwhile_is_not_read(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", ROWS)

    def grow_and_read(job: object) -> object:
        from behavior_tasks.data.ingest import ingest_stage

        with log.open("a", encoding="utf-8") as stream:
            stream.write("u99,browse,p1,1628751662\n")
        return ingest_stage(job)  # type: ignore[arg-type]

    with pytest.raises(UserError, match="changed while the run was reading it"):
        run_to("ingest", log, tmp_path / "home", work=grow_and_read)  # type: ignore[arg-type]


@pytest.mark.parametrize("denied", ["open", "stat"])
def test_permission_denied(denied: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = write_log(tmp_path / "log.csv", ROWS)

    # The super-user, as whom a container may run these tests, is denied nothing by a mode.
    def deny(*_: object, **__: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, denied, deny)
    with pytest.raises(UserError, match="may not be read by this user") as caught:
        hash_raw_files(log, Config(), Home(tmp_path))
    assert "chmod u+r" in str(caught.value)
