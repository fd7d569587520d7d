"""Models that were trained with somebody who is erased: marked by lineage, refused to a rollback, retired, alarmed."""

import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from behavior_tasks.base.artifacts import Artifact, ArtifactStore, Output
from behavior_tasks.base.config import Config, changed
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.keys import identity_key
from behavior_tasks.data.tombstones import erasures_of
from behavior_tasks.pipeline.privacy.erase import Asked, erase, make_request
from behavior_tasks.pipeline.privacy.erase_models import (
    Lineage,
    ask_for_retraining,
    overdue_findings,
    read_retrains,
    retrain_notes,
)
from behavior_tasks.pipeline.stages import STAGES
from behavior_tasks.registry import overrule, store, tracking, versions
from behavior_tasks.registry.erased import RETIRED_TAG
from tests.registry.crowned import ONE, keep
from tests.registry.titles import WHEN as PROMOTED
from tests.registry.titles import aliases, client
from tests.serve.world import ServedShop

WHEN = datetime(2026, 11, 28, 8, 0, tzinfo=UTC)
TODAY = WHEN.date()
NOBODY = overrule.Asked(who="ann", why="it calls everybody a buyer", when=WHEN)
CONFIG = Config.model_validate({"engine": {"workers": 1}})


@pytest.fixture
def home(shop: ServedShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    shutil.copytree(shop.home.root, tmp_path / "home")
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.delenv(store.URI_VARIABLE, raising=False)
    return Home(tmp_path / "home")


def trained(home: Home, shop: ServedShop) -> Artifact:
    """Keep a model that was made from the shop's tokens, as a training before or after an erasure would."""
    artifacts, run = ArtifactStore(home.artifacts), shop.run
    encode = artifacts.open(run.need("encode").uri)
    inputs = {"encode": encode.uri, **erasures_of(home, {"encode": encode})}
    work: Callable[[Path], Output] = lambda out: _copied(shop, out)  # noqa: E731
    before = {folder.name for folder in (home.artifacts / "train").glob("*")}
    keep(home, shop, "shopper", "train", work, inputs=inputs)
    (new,) = {folder.name for folder in (home.artifacts / "train").glob("*")} - before
    found = artifacts.find("train", new)
    assert found is not None
    return found


def _copied(shop: ServedShop, out: Path) -> Output:
    shutil.copytree(shop.champions.path / "shopper" / "model", out / "model")
    return Output(rows=ONE)


def crown(home: Home, model: Artifact, run_id: str, was: str | None) -> str:
    tracking.start_tracking(home, CONFIG, run_id=run_id, name=run_id, tags={})
    version = versions.register(home, CONFIG, run_id=run_id, model=model, tags={}).version
    told = {"decision": "promote", "reason": "better", "champion_version": was, "candidate": model.uri}
    verdict = {**told, "test_hash": "abc"}
    versions.promote(home, CONFIG, version=version, verdict=verdict, run_id=run_id, who="nightly", when=PROMOTED)
    return version


def somebody(home: Home, shop: ServedShop) -> str:
    ids = sorted(
        pd.read_csv(next(home.artifacts.glob("simulate/*/events.csv")), dtype=str)["user_id"].dropna().unique()
    )
    known = set(pd.read_parquet(shop.run.need("encode").path / "index.parquet")["shopper"])
    return next(one for one in ids if pseudonym(one, identity_key(home)) in known)


@pytest.mark.slow
def test_a_model_is_marked_refused_and_retired_when_its_successor_stands(home: Home, shop: ServedShop) -> None:
    old = trained(home, shop)
    first = crown(home, old, "night-1", None)
    asked = make_request(home, [somebody(home, shop)], Asked(who="ann", why="ticket 7", when=WHEN))
    done = erase(home, changed(CONFIG, {"privacy.retrain": "within_days", "privacy.retrain_days": 5}), asked, now=WHEN)
    assert [(one.version, one.champion, one.retired) for one in done.retrain] == [(first, True, False)]
    assert done.retired == ()
    (note,) = retrain_notes(home)
    assert note.by == TODAY + timedelta(days=5)
    assert "trained with shoppers who are erased" in note.words
    assert Lineage(home).requests(old.uri) == [done.request]

    new = trained(home, shop)
    assert new.key != old.key, "the erasure is part of the key, so the next training really trains"
    assert Lineage(home).requests(new.uri) == []
    second = crown(home, new, "night-2", first)
    with pytest.raises(UserError, match="trained with shoppers who are erased") as refused:
        overrule.roll_back(home, CONFIG, NOBODY, to=first)
    assert f"behavior promote --version {first}" in str(refused.value)
    with pytest.raises(UserError, match="no earlier champion"):
        overrule.roll_back(home, CONFIG, NOBODY)

    again = erase(home, CONFIG, asked, now=WHEN)
    assert f"behavior version {first}" in again.retired
    assert old.uri in again.retired
    assert not old.path.exists()
    assert new.path.exists()
    assert ArtifactStore(home.artifacts).find("package", next((home.artifacts / "package").iterdir()).name)
    tags = client(home).get_model_version("behavior", first).tags
    assert tags[RETIRED_TAG] == "2026-11-28"
    assert aliases(home) == {"champion": second}
    with pytest.raises(UserError, match="can't serve"):
        overrule.override(home, CONFIG, NOBODY, version=first)
    assert retrain_notes(home) == []
    assert [one.retired for one in read_retrains(home)] == [True]
    assert erase(home, CONFIG, asked, now=WHEN).retired == ()


@pytest.mark.slow
def test_what_a_model_was_made_from_being_gone_it_counts_as_trained_with_them(home: Home, shop: ServedShop) -> None:
    old = trained(home, shop)
    crown(home, old, "night-1", None)
    for stage in ("encode", "features"):
        shutil.rmtree(home.artifacts / stage)
    later = datetime.now(UTC) + timedelta(days=1)
    unknown = make_request(home, ["nobody-of-this-shop"], Asked(who="ann", why="ticket 8", when=later))
    assert erase(home, CONFIG, unknown, now=later).retrain == (), "nothing was found, so nothing was learned"
    asked = make_request(home, [somebody(home, shop)], Asked(who="ann", why="ticket 9", when=later))
    assert len(erase(home, CONFIG, asked, now=later).retrain) == 1


def test_an_overdue_champion_alarms_and_asks_for_a_training_once_a_day(home: Home, shop: ServedShop) -> None:
    crown(home, trained(home, shop), "night-1", None)
    asked = make_request(home, [somebody(home, shop)], Asked(who="ann", why="ticket 7", when=WHEN))
    erase(home, CONFIG, asked, now=WHEN)
    due = date(2026, 11, 29)
    assert list(overdue_findings(home, due)) == []
    (finding,) = overdue_findings(home, due + timedelta(days=1))
    assert (finding.code, finding.level, finding.training) == ("retrain_overdue", "severe", True)
    assert "by 2026-11-29" in finding.words
    tonight = "no champion is due to be trained anew (privacy.retrain: next_night)"
    assert ask_for_retraining(home, CONFIG, today=TODAY, run_id="a") == tonight
    at_once = changed(CONFIG, {"privacy.retrain": "now"})
    assert ask_for_retraining(home, at_once, today=TODAY, run_id="a") is None
    assert ask_for_retraining(home, at_once, today=TODAY, run_id="b") == f"a training was asked for on {TODAY} already"
    assert ask_for_retraining(home, CONFIG, today=due + timedelta(days=1), run_id="c") is None


def test_every_training_has_the_erasures_of_its_inputs_in_its_key() -> None:
    keyed = {name for name, row in STAGES.items() if row.earlier == "data.tombstones:erasures_of"}
    assert keyed == {"train", "baselines"}
