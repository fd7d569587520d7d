"""The quarantine keeps nothing of a row but a masked word and whose it is; the log gives the row again."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import load_config
from behavior_tasks.base.home import Home
from behavior_tasks.data.inputs import resolve_inputs
from behavior_tasks.data.quarantine_text import read_texts
from tests.data.stages import HEADER, run_to, seconds, table

NOON = seconds("2026-03-01T12:00:00")
SECRETS = ("jo.secret@mail.org", "13800138000", "4539578763621486", "11010519491231002X", "Joan Secretson")
LENIENT: dict[str, object] = {"source.max_bad_fraction": 1}


def bad_rows() -> list[tuple[str, str, str]]:
    """Rows whose columns hold each other's values: user, action, time."""
    return [(f"u{n}", secret, str(NOON)) for n, secret in enumerate(SECRETS)] + [
        (f"u{n}", "browse", secret) for n, secret in enumerate(SECRETS)
    ]


def write(path: Path) -> Path:
    """Write a good row and the bad ones in the format that the ending names."""
    rows = [("u0", "browse", str(NOON)), *bad_rows()]
    columns = ("user_id", "action", "product_id", "timestamp")
    cells = [(user, action, "p1", time) for user, action, time in rows]
    if path.suffix == ".parquet":
        pd.DataFrame(cells, columns=list(columns)).to_parquet(path)
    elif ".jsonl" in path.suffixes:
        text = "".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in cells)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    else:
        text = f"{HEADER}\n" + "".join(",".join(row) + "\n" for row in cells)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def everything(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.jsonl", "log.jsonl.gz", "log.parquet"])
def test_the_log_gives_each_row_again_and_the_state_folder_holds_none_of_it(name: str, tmp_path: Path) -> None:
    log, home = write(tmp_path / name), Home(tmp_path / "home")
    ingested: Artifact = run_to("ingest", log, home.root, overrides=LENIENT)
    aside = table(ingested, "quarantine.parquet", "file, line, reason, found, shopper", "line")
    assert len(aside) == 2 * len(SECRETS)
    told = repr(aside)
    assert not any(secret in told for secret in SECRETS[:-1])
    # Letters of an action column may be an action; of a time column they are nothing.
    assert [row[3] for row in aside if row[2] != "unknown_action"][-1] == "aaaa aaaaaaaaa"
    assert len({row[4] for row in aside}) == len(SECRETS)
    facts = json.dumps(ingested.facts) + everything(home.artifacts).decode("latin-1")
    assert not any(secret in facts for secret in SECRETS[:-1])
    config = load_config("canonical")
    files = resolve_inputs(str(log), config, home)
    texts = read_texts(files, {name: [int(row[1]) for row in aside]}, config.source)
    assert len(texts) == len(aside)
    for (user, action, time), row in zip(bad_rows(), aside, strict=True):
        text = texts[name, int(row[1])]
        assert all(cell in text for cell in (user, action, time))


def test_many_unknown_actions_are_no_words_so_only_their_shape_is_kept(tmp_path: Path) -> None:
    names = [f"Name{chr(97 + n // 5)}{chr(97 + n % 5)}" for n in range(25)]
    log = tmp_path / "log.csv"
    log.write_text(f"{HEADER}\nu1,browse,p,{NOON}\n" + "".join(f"u1,{name},p,{NOON}\n" for name in names))
    ingested = run_to("ingest", log, tmp_path / "home", overrides=LENIENT)
    assert {row[0] for row in table(ingested, "quarantine.parquet", "found")} == {"aaaaaa"}
    assert not any(name.encode() in everything(tmp_path / "home" / "artifacts") for name in names)


@pytest.mark.parametrize(
    ("time", "found"),
    [
        ("12/13/2021", "12/13/2021"),
        ("2021-13-01 10:00", "2021-13-01 10:00"),
        ("13800138000", "2407-04-23"),
        ("138-0013-8000", "999-9999-9999"),
        ("1772366400123", "1772366400000"),
        ("jo@mail.org", "aa@aaaa.aaa"),
    ],
)
def test_a_time_is_kept_as_a_date_a_day_or_a_shape(time: str, found: str, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text(f"{HEADER}\nu1,browse,p,{NOON}\nu1,browse,p,{time}\n")
    ingested = run_to("ingest", log, tmp_path / "home", overrides=LENIENT)
    assert table(ingested, "quarantine.parquet", "found") == [(found,)]
