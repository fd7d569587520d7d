"""The plots: always the same names, a picture for whatever was measured, and looks that can be told apart in grey."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from behavior_tasks.verdict.bootstrap import Resampling
from behavior_tasks.verdict.figures import TestSet
from behavior_tasks.verdict.metrics import Scored, f1_difference, measure
from behavior_tasks.verdict.plots import CURVES, PLOTS, champion_differences, draw_plots
from behavior_tasks.verdict.plots_curves import gains
from behavior_tasks.verdict.plots_differences import plot_champion_difference, plot_slices
from behavior_tasks.verdict.plots_look import LOOKS
from behavior_tasks.verdict.traits import Traits

LABELS = (np.arange(200) % 4 == 0).astype(int)
SHOPPERS = np.array([f"p{number}" for number in range(200)])
RESAMPLING = Resampling(resamples=100, confidence=0.95, seed=7)
NO_CHAMPION = {"version": None, "problem": None, "same_model": False}
SLICES = [
    {"slice": "gender", "value": "female", "examples": 90, "buyers": 20, "f1": 0.4, "f1_interval": [0.3, 0.5]},
    {"slice": "gender", "value": "male", "examples": 80, "buyers": 20, "f1": 0.5, "f1_interval": [0.4, 0.6]},
    {"slice": "gender", "value": "unknown", "examples": 30, "buyers": 0, "f1": None, "f1_interval": None},
]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ninth of the dots, which take a third of the time."""
    monkeypatch.setattr("behavior_tasks.base.figures.DOTS_PER_INCH", 50)


def answers(shift: float, seed: int = 3) -> Scored:
    probabilities = np.random.default_rng(seed).random(200) * 0.5 + LABELS * shift
    return Scored(probabilities=probabilities, threshold=0.4)


def shown(models: dict[str, Scored], labels: np.ndarray = LABELS, **other: Any) -> tuple[TestSet, dict[str, Any]]:
    empty = np.full(len(labels), math.nan)
    traits = Traits(told=(), untold={})
    shoppers = SHOPPERS[: len(labels)]
    test = TestSet(labels=labels, shoppers=shoppers, models=models, amounts=empty, expected={}, traits=traits)
    f1 = measure(labels, models["candidate"])["f1"]
    measured = {
        "models": {"candidate": {"f1": f1 if math.isfinite(f1) else None}},
        "slices": [],
        "champion": NO_CHAMPION,
        "resampling": {"resamples": 100, "confidence": 0.95, "seed": 7},
    }
    return test, measured | other


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in folder.iterdir()}


def draw(folder: Path, *arguments: Any, **named: Any) -> dict[str, bytes]:
    draw_plots(folder, *shown(*arguments, **named))
    return pictures(folder)


NOTHING = Scored(probabilities=np.full(200, math.nan), threshold=0.4)
CASES = {
    "everything": shown(
        {name: answers(0.1 * place, place) for place, name in enumerate(LOOKS)},
        slices=SLICES,
        champion={**NO_CHAMPION, "version": "3"},
    ),
    "no buyer": shown({"candidate": answers(0.3)}, np.zeros(200, dtype=int)),
    "buyers only": shown({"candidate": answers(0.3)}, np.ones(200, dtype=int)),
    "no answers": shown({"candidate": NOTHING}),
    "no examples": shown({"candidate": Scored(probabilities=np.zeros(0), threshold=0.4)}, np.zeros(0, dtype=int)),
    "one probability for all": shown({"candidate": Scored(probabilities=np.full(200, 0.25), threshold=0.25)}),
    "probabilities of 0 and 1": shown({"candidate": Scored(probabilities=LABELS.astype(float), threshold=1.0)}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_names_are_the_same_whatever_there_is_to_draw(case: str, tmp_path: Path) -> None:
    draw_plots(tmp_path / "plots", *CASES[case])
    found = pictures(tmp_path / "plots")
    assert set(found) == set(PLOTS)
    for name, content in found.items():
        assert content.startswith(b"\x89PNG"), name
        assert imread(tmp_path / "plots" / f"{name}.png").std() > 0.01, f"{name} is empty"


def test_the_names_are_those_that_people_know() -> None:
    known = "precision_recall roc confusion f1_threshold reliability scores gains slices champion_difference"
    assert list(PLOTS) == known.split()


def test_the_same_answers_give_the_same_bytes_and_another_champion_other_ones(tmp_path: Path) -> None:
    models = {name: answers(0.1 * place, place) for place, name in enumerate(LOOKS)}
    all_of_them, again = draw(tmp_path / "all", models), draw(tmp_path / "again", models)
    assert all_of_them == again
    other = draw(tmp_path / "other", {**models, "champion": answers(0.35, 9)})
    assert {name for name in PLOTS if other[name] != all_of_them[name]} == {*CURVES, "champion_difference"} - {"scores"}


def test_a_model_without_usable_answers_is_left_out(tmp_path: Path) -> None:
    both = draw(tmp_path / "both", {"candidate": answers(0.3), "champion": NOTHING})
    one = draw(tmp_path / "one", {"candidate": answers(0.3)})
    assert {name for name in PLOTS if both[name] != one[name]} <= {"champion_difference"}


def test_the_champions_difference_is_champion_minus_candidate() -> None:
    test, _ = shown({"candidate": answers(0.1), "champion": answers(0.4)})
    found = champion_differences(test, RESAMPLING)
    assert list(found) == ["F1", "precision", "recall", "AP", "AUC"]
    for name in ("F1", "AP", "AUC"):
        assert 0 < found[name].lower < found[name].difference < found[name].upper
    assert found["F1"] == f1_difference(LABELS, test.models["champion"], test.models["candidate"], SHOPPERS, RESAMPLING)
    alone, _ = shown({"candidate": answers(0.1)})
    assert champion_differences(alone, RESAMPLING) == {}


def test_every_reason_for_no_comparison_is_told(tmp_path: Path) -> None:
    reasons = ("There is no champion yet", "The champion can't be compared: its files are gone", "already the champion")
    for number, why in enumerate(reasons):
        plot_champion_difference(tmp_path / str(number), {}, None, why)
    assert len({(tmp_path / str(number)).read_bytes() for number in range(3)}) == 3


def test_slices_grow_with_their_number_up_to_a_limit(tmp_path: Path) -> None:
    many = [{**SLICES[0], "value": f"$value {number}$ <b>"} for number in range(60)]
    heights = []
    for number, rows in enumerate((SLICES, many[:30], many)):
        plot_slices(tmp_path / str(number), rows, 0.4)
        heights.append(imread(tmp_path / str(number)).shape[0])
    assert heights[0] < heights[1] == heights[2] < 700


def test_gains_start_at_nothing_and_end_at_everybody() -> None:
    called, found = gains(LABELS, answers(0.3).probabilities)
    assert (called[0], found[0], called[-1], found[-1]) == (0, 0, 1, 1)
    assert (np.diff(called) > 0).all()
    tenth = np.argsort(-answers(0.3).probabilities)[:20]
    assert np.interp(0.1, called, found) == pytest.approx(LABELS[tenth].sum() / LABELS.sum())


def test_models_differ_in_colour_line_and_marker_and_in_how_dark_they_are() -> None:
    for field in ("label", "color", "line", "marker"):
        assert len({getattr(look, field) for look in LOOKS.values()}) == len(LOOKS)
    dark = [np.dot(to_rgb(look.color), (0.2126, 0.7152, 0.0722)) for look in LOOKS.values()]
    # Colours that are about as dark have other lines and markers; those of candidate and champion must not be.
    assert abs(dark[0] - dark[1]) > 0.05
