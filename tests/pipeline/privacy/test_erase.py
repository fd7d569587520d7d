"""Erasure of a served shop's shoppers: gone everywhere, everybody else as before, whenever the process is killed."""

import os
import shutil
import signal
from datetime import UTC, date, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from behavior_tasks.base import rewriting, workfolder
from behavior_tasks.base.artifacts import ArtifactStore, hash_file
from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.base.in_use import using_artifacts
from behavior_tasks.data.erasures import Erasure, add_erasure, ledger_file, open_erasures, read_erasures
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.keys import identity_key
from behavior_tasks.pipeline.lift import campaign_lift
from behavior_tasks.pipeline.privacy import erase as erasure
from behavior_tasks.pipeline.privacy import erase_places
from behavior_tasks.pipeline.privacy.erase import Asked, Done, erase, look, make_request, work_off
from behavior_tasks.pipeline.privacy.erase_kinds import KINDS, how_of
from behavior_tasks.pipeline.stages import EVERY
from behavior_tasks.serve.audiences_lists import named_list
from behavior_tasks.serve.audiences_taken import Taker, take, taken_lists
from behavior_tasks.serve.served import need_served
from behavior_tasks.text.tokens import TokenSet
from tests.dying import die_before_step
from tests.serve.office import RULES, Office
from tests.serve.world import ServedShop

WHEN = datetime(2026, 11, 28, 8, 0, tzinfo=UTC)
ANN = Asked(who="ann", why="ticket 7", when=WHEN)
CONFIG = Config.model_validate({"engine": {"workers": 1}})
PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])
Snapshot = dict[str, str]


@pytest.fixture(scope="module")
def made(shop: ServedShop, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A copy of the served shop with audiences handed out and a list of them taken away; never changed."""
    root = tmp_path_factory.mktemp("erasing")
    shutil.copytree(shop.home.root, root / "home")
    (root / "rules.yaml").write_text(RULES, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(root / "home"))
        office = Office(shop=shop, home=Home(root / "home"), rules=root / "rules.yaml")
        served = office.serve(None)
    take(office.home, named_list(served, "likely"), Taker(who="mia", when=WHEN))
    return office.home


@pytest.fixture
def home(made: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A copy of it, of links: whoever writes into a file instead of replacing it changes the other tests' files."""
    shutil.copytree(made.root, tmp_path / "home", copy_function=os.link)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return Home(tmp_path / "home")


def raw_ids(home: Home, *, listed: bool) -> list[str]:
    """Return the raw ids of the simulated log, of those on the list that was taken away first if asked for."""
    log = next(home.artifacts.glob("simulate/*/events.csv"))
    ids = sorted(pd.read_csv(log, usecols=["user_id"], dtype=str)["user_id"].dropna().unique())
    members = set(taken_lists(home)[0].load().members["shopper"])
    return [one for one in ids if (pseudonym(one, identity_key(home)) in members) == listed]


def snapshot(home: Home) -> Snapshot:
    """Return the hash of everything that is kept but what tells of erasures themselves."""
    places = (home.artifacts, home.served, home.campaigns, home.runs)
    files = (file for place in places for file in place.rglob("*") if file.is_file() and file.suffix != ".lock")
    return {str(file.relative_to(home.root)): hash_file(file) for file in files}


def tables(home: Home) -> dict[str, pa.Table]:
    files = [file for place in (home.artifacts, home.served, home.campaigns) for file in place.rglob("*.parquet")]
    return {str(file.relative_to(home.root)): pq.read_table(file) for file in files}


def holds(table: pa.Table, words: list[str]) -> bool:
    texts = [column for column in table.columns if pa.types.is_string(column.type)]
    return any(pc.any(pc.match_substring(column, word)).as_py() for column in texts for word in words)


def without(table: pa.Table, raw: list[str], pseudonyms: list[str]) -> pa.Table:
    names = [(n, raw if n == "user_id" else pseudonyms) for n in ("shopper", "example", "user_id")]
    for name, words in ((name, words) for name, words in names if name in table.column_names):
        keys = pc.list_element(pc.split_pattern(table[name], "@"), 0) if name == "example" else table[name]
        return table.filter(pc.invert(pc.fill_null(pc.is_in(keys, value_set=pa.array(words)), False)))
    return table


def ask(home: Home, ids: list[str], **changes: Any) -> tuple[Erasure, Done]:
    request = make_request(home, ids, Asked(**{**ANN.__dict__, **changes}))
    return request, erase(home, CONFIG, request, now=WHEN)


def test_they_are_gone_everywhere_and_everybody_else_is_as_before(made: Home, home: Home) -> None:
    raw = [raw_ids(home, listed=True)[3], raw_ids(home, listed=False)[5]]
    pseudonyms = [pseudonym(one, identity_key(home)) for one in raw]
    before, files = tables(home), snapshot(home)
    tokens = {folder: TokenSet.load(folder) for folder in home.artifacts.glob("encode/*")}
    kept = {
        folder: [
            np.array(one.sequences.tokens[first:end])
            for first, end, who in zip(
                one.sequences.offsets[:-1], one.sequences.offsets[1:], one.index["shopper"], strict=True
            )
            if who not in pseudonyms
        ]
        for folder, one in tokens.items()
    }
    promised = look(home, CONFIG, make_request(home, raw, ANN))
    assert snapshot(home) == files, "looking changes nothing"

    request, done = ask(home, raw)
    assert done.rows == promised.rows
    assert {"simulate", "ingest-part", "clean-part", "features", "encode", "audiences", "served", "campaigns"} <= set(
        done.rows
    )
    assert done.taken == (f"likely of {taken_lists(home)[0].record.as_of}: mia",)
    after = tables(home)
    assert after.keys() == before.keys()
    for name, table in before.items():
        wanted = without(table, raw, pseudonyms)
        assert after[name].equals(wanted), name
        assert not holds(after[name], [*raw, *pseudonyms]), name
    texts = [file for file in home.root.rglob("*") if file.suffix in {".csv", ".json", ".html", ".jsonl"}]
    for file in (file for file in texts if file != ledger_file(home)):
        held = file.read_text("utf-8")
        assert not any(word in held for word in [*raw, *pseudonyms]), file

    for folder, old in kept.items():
        new = TokenSet.load(folder)
        assert len(new.sequences) == len(old) == len(new.index) < len(tokens[folder].sequences)
        offsets = new.sequences.offsets
        for place, told in enumerate(old):
            assert np.array_equal(new.sequences.tokens[offsets[place] : offsets[place + 1]], told)
    store = ArtifactStore(home.artifacts)
    for folder in home.artifacts.glob("*/[!.]*"):
        artifact = store.find(folder.parent.name, folder.name)
        assert artifact is not None
        assert {n: entry.sha256 for n, entry in artifact.manifest.files.items()} == {
            str(f.relative_to(folder)): hash_file(f)
            for f in folder.rglob("*")
            if f.is_file() and f.name != "manifest.json"
        }
        if artifact.manifest.erased:
            assert artifact.manifest.erased[0].request == request.request
        else:
            same = (n for n in files if n.startswith(f"artifacts/{folder.parent.name}/{folder.name}/"))
            assert all(hash_file(home.root / name) == files[name] for name in same)
    log = next(home.artifacts.glob("simulate/*/events.csv"))
    lines = (made.root / log.relative_to(home.root)).read_text("utf-8").splitlines()
    assert log.read_text("utf-8").splitlines() == [line for line in lines if line.split(",")[0] not in raw]


@pytest.mark.slow
def test_a_lift_can_still_be_measured(shop: ServedShop, made: Home, home: Home) -> None:
    office = Office(shop=shop, home=home, rules=made.root.parent / "rules.yaml")
    days = shop.champion("shopper").examples.horizon_days
    earlier = office.serve(shop.moment.as_of - timedelta(days=days))
    taken, _ = take(home, named_list(earlier, "likely"), Taker(who="mia", when=WHEN))
    ids = {pseudonym(one, identity_key(home)): one for one in raw_ids(home, listed=True)}
    asked: dict[str, Any] = {"as_of": earlier.as_of, "day": date(2026, 11, 28)}
    before = campaign_lift(home, "likely", run_id="before", **asked)
    ask(home, [ids[taken.load().members["shopper"].iloc[0]]])
    after = campaign_lift(home, "likely", run_id="after", **asked)
    assert after["gone"] == 0
    shoppers = [sum(one[group]["shoppers"] for group in ("contact", "control")) for one in (before, after)]
    assert shoppers[1] == shoppers[0] - 1


def test_a_second_time_finds_nothing(home: Home) -> None:
    raw = raw_ids(home, listed=True)[0]
    _, done = ask(home, [raw])
    assert need_served(home, "audiences").facts["scored"] > 0
    files, lines = snapshot(home), len(read_erasures(home))
    request, again = ask(home, [raw], why="once more")
    assert (again.rows, again.known, again.request) == ({}, 1, done.request)
    assert snapshot(home) == files
    assert len(read_erasures(home)) == lines
    assert request.request != done.request


def test_somebody_unknown_is_kept_out_from_now_on(home: Home) -> None:
    files = snapshot(home)
    _, done = ask(home, ["nobody-of-this-shop"])
    assert (done.shoppers, done.known, done.rows) == (1, 0, {})
    assert snapshot(home) == files
    asked, finished = read_erasures(home)
    assert (asked.kind, finished.kind, finished.found) == ("asked", "done", {})
    assert "nobody-of-this-shop" not in ledger_file(home).read_text("utf-8")
    assert ledger_file(home).stat().st_mode & 0o077 == 0


STEPS: tuple[tuple[object, str], ...] = (
    (erasure, "add_erasure"),
    (erase_places, "rewrite_artifact"),
    (rewriting, "write_durably"),
    (rewriting, "exchange"),
    (workfolder, "_swap_names"),
    (erase_places, "rewrite_date"),
    (erase_places, "rewrite_taken"),
    (erasure, "mark_versions"),
)


def erase_and_die(root: str, request: Erasure, survive: int) -> None:
    os.environ[HOME_VARIABLE] = root
    die_before_step(STEPS, survive)
    erase(Home(Path(root)), CONFIG, request, now=WHEN)


@pytest.mark.slow
def test_killed_at_any_step_the_same_command_goes_on(
    made: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = [raw_ids(made, listed=True)[1]]
    whole = Home(tmp_path / "whole")
    shutil.copytree(made.root, whole.root)
    monkeypatch.setenv(HOME_VARIABLE, str(whole.root))
    request = make_request(whole, raw, ANN)
    erase(whole, CONFIG, request, now=WHEN)
    wanted = snapshot(whole)
    killed = Home(tmp_path / "killed")
    for survive in (1, 3, 4, 17, 41, 60):
        shutil.rmtree(killed.root, ignore_errors=True)
        shutil.copytree(made.root, killed.root, copy_function=os.link)
        shutil.copytree(whole.secrets, killed.secrets, dirs_exist_ok=True)
        process = PROCESSES.Process(target=erase_and_die, args=(str(killed.root), request, survive))
        process.start()
        process.join(120)
        assert process.exitcode in {0, -signal.SIGKILL}
        store = ArtifactStore(killed.artifacts)
        assert all(store.find(f.parent.name, f.name) for f in killed.artifacts.glob("*/[!.]*"))
        again = make_request(killed, raw, Asked(who="ann", why="again", when=WHEN))
        erase(killed, CONFIG, again if read_erasures(killed) else request, now=WHEN)
        assert snapshot(killed) == wanted, survive
        assert open_erasures(read_erasures(killed)) == []
        assert not list(killed.artifacts.rglob(".*.replacement"))


def test_during_a_run_it_refuses_and_leaves_nothing(home: Home) -> None:
    request = make_request(home, raw_ids(home, listed=True)[:1], ANN)
    other = request.model_copy(update={"identity_key": "0" * 12})
    assert look(home, CONFIG, other).other_keys == 1, "what was read under another key can't be looked into"
    with using_artifacts(home), pytest.raises(UserError, match="nobody was erased") as refused:
        erase(home, CONFIG, request, now=WHEN)
    assert "--wait" in str(refused.value)
    assert read_erasures(home) == []


def test_a_request_holds_no_raw_id_and_is_worked_off(home: Home) -> None:
    raw = raw_ids(home, listed=True)[2]
    path = erasure.keep_request(home, make_request(home, [raw], ANN))
    assert path.stat().st_mode & 0o077 == 0
    assert raw not in path.read_text("utf-8")
    (done,) = work_off(home, CONFIG, now=WHEN)
    assert done.rows["clean-part"] > 0
    assert not path.exists()
    assert work_off(home, CONFIG, now=WHEN) == []
    path.write_text("{}")
    with pytest.raises(UserError, match="is damaged; nobody was erased"):
        work_off(home, CONFIG, now=WHEN)


def test_a_kind_of_artifact_that_nobody_knows_stops_it_before_anything_is_changed(home: Home) -> None:
    store = ArtifactStore(home.artifacts)
    old = store.find("moment", next((home.artifacts / "moment").iterdir()).name)
    assert old is not None
    shutil.copytree(old.path, home.artifacts / "horoscopes" / old.key)
    files = snapshot(home)
    with pytest.raises(UserError, match="does not know artifacts/horoscopes"):
        ask(home, raw_ids(home, listed=True)[:1])
    assert snapshot(home) == files


def test_every_stage_says_what_becomes_of_its_files(home: Home) -> None:
    assert set(KINDS) == {*EVERY, "ingest-part", "clean-part"}
    with pytest.raises(UserError, match=r"the file new\.bin of artifacts/features"):
        how_of("features", "new.bin")
    with pytest.raises(UserError, match="does not know artifacts/lists"):
        how_of("lists", "a.csv")


def test_another_identity_key_finds_nobody_and_so_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEHAVIOR_IDENTITY_KEY", "ab" * 32)
    with pytest.raises(UserError, match="key"):
        make_request(home, ["u00001"], ANN)


def test_what_was_asked_for_before_the_key_was_changed_is_taken_over_by_the_same_ids(home: Home) -> None:
    raw = raw_ids(home, listed=True)[4:6]
    old = make_request(home, raw[:1], ANN).model_copy(update={"identity_key": "0" * 12, "shoppers": ("0" * 20,)})
    add_erasure(home, old)
    with pytest.raises(UserError, match="before the identity key was changed"):
        ask(home, ["somebody else"])
    _, done = ask(home, raw)
    assert (done.rows["clean-part"] > 0, done.other_keys) == (True, 0)
    assert open_erasures(read_erasures(home)) == []
