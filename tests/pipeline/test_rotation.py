"""Rotation of the identity key: kept lists name the same people, texts say the same, and whoever is killed goes on."""

import shutil
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.base.in_use import using_artifacts
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.key_history import history
from behavior_tasks.data.keys import KEY_VARIABLE, fingerprint, identity_key
from behavior_tasks.pipeline.execute import build_stage
from behavior_tasks.pipeline.privacy import kept_lists, rotation
from behavior_tasks.pipeline.privacy.rotation import NEW_VARIABLE, Asked, forget_old_keys, rotate
from behavior_tasks.serve.audiences_lists import ChosenList
from behavior_tasks.serve.audiences_taken import Taker, take, taken_lists
from behavior_tasks.text.tokens import TokenSet
from tests.cli.typing_in import exit_code
from tests.data.stages import seconds, write_log
from tests.shop import run_until

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
ASKED = Asked(who="ann", reason="a laptop was lost", when=NOW)
DAY = date(2026, 3, 1)
USERS = [f"user-{n}" for n in range(6)]


@pytest.fixture(autouse=True)
def no_key_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.delenv(NEW_VARIABLE, raising=False)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A state folder in which a log was read, and a list of its shoppers and of one who is gone was taken away."""
    home = Home(tmp_path / "home")
    monkeypatch.setenv(HOME_VARIABLE, str(home.root))
    log = write_log(tmp_path / "log.csv", [f"{user},browse,p1,{seconds('2026-02-20T12:00:00')}" for user in USERS])
    scored = run_until("ingest", "scored", log=log)
    monkeypatch.setattr("behavior_tasks.pipeline.later.newest_scoring", lambda _: scored)
    key = identity_key(home)
    for name, users in (("spring", USERS[:4]), ("summer", [*USERS[2:], "erased-since"])):
        take(home, chosen(name, [pseudonym(user, key) for user in users], fingerprint(key)), Taker(who="ben", when=NOW))
    return home


def chosen(name: str, shoppers: list[str], key: str) -> ChosenList:
    members = pd.DataFrame({"group": ["contact"] * (len(shoppers) - 1) + ["control"], "shopper": shoppers})
    told = {"name": name, "campaign": name, "contact": True, "members": len(shoppers)}
    facts = {"cutoff": f"{DAY}T00:00:00", "end": "2026-03-08T00:00:00", "identity_key": key}
    return ChosenList(as_of=DAY, artifact="artifact://audiences/abc", facts=facts, told=told, members=members)


def check_rotated(home: Home, old: bytes) -> bytes:
    """Check that everything stands under another key, the same people in the same groups; return that key."""
    new = identity_key(home)
    assert new != old
    names = {pseudonym(user, new): user for user in USERS}
    lists = {one.record.audience: one.load() for one in taken_lists(home)}
    assert {one.facts["identity_key"] for one in lists.values()} == {fingerprint(new)}
    assert [names[shopper] for shopper in lists["spring"].members["shopper"]] == USERS[:4]
    summer = [names.get(shopper) for shopper in lists["summer"].members["shopper"]]
    assert summer == [*USERS[2:], None]
    assert lists["summer"].members["group"].tolist() == ["contact"] * 4 + ["control"]
    assert pseudonym("erased-since", new) not in set(lists["summer"].members["shopper"])
    assert [line.event for line in history(home)] == ["first", "begun", "rotated"]
    assert history(home)[-1].key == fingerprint(new)
    assert (home.secrets / f"identity.{fingerprint(old)}.key").stat().st_mode & 0o777 == 0o600
    return new


def test_lists_that_were_taken_name_the_same_people_under_the_new_key(home: Home) -> None:
    old = identity_key(home)
    done = rotate(home, ASKED)
    new = check_rotated(home, old)
    assert (done.before, done.key, done.lists, done.shoppers, done.missing) == (
        *(fingerprint(old), fingerprint(new)),
        *(2, 7, 1),
    )
    assert (done.in_variable, done.resumed) == (False, False)
    assert forget_old_keys(home) == 1
    assert [path.name for path in home.secrets.glob("identity*")] == ["identity.key"]


@pytest.mark.parametrize("step", ["write_durably", "_put", "_swap", "add_line"])
@pytest.mark.parametrize("after", [False, True])
def test_whoever_is_killed_at_a_step_goes_on_by_the_same_command(
    home: Home, step: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, module = identity_key(home), kept_lists if step in {"write_durably", "_put"} else rotation
    real, calls = getattr(module, step), Counter[str]()

    def dying(*given: object, **named: object) -> None:
        calls[step] += 1
        # Of lines the first one begins the change, and the second one ends it.
        if step == "add_line" and calls[step] == 1:
            real(*given, **named)
            return
        if after:
            real(*given, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, step, dying)
    with pytest.raises(KeyboardInterrupt):
        rotate(home, ASKED)
    monkeypatch.setattr(module, step, real)
    if not (step == "add_line" and after):
        with pytest.raises(UserError, match="is being changed"):
            run_until("ingest", "between", log=home.root.parent / "log.csv")
        assert rotate(home, ASKED).resumed
    check_rotated(home, old)


def test_a_run_at_work_or_another_log_leaves_everything_as_it_was(home: Home, tmp_path: Path) -> None:
    old = identity_key(home)
    with using_artifacts(home), pytest.raises(UserError, match="the key stays as it is"):
        rotate(home, ASKED)
    assert identity_key(home) == old
    other = write_log(tmp_path / "other.csv", [f"else-{n},browse,p,{seconds('2026-02-20T12:00:00')}" for n in range(9)])
    with pytest.raises(UserError, match="another one"):
        rotate(home, ASKED, input_path=str(other))
    assert {one.record.facts["identity_key"] for one in taken_lists(home)} == {fingerprint(old)}
    assert rotate(home, ASKED).resumed
    check_rotated(home, old)


def test_a_key_of_the_environment_is_changed_by_who_owns_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    old = identity_key(home)
    monkeypatch.setenv(KEY_VARIABLE, old.hex())
    with pytest.raises(UserError, match="so this command can't set another"):
        rotate(home, ASKED)
    monkeypatch.setenv(NEW_VARIABLE, "7a" * 32)
    assert rotate(home, ASKED).in_variable
    with pytest.raises(UserError, match="not the one that this state folder"):
        run_until("ingest", "old", log=home.root.parent / "log.csv")
    monkeypatch.setenv(KEY_VARIABLE, "7a" * 32)
    run_until("ingest", "new", log=home.root.parent / "log.csv")


def test_a_run_that_read_its_log_before_the_change_stops(home: Home) -> None:
    run = run_until("ingest", "before", log=home.root.parent / "log.csv")
    rotate(home, ASKED)
    with pytest.raises(UserError, match="changed after this run had read its log"):
        build_stage("clean", run, [run.need("ingest").uri])


def test_the_command_says_what_is_needed_and_wants_a_reason(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("privacy", "rotate-key") == 2
    assert "needs a reason" in capsys.readouterr().err
    assert exit_code("privacy", "rotate-key", "--who", "ann", "--reason", "a laptop was lost") == 0
    told = capsys.readouterr().out
    assert "Nothing is trained again" in told
    assert identity_key(home).hex() not in told
    assert exit_code("privacy", "rotate-key", "--forget-old") == 0
    assert "1 old identity keys deleted" in capsys.readouterr().out


@pytest.mark.slow
def test_no_text_hangs_on_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    before = run_until("encode", "before")
    home = before.home
    old = tokens(before.need("encode").path)
    rotate(home, ASKED)
    after = run_until("encode", "after")
    assert after.need("ingest").key != before.need("ingest").key
    assert tokens(after.need("encode").path) == old
    shutil.rmtree(tmp_path / "home")


def tokens(folder: Path) -> Counter[bytes]:
    """Return every example's tokens; their order is that of the pseudonyms."""
    held = TokenSet.load(folder).sequences
    return Counter(row.tobytes() for row in np.split(np.asarray(held.tokens), held.offsets[1:-1]))
