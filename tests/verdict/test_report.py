"""The model report: a page that stands alone, a complete card, and nothing in either that a log could inject."""

import html
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from behavior_tasks.base.artifacts import Artifact, Output
from behavior_tasks.base.config import Config, load_config
from behavior_tasks.base.stage import Job
from behavior_tasks.model.decision import Decision
from behavior_tasks.model.outside_guarantee import outside_guarantee
from behavior_tasks.verdict.evaluate import evaluate_stage
from behavior_tasks.verdict.plots import PLOTS
from behavior_tasks.verdict.report import CAPTIONS, report_stage
from behavior_tasks.verdict.report_facts import settings_that_differ
from tests.browser import run_chromium
from tests.verdict.world import CONFIG as SETTINGS
from tests.verdict.world import World, one

NASTY = '<script src="http://evil.example/x.js"></script>'
RULES = [
    {"name": "f1_floor", "passed": True, "figures": {}, "words": "F1 0.412 reaches the floor of 0.350 (gate.min_f1)"},
    {"name": "champion", "passed": False, "figures": {}, "words": "the champion scores 0.431 on the same examples"},
]
VERDICT: dict[str, Any] = {
    "decision": "keep",
    "model": "language_model",
    "reason": "keep: F1 0.412 reaches the floor, but the champion scores 0.431",
    "advice": None,
    "rules": RULES,
    "boosting_rules": None,
    "champion_version": "3",
}
BOOSTING = {"format": "behavior-boosting/1", "numbers": ["events", "carts"], "words": ["gender"], "rounds": 40}


class Page(HTMLParser):
    """What a page shows and what it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        fetching = {"src", "srcset", "href", "action", "data", "poster"}
        self.fetched += [str(value) for name, value in attrs if name in fetching]

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def inputs(world: World) -> dict[str, Artifact]:
    """The artifacts of a run up to its evaluation, of a candidate that nobody trained."""
    train = described(world)
    rooms = [world.artifacts[room] for room in ("encode", "features", "clean")]
    evaluated = world.build("evaluate", evaluate_stage, train, world.baselines(), world.champion(None), *rooms)
    doctor = world.build("doctor", lambda job: replace(one("examples", "findings"), facts={"warned": ["test: few"]}))
    named = {name: world.artifacts[name] for name in ("clean", "cutoffs", "features", "verbalize")}
    return {**named, "doctor": doctor, "train": train, "baselines": world.baselines(), "evaluate": evaluated}


CONFIG = SETTINGS.model_copy(update={"privacy": SETTINGS.privacy.model_copy(update={"min_group": 1})})
"""Every group is shown, however few its shoppers are."""


def described(world: World) -> Artifact:
    """A train artifact as the stage leaves it: with facts."""
    model = world.model(1)

    def work(job: Job) -> Output:
        (job.out / "model").symlink_to(model.path / "model")
        (job.out / "plots").mkdir()
        facts = {"epochs": 3, "best_epoch": 2, "validation_average_precision": 0.345, "threshold": 0.5}
        return replace(one("examples", "models"), facts=facts)

    return world.build("train", work, world.artifacts["encode"], world.artifacts["verbalize"], name="described")


def write(
    inputs: Mapping[str, Artifact],
    folder: Path,
    *,
    verdict: Mapping[str, Any] = VERDICT,
    changes: Mapping[str, Any] | None = None,
    config: Config = CONFIG,
) -> tuple[str, str]:
    """Page and card of a run with this verdict and with other metrics."""
    for name in ("evaluate", "gate", "out"):
        (folder / name).mkdir()
    measured = json.loads((inputs["evaluate"].path / "metrics.json").read_bytes()) | (changes or {})
    (folder / "evaluate" / "metrics.json").write_text(json.dumps(measured))
    (folder / "evaluate" / "plots").symlink_to(inputs["evaluate"].path / "plots")
    (folder / "gate" / "verdict.json").write_text(json.dumps(verdict))
    moved = {
        "evaluate": replace(inputs["evaluate"], path=folder / "evaluate"),
        "gate": replace(inputs["evaluate"], path=folder / "gate"),
    }
    job = Job(
        config=config,
        inputs={**inputs, **moved},
        out=folder / "out",
        key="k",
        home=None,  # type: ignore[arg-type]  # nothing outside its inputs is read
        today=date(2026, 3, 1),
    )
    report_stage(job)
    page, card = ((folder / "out" / name).read_text(encoding="utf-8") for name in ("report.html", "model_card.md"))
    return page, card


@pytest.fixture(scope="module")
def written(inputs: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return write(inputs, tmp_path_factory.mktemp("report"))


def test_the_page_fetches_nothing_and_runs_nothing(written: tuple[str, str]) -> None:
    page = Page(written[0])
    assert page.fetched
    assert all(address.startswith("data:image/png;base64,") for address in page.fetched)
    assert not {"script", "link", "iframe", "object", "form", "a"} & set(page.tags)
    without_pictures = re.sub(r'"data:[^"]*"', "", written[0])
    assert "http" not in without_pictures
    assert "url(" not in without_pictures
    assert "@import" not in without_pictures


def test_the_verdict_comes_first_with_each_rule(written: tuple[str, str]) -> None:
    words = Page(written[0]).words
    assert words.index("the champion scores 0.431") < words.index("Models on the same test examples")
    for rule in RULES:
        assert str(rule["words"]) in words
        assert f"{'✓' if rule['passed'] else '✗'} {rule['words']}" in written[1]
    assert "keep: " not in words, "the badge says it"


def test_figures_and_intervals_of_every_model_are_there(inputs: dict[str, Artifact], written: tuple[str, str]) -> None:
    measured = json.loads((inputs["evaluate"].path / "metrics.json").read_bytes())
    for name, figures in measured["models"].items():
        for key in ("f1", "average_precision", "ece", "gain_10"):
            assert f"{figures[key]:.3f}" in Page(written[0]).words, (name, key)
    lower, upper = measured["intervals"]["candidate"]["f1"]
    assert f"{lower:.3f}–{upper:.3f}" in written[0]
    assert f"({lower:.3f} to {upper:.3f})" in written[1]
    for group in measured["slices"]:
        assert str(group["value"]) in Page(written[0]).words
    assert measured["test_hash"] in written[0]
    assert measured["test_hash"] in written[1]


def test_every_plot_is_shown_with_a_line_on_how_to_read_it(written: tuple[str, str]) -> None:
    assert set(PLOTS) <= set(CAPTIONS)
    assert written[0].count("<figure>") == len(PLOTS)
    for name in PLOTS:
        assert CAPTIONS[name][1] in Page(written[0]).words


def test_no_word_of_a_log_becomes_markup(inputs: dict[str, Artifact], tmp_path: Path) -> None:
    measured = json.loads((inputs["evaluate"].path / "metrics.json").read_bytes())
    nasty = [{**group, "value": NASTY} for group in measured["slices"]]
    case = {"name": NASTY, "likelier": 0.5, "other": 0.4, "right": True}
    behaviour = json.loads(json.dumps(measured["behaviour"]))
    behaviour["minimum_functionality"]["cases"] = [case]
    behaviour["invariance"]["words"] = NASTY
    verdict = {**VERDICT, "reason": f"keep: {NASTY}", "rules": [{**RULES[0], "words": NASTY}]}
    config = CONFIG.model_copy(update={"registry": CONFIG.registry.model_copy(update={"model_name": NASTY})})
    changes = {"slices": nasty, "behaviour": behaviour}
    page, card = write(inputs, tmp_path, verdict=verdict, changes=changes, config=config)
    assert "script" not in Page(page).tags
    assert Page(page).words.count(NASTY) >= len(nasty) + 4
    assert not any(NASTY in line for line in card.splitlines() if line.startswith("| "))


@pytest.mark.parametrize(
    "missing", ["slices", "fairness", "amount", "intervals", "behaviour", "undefined", "best_possible"]
)
def test_what_was_not_measured_is_told_as_such(missing: str, inputs: dict[str, Artifact], tmp_path: Path) -> None:
    page, card = write(inputs, tmp_path, changes={missing: None})
    assert "None" not in Page(page).words
    assert "None" not in card


def test_undefined_figures_are_dashes(inputs: dict[str, Artifact], tmp_path: Path) -> None:
    measured = json.loads((inputs["evaluate"].path / "metrics.json").read_bytes())
    models = {name: dict.fromkeys(figures) for name, figures in measured["models"].items()}
    slices = [
        {**group, **dict.fromkeys(("f1", "precision", "recall", "ece", "f1_interval", "call_rate"))}
        for group in measured["slices"]
    ]
    page, card = write(inputs, tmp_path, changes={"models": models, "slices": slices})
    assert "None" not in Page(page).words
    assert "nan" not in card
    assert "| F1 | – |" in card


def test_the_card_says_what_on_what_how_well_for_whom_and_the_limits(written: tuple[str, str]) -> None:
    card = written[1]
    for section in (
        "What it is",
        "What it is for",
        "What it learned from",
        "How well it does",
        "By group",
        "Behaviour",
    ):
        assert f"# {section}\n" in card
    assert "Ethics and limits" in card
    assert "# Model card: language model" in card
    assert "epoch 2 kept (average precision 0.345 on validation)" in card
    assert "The data doctor warned of: test: few." in card
    assert not re.search(r"[{}]", card)


def test_a_boosting_model_has_a_complete_card_of_its_own(inputs: dict[str, Artifact], tmp_path: Path) -> None:
    folder = tmp_path / "baselines"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text(json.dumps(BOOSTING))
    Decision(threshold=0.6).save(folder / "model")
    own = {**inputs, "baselines": replace(inputs["baselines"], path=folder)}
    rules = [{**RULES[0], "words": "boosting reaches the floor"}]
    verdict = {
        **VERDICT,
        "decision": "promote",
        "model": "boosting",
        "advice": "use the simpler one",
        "boosting_rules": rules,
    }
    (tmp_path / "run").mkdir()
    page, card = write(own, tmp_path / "run", verdict=verdict)
    assert "# Model card: boosting" in card
    assert "use the simpler one" in card
    assert "✓ boosting reaches the floor" in card
    assert "2 features as numbers, 1 as words; no text" in card
    assert "It predicts no amounts" in card
    measured = json.loads((inputs["evaluate"].path / "metrics.json").read_bytes())
    assert f"| F1 | {measured['models']['boosting']['f1']:.3f}" in card
    assert "boosting reaches the floor" in Page(page).words


def test_only_settings_that_differ_are_told_and_no_path_of_this_machine() -> None:
    assert settings_that_differ(Config()) == []
    changed = Config.model_validate(
        {"model": {"checkpoint": "/home/somebody/models/tiny"}, "train": {"epochs": 9}, "engine": {"workers": 7}}
    )
    rows = {row["key"]: row["value"] for row in settings_that_differ(changed)}
    assert rows == {"model.checkpoint": "tiny", "train.epochs": "9"}


def test_the_page_fits_a_laptop(inputs: dict[str, Artifact], tmp_path: Path) -> None:
    """Nothing is wider than 1366 pixels, though nothing scrolls sideways but tables in their own frames."""
    page, _ = write(inputs, tmp_path)
    widths = "document.documentElement.scrollWidth + ' ' + window.innerWidth"
    pictures = "[...document.images].every(image => image.naturalWidth > 0)"
    probe = f"<script>document.title = {widths} + ' ' + {pictures}</script>"
    measured = tmp_path / "probe.html"
    measured.write_text(page.replace("</body>", probe + "</body>"), encoding="utf-8")
    shown = run_chromium(measured.as_uri(), tmp_path, "--window-size=1366,768", "--dump-dom")
    found = re.search(r"<title>(\d+) (\d+) (\w+)</title>", shown)
    assert found is not None
    assert int(found[1]) <= int(found[2]) <= 1366
    assert found[3] == "true", "every picture is one that Chromium can show"
    shot = tmp_path / "shot.png"
    run_chromium(
        (tmp_path / "out" / "report.html").as_uri(), tmp_path, "--window-size=1366,768", f"--screenshot={shot}"
    )
    width, height = struct.unpack(">II", shot.read_bytes()[16:24])
    assert (width, height) == (1366, 768)


def test_a_private_model_tells_what_it_cost_and_what_is_outside_the_guarantee(
    inputs: dict[str, Artifact], tmp_path: Path
) -> None:
    told = {"steps": 120, "shoppers": 5_000, "sample_rate": 0.05, "noise_multiplier": 1.234}
    told |= {"unit": "shopper", "examples_per_shopper": 4, "max_grad_norm": 0.5}
    facts = {**inputs["train"].facts, "epsilon": 2.9876, "delta": 1e-6, "privacy": told}
    private = replace(inputs["train"], manifest=inputs["train"].manifest.model_copy(update={"facts": facts}))
    config = load_config(overrides={"privacy.dp.epsilon": 3, "text.named_products": 77})
    page, card = write({**inputs, "train": private}, tmp_path, config=config)
    for text in (page, card):
        assert "ε = 2.99 at δ = 1e-06" in text
        assert "120 steps" in text
        assert "5,000 shoppers" in text
        assert "utside the guarantee" in text
        for left_out in outside_guarantee(config):
            assert left_out.words in html.unescape(text), left_out.name
        assert "the 77 products with the most events" in text


def test_a_model_without_differential_privacy_promises_none(written: tuple[str, str]) -> None:
    assert not [text for text in written if "guarantee" in text]
