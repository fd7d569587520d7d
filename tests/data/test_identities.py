"""Identities: pseudonyms that only the key's holder can make, and a key that nobody else can see."""

import hashlib
import hmac
import logging
import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.base.schema import SHOPPER_COLUMNS
from behavior_tasks.base.tables import connect
from behavior_tasks.data.events import open_events
from behavior_tasks.data.identities import key_fingerprint
from behavior_tasks.data.keys import KEY_VARIABLE, identity_key, secret_key
from tests.data.stages import HEADER, events, run_to, write_log

KEY = "5f" * 32
ROWS = [
    f"raw-user-{n % 12},search,,{1_628_751_662 + n},Red MUG {n} jo.secret@mail.org 0{n} 7946-0958,33" for n in range(40)
]


@pytest.fixture(autouse=True)
def no_key_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_log(tmp_path / "log.csv", ROWS, f"{HEADER},query,age")


def test_each_user_is_the_keyed_hash_of_the_id(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    done = run_to("clean", log, tmp_path / "home")
    expected = {
        hmac.new(bytes.fromhex(KEY), f"raw-user-{n}".encode(), hashlib.sha256).hexdigest()[:20] for n in range(12)
    }
    assert {r[0] for r in events(done, "shopper")} == expected
    assert not (tmp_path / "home" / "secrets").exists()
    rows = done.manifest.rows
    assert (rows.rows_in, rows.rows_out, rows.removed) == (40, 40, {"duplicate": 0})
    described = connect().execute(f"DESCRIBE {open_events(done)[0].sql()}").fetchall()
    assert [r[0] for r in described] == [c.name for c in SHOPPER_COLUMNS]
    assert done.facts["present"] == ["query", "age"]
    queries = {r[0] for r in events(done, "query")}
    assert len(queries) == 40
    assert all(re.fullmatch(r"red mug \d+ \*email \*(phone)?", query) for query in queries)


def test_each_users_events_stay_as_they_were(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    done = run_to("clean", log, tmp_path / "home")
    seen = events(done, "user_id, timestamp, age", "timestamp")
    assert [(r[0], r[2]) for r in seen] == [(f"raw-user-{n % 12}", 33) for n in range(40)]


def test_nothing_raw_and_no_key_is_left_anywhere(log: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        run_to("clean", log, tmp_path / "home", overrides={"engine.buckets": 3})
    key = (tmp_path / "home" / "secrets" / "identity.key").read_text().strip()
    written = [file for file in (tmp_path / "home" / "artifacts").rglob("*") if file.is_file()]
    assert any(file.suffix == ".parquet" and "clean-part" in file.parts for file in written)
    for file in written:
        if file.parent.parent.name == "source":
            continue
        content = file.read_bytes()
        # Numbers of no known kind are needed to tell two searches apart; clean events hold none.
        words = (b"jo.secret", b"mail.org", *((b"7946",) if "ingest-part" not in file.parts else ()))
        for secret in (b"raw-user", *words, key.encode(), bytes.fromhex(key), str(tmp_path).encode()):
            assert secret not in content
    assert key not in caplog.text
    assert "raw-user" not in caplog.text


def test_the_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    old = os.umask(0)
    try:
        first = identity_key(home)
    finally:
        os.umask(old)
    file = home.secrets / "identity.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.secrets.stat().st_mode) == 0o700
    assert [path.name for path in home.secrets.iterdir()] == ["identity.key"]
    assert len(first) == 32
    assert identity_key(home) == first
    assert identity_key(Home(tmp_path / "other")) != first


def test_processes_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(identity_key, [Home(tmp_path / "home")] * 16))
    assert len(keys) == 1


def test_another_key_is_other_pseudonyms_and_stops_a_state_folder_that_had_one(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, other = Home(tmp_path / "home"), Home(tmp_path / "other")
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    first = run_to("clean", log, home.root)
    one = key_fingerprint(log, Config(), home)["identity_key"]
    assert run_to("ingest", log, home.root).facts["key_fingerprint"] == one
    monkeypatch.setenv(KEY_VARIABLE, "60" + KEY[2:])
    again = run_to("clean", log, other.root)
    assert not {r[0] for r in events(first, "shopper")} & {r[0] for r in events(again, "shopper")}
    with pytest.raises(UserError, match="not the one that this state folder") as caught:
        run_to("clean", log, home.root)
    assert one in str(caught.value)
    assert KEY not in str(caught.value)
    # A state folder from before the history was kept is known by its newest ingest.
    (home.privacy / "keys.jsonl").unlink()
    with pytest.raises(UserError, match="not the one that this state folder"):
        key_fingerprint(log, Config(), home)
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    assert key_fingerprint(log, Config(), home) == {"identity_key": one}


def test_a_lost_key_is_not_made_anew(log: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    run_to("ingest", log, home.root)
    (home.secrets / "identity.key").unlink()
    for _ in range(2):
        with pytest.raises(UserError, match="key is gone"):
            key_fingerprint(log, Config(), home)
    assert not (home.secrets / "identity.key").exists()


def test_each_key_has_its_own_file_and_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path / "home")
    keys = {secret_key(home, "identity"), secret_key(home, "tombstone")}
    assert len(keys) == 2
    assert {path.name for path in home.secrets.iterdir()} == {"identity.key", "tombstone.key"}
    monkeypatch.setenv("BEHAVIOR_TOMBSTONE_KEY", KEY)
    assert secret_key(home, "tombstone") == bytes.fromhex(KEY)
    monkeypatch.delenv("BEHAVIOR_TOMBSTONE_KEY")
    with pytest.raises(UserError, match="tombstone key is gone"):
        secret_key(Home(tmp_path / "new"), "tombstone", in_use=True)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(mode: int, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    identity_key(home)
    (home.secrets / "identity.key").chmod(mode)
    with pytest.raises(UserError, match="can be read by others") as caught:
        identity_key(home)
    assert f"{mode:o}" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"zz" * 32, b"5f" * 31, b"\xff\xfe" * 20])
def test_a_damaged_key_is_refused_and_never_replaced(content: bytes, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.secrets.mkdir(parents=True)
    file = home.secrets / "identity.key"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(UserError, match=r"identity\.key in the state folder"):
        identity_key(home)
    assert file.read_bytes() == content


def test_a_wrong_key_in_the_environment_is_refused_unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "open sesame")
    with pytest.raises(UserError, match=KEY_VARIABLE) as caught:
        identity_key(Home(tmp_path))
    assert "sesame" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
