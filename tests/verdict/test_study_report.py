"""The report of a study: the paired difference on test in figures and words, Optuna's plots, one page for all."""

import json
import math
import random
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import load_config
from behavior_tasks.base.home import Home
from behavior_tasks.model.study import Study
from behavior_tasks.verdict.metrics import Resampling, Scored, hash_examples, measure
from behavior_tasks.verdict.study_on_test import compare_on_test, words_of_test
from behavior_tasks.verdict.study_report import write_study_report
from tests.model.toy import make_artifact

RESAMPLING = Resampling(resamples=200, confidence=0.9, seed=1)
SEARCH = {"train.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "model.size": ["tiny", "compact"]}
SHOPPERS = 400


def evaluated(folder: Path, *, noise: float, threshold: float = 0.5, shift: int = 0) -> Artifact:
    """An evaluation whose candidate knows the labels, but for some noise."""
    folder.mkdir()
    generator = np.random.default_rng(3)
    labels = (generator.random(SHOPPERS) < 0.3).astype(int)
    answers = np.clip(0.3 + 0.4 * labels + noise * np.random.default_rng(4).standard_normal(SHOPPERS), 0, 1)
    names = [f"s{number + shift}" for number in range(SHOPPERS)]
    frame = pd.DataFrame({"example": names, "shopper": names, "label": labels, "candidate": answers})
    frame.to_parquet(folder / "predictions.parquet")
    figures = measure(labels, Scored(probabilities=answers, threshold=threshold))
    measured = {"test_hash": hash_examples(names, labels), "models": {"candidate": figures}}
    (folder / "metrics.json").write_text(json.dumps(measured), encoding="utf-8")
    return make_artifact(folder, "evaluate")


def test_the_difference_is_best_minus_defaults_with_an_interval_around_it(tmp_path: Path) -> None:
    good, bad = evaluated(tmp_path / "good", noise=0.1), evaluated(tmp_path / "bad", noise=0.8)
    compared = compare_on_test(good, bad, RESAMPLING)
    figures = compared["difference"]["average_precision"]
    expected = compared["best"]["average_precision"] - compared["defaults"]["average_precision"]
    assert math.isclose(figures["difference"], expected, abs_tol=1e-9)
    assert 0 < figures["lower"] < figures["difference"] < figures["upper"]
    assert words_of_test(compared).endswith("): better")
    assert "90 % interval" in words_of_test(compared)
    assert words_of_test(compare_on_test(bad, good, RESAMPLING)).endswith("): worse")
    same = compare_on_test(good, good, RESAMPLING)
    assert same["difference"]["f1"] == {"difference": 0.0, "lower": 0.0, "upper": 0.0}
    assert words_of_test(same, "f1").endswith("no difference is shown")


def test_other_examples_are_never_compared(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="test examples"):
        compare_on_test(evaluated(tmp_path / "a", noise=0.1), evaluated(tmp_path / "b", noise=0.1, shift=1), RESAMPLING)


def tried(home: Home, trials: int) -> Study:
    """A study whose learning rate alone matters."""
    study = Study(home, load_config(overrides={"tuning.trials": trials, "tuning.search": SEARCH}))
    study.begin_with_defaults()
    while True:
        with study.next_trial() as trial:
            if trial is None:
                return study
            if trial.number == 2:
                trial.fail("the loss is not a number")
            else:
                trial.worth_going_on(0.1, 1)
                rate = trial.settings["train.learning_rate"]
                trial.complete(0.5 - 0.05 * abs(math.log10(rate / 3e-3)) + random.Random(trial.number).random() / 1000)


def report_on(study: Study, home: Home, tmp_path: Path) -> tuple[dict[str, Any], str]:
    test = compare_on_test(evaluated(tmp_path / "one", noise=0.3), evaluated(tmp_path / "two", noise=0.31), RESAMPLING)
    facts = {
        "study": "study",
        "preset": "canonical",
        "log": "<b>log.csv",
        "data": "0123456789abcdef",
        "asked": 8,
        "search": SEARCH,
        "defaults": {"validation_average_precision": 0.45, "settings": study.defaults},
        "test": test,
        "looks": ["artifact://train/1"],
    }
    figures = write_study_report(study.folder, facts, study.trials(), study.optuna_study)
    return figures, (study.folder / "report.html").read_text(encoding="utf-8")


class Sources(HTMLParser):
    """Collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_report_says_what_was_found_and_opens_without_a_network(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    study = tried(home, 8)
    figures, page = report_on(study, home, tmp_path)
    best = figures["best"]
    assert best["trial"] == max((t for t in study.trials() if t.state == "complete"), key=lambda t: t.value or 0).number
    assert math.isclose(figures["gain"], best["validation_average_precision"] - 0.45)
    assert figures["counts"] == {"complete": 7, "pruned": 0, "failed": 1, "repeated": 0}
    assert max(figures["importances"], key=figures["importances"].get) == "train.learning_rate"
    assert math.isclose(sum(figures["importances"].values()), 1, abs_tol=1e-6)
    assert json.loads((study.folder / "study.json").read_bytes())["words"] == figures["words"]
    for words in (*figures["words"], "tuned/study", "the loss is not a number", "&lt;b&gt;log.csv", "looked at once"):
        assert words in page
    sources = Sources()
    sources.feed(page)
    assert len(sources.found) == 3
    assert all(source.startswith("data:image/png;base64,") for source in sources.found)
    for name in ("history", "importances", "parallel"):
        height, width, _ = imread(study.folder / "plots" / f"{name}.png").shape
        assert 700 < width < 1600
        assert 300 < height < 900


def test_too_few_trials_for_importances_say_so(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    figures, page = report_on(tried(home, 2), home, tmp_path)
    assert figures["importances"] == {}
    assert page.count("Needs four complete trials") == 2
