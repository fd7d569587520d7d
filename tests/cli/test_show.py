"""`behavior show`: what it prints is what the model was trained on and what it says, and no raw id is among it."""

import csv
import io
import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from behavior_tasks.base.artifacts import Artifact, Output, Rows
from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.base.tables import connect
from behavior_tasks.cli.show_page import example_page
from behavior_tasks.data.events import open_events
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.keys import KEY_VARIABLE
from behavior_tasks.model.predict import predict
from behavior_tasks.pipeline import Run, StageRecord
from behavior_tasks.pipeline.show import show_example
from behavior_tasks.pipeline.show_find import choose_moment, find_shopper
from behavior_tasks.pipeline.show_rows import find_rows, make_rows
from behavior_tasks.registry import versions
from behavior_tasks.registry.versions import Champion
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.text.tokens import TokenSet
from tests.cli.typing_in import exit_code
from tests.model.toy import Toy, make_work, train_here
from tests.shop import run_until

KEY = "5e" * 32
SMALL: dict[str, object] = {
    "simulate.shoppers": 120,
    "simulate.rollouts": 10,
    "source.timezone": "Asia/Shanghai",
    "text.last_events": 6,
    "model.max_tokens": 128,
}
"""Days begin at 16:00 UTC, some texts are cut and some are not."""
LEFT_OUT = ("report", "doctor")


@pytest.fixture(autouse=True, scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("show") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(path))
        patch.setenv(KEY_VARIABLE, KEY)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("COLUMNS", "80")
        yield path


@pytest.fixture(scope="module")
def run(home: Path) -> Run:
    return trained("first", home.parent / "work-1")


def trained(run_id: str, folder: Path, **more: object) -> Run:
    """Go through a run's stages and train in this process, which saves starting two others that import torch."""
    run = run_until("encode", run_id, overrides={**SMALL, **more}, without=LEFT_OUT)
    encode, verbalize = of(run, "encode"), of(run, "verbalize")
    nobody = np.array([])
    toy = Toy(encode=encode.path, verbalize=verbalize.path, texts=[], labels=nobody, splits=nobody)
    work = make_work(folder, toy, model={"max_tokens": SMALL["model.max_tokens"]}, epochs=1, batch_size=32)
    assert train_here(work) == 0

    def keep(out: Path, key: str) -> Output:
        shutil.copytree(work.bundle, out / "model")
        return Output(rows=Rows(unit_in="x", unit_out="x", rows_in=0, rows_out=0))

    inputs = {"encode": encode.uri, "verbalize": verbalize.uri}
    built = run.store.build(stage="train", code="here", settings={}, inputs=inputs, work=keep)
    run.keep(StageRecord(stage="train", uri=built.artifact.uri, seconds=0.0, reused=False))
    return run


@pytest.fixture(scope="module")
def tokens(run: Run) -> TokenSet:
    return TokenSet.load(of(run, "encode").path)


def of(run: Run, stage: str) -> Artifact:
    artifact = run.artifact(stage)
    assert artifact is not None
    return artifact


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert exit_code("show", *words) == code
    told = capsys.readouterr()
    return told.err if code else told.out


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(said(capsys, *words, "--json"))
    return loaded


def shoppers(tokens: TokenSet, split: str = "test") -> list[str]:
    """Shoppers of a split, those with the shortest and the longest text first."""
    index = tokens.index.assign(tokens=np.diff(tokens.sequences.offsets))
    index = index[index["split"] == split].sort_values(["tokens", "shopper"])
    return [index["shopper"].iloc[0], index["shopper"].iloc[-1], *index["shopper"].iloc[1:-1]]


def test_text_tokens_features_and_prediction_are_those_of_training(
    run: Run, tokens: TokenSet, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = pd.concat(map(pd.read_parquet, sorted((of(run, "verbalize").path / "texts").iterdir())))
    features = pd.concat(map(pd.read_parquet, sorted((of(run, "features").path / "examples").iterdir())))
    cut = set()
    for shopper in shoppers(tokens)[:2]:
        told = as_json(capsys, "--shopper", shopper, "--top", "3")
        example = f"{shopper}@{told['cutoff']}"
        row = int(tokens.index.index[tokens.index["example"] == example][0])
        (text,) = texts.loc[texts["example"] == example, "parts"]
        assert (told["parts"], told["text"]) == (list(text), "".join(text))
        start, end = tokens.sequences.offsets[row : row + 2]
        assert [token["id"] for token in told["tokens"]] == tokens.sequences.tokens[start:end].tolist()
        cut.add(told["tokens_cut"] > 0)
        expected = predict(of(run, "train").path / "model", tokens.sequences, np.array([row]), threads=1)
        assert told["prediction"]["probability"] == pytest.approx(expected.probability[0], abs=1e-6)
        assert told["prediction"]["expected_amount"] == pytest.approx(expected.expected_amount[0], rel=1e-4)
        low, high = told["prediction"]["amount_10"], told["prediction"]["amount_90"]
        assert low == pytest.approx(expected.quantile(0.1)[0], rel=1e-4, abs=1e-6)
        assert high == pytest.approx(expected.quantile(0.9)[0], rel=1e-4)
        known = features[features["example"] == example].iloc[0]
        assert (told["label"], told["split"]) == (known["label"], "test")
        for name, one in told["features"].items():
            assert one["value"] == (None if pd.isna(known[name]) else pytest.approx(known[name])), name
        assert [effect["kind"] for effect in told["effects"]] == ["part"] * 3 + ["number"] * 3
    assert cut == {True, False}


def test_a_quantile_is_the_word_of_the_text(run: Run, tokens: TokenSet, capsys: pytest.CaptureFixture[str]) -> None:
    settings = TextSettings.load(of(run, "verbalize").path / "text.json")
    told = as_json(capsys, "--shopper", shoppers(tokens)[0], "--top", "0")
    assert told["effects"] == []
    words = {name: one for name, one in told["features"].items() if one["quantiles"]}
    assert set(words) == set(settings.bins)
    for name, one in words.items():
        quantile = "none" if one["quantile"] is None else f"q{one['quantile']}"
        assert f"{settings.templates.feature_words[name]}-{quantile}" in told["text"]


def test_what_is_made_anew_equals_what_the_stages_made(run: Run, tokens: TokenSet) -> None:
    for split in ("validation", "test"):
        shopper = find_shopper(run, shoppers(tokens, split)[2])
        moment = next(m for m in [choose_moment(run, None), choose_moment(run, "2026-02-20")] if m.split == split)
        pd.testing.assert_frame_equal(make_rows(run, shopper, moment), find_rows(run, shopper, moment))


def test_any_other_date_is_a_cutoff_too(run: Run, tokens: TokenSet, capsys: pytest.CaptureFixture[str]) -> None:
    shopper = shoppers(tokens)[1]
    day = choose_moment(run, None).day - timedelta(days=2)
    told = as_json(capsys, "--shopper", shopper, "--cutoff", day.isoformat(), "--top", "0")
    assert (told["cutoff"], told["split"]) == (day.isoformat(), None)
    with connect() as connection:
        queries = " UNION ALL ".join(f"({bucket.sql()})" for bucket in open_events(of(run, "clean")))
        start = pd.Timestamp(day) - pd.Timedelta(hours=8)
        events = connection.execute(f"SELECT * FROM ({queries}) WHERE shopper = ?", [shopper]).df()
    assert told["features"]["events"]["value"] == (events["timestamp"] < start).sum()
    window = events[(events["timestamp"] >= start) & (events["timestamp"] < start + pd.Timedelta(days=7))]
    bought = window[window["action"] == "purchase"]
    assert told["label"] == int(len(bought) > 0)
    assert told["amount"] == pytest.approx(bought["amount"].sum())
    page = said(capsys, "--shopper", shopper, "--cutoff", day.isoformat(), "--top", "0")
    assert "no cutoff of this run" in page
    assert "learned from" not in page
    # The day before validation's cutoff lies in the label window of the last train cutoff.
    page = said(capsys, "--shopper", shopper, "--cutoff", "2026-02-19", "--top", "0")
    assert "the model has learned from what followed" in " ".join(page.replace("│", " ").split())


def test_a_label_that_lies_beyond_the_log_is_not_known(
    run: Run, tokens: TokenSet, capsys: pytest.CaptureFixture[str]
) -> None:
    shopper, test = shoppers(tokens)[1], choose_moment(run, None).day
    for days, known in ((0, True), (1, False), (30, False)):
        asked = ("--shopper", shopper, "--cutoff", (test + timedelta(days=days)).isoformat(), "--top", "0")
        assert (as_json(capsys, *asked)["label"] is not None) == known
    page = said(capsys, *asked)
    assert "not known yet" in page
    assert "did not buy" not in page


def test_a_raw_id_is_looked_up_and_never_repeated(
    run: Run, tokens: TokenSet, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with (of(run, "simulate").path / "events.csv").open(encoding="utf-8") as stream:
        users = {row["user_id"] for row in csv.DictReader(stream) if row["user_id"]}
    names = {pseudonym(user, bytes.fromhex(KEY)): user for user in users}
    shopper = shoppers(tokens)[0]
    raw = names[shopper]
    page = said(capsys, "--shopper", raw, "--top", "2")
    assert shopper in page
    assert page == said(capsys, "--shopper", shopper, "--top", "2")
    assert raw not in page + capsys.readouterr().err + caplog.text
    refused = said(capsys, "--shopper", "SECRET-17", code=2)
    assert "no such shopper" in refused
    assert "SECRET" not in refused + caplog.text


def test_a_raw_id_needs_the_key_of_the_run(
    run: Run, tokens: TokenSet, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "77" * 32)
    assert "not the one of this run" in said(capsys, "--shopper", "u001", code=2)
    monkeypatch.delenv(KEY_VARIABLE)
    assert "can't be looked up without" in said(capsys, "--shopper", "u001", code=2)
    assert not (home / "secrets").exists()
    assert as_json(capsys, "--shopper", shoppers(tokens)[0], "--top", "0")["split"] == "test"


def test_the_page_fits_eighty_columns_and_says_what_matters_without_colour(
    run: Run, tokens: TokenSet, capsys: pytest.CaptureFixture[str]
) -> None:
    shopper = shoppers(tokens)[1]
    page = said(capsys, "--shopper", shopper)
    assert max(map(len, page.splitlines())) <= 80
    assert "\x1b" not in page
    told = as_json(capsys, "--shopper", shopper)
    label = "bought within 7 days, for" if told["label"] else "did not buy within 7 days"
    for words in (label, "threshold", "expected; in 8 of 10 cases", "They do not add up", "2026-02-27 (test)", "‖"):
        assert words in page
    shown = "".join(page.replace("‖", "").split())
    assert "".join(told["text"].split()) in shown
    for effect in told["effects"]:
        assert f"{100 * effect['change']:+.2f}" in page
        assert effect["name"].strip() in page
    assert f"{len(told['tokens'])} read, {told['tokens_cut']} cut off" in " ".join(page.split())
    # The first line of the tokens by default, every one of them on demand, and so with the features.
    every = said(capsys, "--shopper", shopper, "--tokens", "--features", "--top", "1")
    assert max(map(len, every.splitlines())) <= 80
    pieces = [token["piece"].replace(" ", "·") for token in told["tokens"]]
    assert "".join(" ".join(pieces).split()) in "".join(every.split())
    assert "last_popularity" in every
    assert "last_popularity" not in page.partition("Features")[2]


def test_colours_say_which_way_a_phrase_moved_it(run: Run, tokens: TokenSet) -> None:
    found = show_example(run, shoppers(tokens)[1])
    screen = io.StringIO()
    # So wide that no line ends within a phrase.
    console = Console(file=screen, force_terminal=True, color_system="standard", width=9999)
    console.print(example_page(found, top=1, every_token=False, every_feature=False, width=9999))
    text = screen.getvalue().partition("What moved it most")[0]
    largest = next(effect for effect in found.effects if effect.kind == "part")
    colour = 32 if largest.change > 0 else 31
    assert f"\x1b[1;{colour}m{found.trace.parts[largest.place]}\x1b[0m" in text
    assert f"\x1b[2m{found.trace.parts[0]}\x1b[0m" in text


def test_wrong_dates_name_the_cutoffs_and_the_nearest(
    run: Run, tokens: TokenSet, capsys: pytest.CaptureFixture[str]
) -> None:
    shopper = shoppers(tokens)[0]
    told = said(capsys, "--shopper", shopper, "--cutoff", "2026-02-2", code=2)
    assert "2026-02-20 (validation), 2026-02-27 (test)" in told
    assert "--cutoff 2026-02-2" in told
    early = said(capsys, "--shopper", shopper, "--cutoff", "2020-01-01", code=2)
    assert f"The shopper {shopper} is in the log, but has no event in the 365 days before 2020-01-01" in early
    assert "--cutoff 2026-02-" in early
    late = said(capsys, "--shopper", shopper, "--cutoff", "2031-01-01", code=2)
    assert "no event in the 365 days" in late


def test_a_run_is_chosen_by_id_or_preset_and_must_be_trained(
    run: Run, tokens: TokenSet, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shopper = shoppers(tokens)[0]
    run_until("clean", "unfinished", overrides=SMALL, without=LEFT_OUT)
    # The newest run has no model yet, so the one before it is asked.
    assert as_json(capsys, "--shopper", shopper, "--top", "0")["run"] == "first"
    refused = said(capsys, "--shopper", shopper, "--run", "unfinished", code=2)
    assert "has no trained model" in refused
    assert "as far as clean" in refused
    assert "There is no run nothing" in said(capsys, "--shopper", shopper, "--run", "nothing", code=2)
    other = said(capsys, "--shopper", shopper, "--preset", "taobao", code=2)
    assert "--preset taobao" in other
    monkeypatch.setenv(HOME_VARIABLE, str(home.parent / "empty"))
    assert "behavior run --input" in said(capsys, "--shopper", shopper, code=2)


def test_the_champion_reads_the_text_in_its_own_words(
    run: Run, tokens: TokenSet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shopper, trained = shoppers(tokens)[1], of(run, "train")
    assert "is champion yet" in said(capsys, "--shopper", shopper, "--champion", code=2)

    def shorter(out: Path, key: str) -> Output:
        shutil.copytree(trained.path / "model", out / "model")
        settings = TextSettings.load(out / "model" / "text.json")
        settings.model_copy(update={"last_events": 1}).save(out / "model" / "text.json")
        return Output(rows=Rows(unit_in="x", unit_out="x", rows_in=0, rows_out=0))

    other = run.store.build(stage="train", code="shorter", settings={}, inputs={}, work=shorter).artifact
    own = as_json(capsys, "--shopper", shopper, "--top", "0")
    for uri, alike in ((other.uri, False), (trained.uri, True)):
        crowned = Champion(version="3", model=uri, run_id=None, day="2026-11-23")
        monkeypatch.setattr(versions, "champion", lambda home, config, crowned=crowned: crowned)
        told = as_json(capsys, "--shopper", shopper, "--champion", "--top", "0")
        assert told["model"].startswith("the champion, version 3")
        assert (told["text"] == own["text"]) == alike
    assert len(told["parts"]) == len(own["parts"])


def test_products_are_asked_about_one_by_one(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = said(capsys, "--shopper", find_first(run), "--product", "p0001", code=2)
    assert "leave --product out" in refused
    unit: dict[str, object] = {"examples.unit": "shopper_product", "examples.candidates": 10}
    products = trained("products", tmp_path / "work", **unit, **{"examples.negatives_per_positive": 2})
    tokens = TokenSet.load(of(products, "encode").path)
    index = tokens.index[tokens.index["split"] == "test"]
    shopper = index["shopper"].value_counts().index[0]
    rows = index.index[index["shopper"] == shopper].to_numpy()
    expected = predict(of(products, "train").path / "model", tokens.sequences, rows, threads=1).probability
    told = as_json(capsys, "--shopper", shopper, "--run", "products", "--top", "0")
    assert len(told["candidates"]) == len(rows) == 10
    assert told["product"] == told["candidates"][0]["product"]
    assert [one["probability"] for one in told["candidates"]] == pytest.approx(sorted(expected, reverse=True), abs=1e-6)
    assert told["prediction"]["probability"] == pytest.approx(expected.max(), abs=1e-6)
    other = told["candidates"][3]
    chosen = as_json(capsys, "--shopper", shopper, "--run", "products", "--product", other["product"], "--top", "0")
    assert chosen["prediction"]["probability"] == pytest.approx(other["probability"], abs=1e-6)
    page = said(capsys, "--shopper", shopper, "--run", "products", "--top", "0")
    assert f"buys product {told['product']} within 7 days" in page
    assert "and 2 more" in page
    wrong = said(capsys, "--shopper", shopper, "--run", "products", "--product", "p999999", code=2)
    assert "it is no candidate" in wrong
    # Train keeps a sample of the negatives; all products that were touched are asked about here.
    train = tokens.index[tokens.index["split"] == "train"]
    (who, cutoff), sampled = next(iter(train.groupby(["shopper", "cutoff"]).size().items()))
    day = (cutoff + pd.Timedelta(hours=8)).date().isoformat()
    told = as_json(capsys, "--shopper", who, "--run", "products", "--cutoff", day, "--top", "0")
    assert told["split"] == "train"
    assert len(told["candidates"]) > sampled


def find_first(run: Run) -> str:
    return shoppers(TokenSet.load(of(run, "encode").path))[0]
