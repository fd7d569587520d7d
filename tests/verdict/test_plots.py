"""The two plots: there, as PNG, for every model that has answers."""

import math
from pathlib import Path

import numpy as np
import pytest

from behavior_tasks.verdict.metrics import Scored
from behavior_tasks.verdict.plots import LOOKS, plot_precision_recall, plot_reliability

LABELS = (np.arange(200) % 4 == 0).astype(int)


def answers(shift: float) -> Scored:
    probabilities = np.random.default_rng(3).random(200) * 0.5 + LABELS * shift
    return Scored(probabilities=probabilities, threshold=0.4)


@pytest.mark.parametrize("plot", [plot_precision_recall, plot_reliability])
def test_each_model_changes_the_picture_and_the_same_models_give_the_same_one(plot, tmp_path: Path) -> None:
    models = {name: answers(0.1 * place) for place, name in enumerate(LOOKS)}
    fewer = {name: scored for name, scored in models.items() if name != "champion"}
    for name, shown in (("all", models), ("again", models), ("fewer", fewer)):
        plot(tmp_path / name, LABELS, shown)
    pictures = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert pictures["all"].startswith(b"\x89PNG")
    assert pictures["all"] == pictures["again"]
    assert pictures["all"] != pictures["fewer"]


@pytest.mark.parametrize("plot", [plot_precision_recall, plot_reliability])
def test_a_model_without_usable_answers_is_left_out(plot, tmp_path: Path) -> None:
    good, bad = answers(0.3), Scored(probabilities=np.full(200, math.nan), threshold=0.4)
    plot(tmp_path / "both", LABELS, {"candidate": good, "champion": bad})
    plot(tmp_path / "one", LABELS, {"candidate": good})
    assert (tmp_path / "both").read_bytes() == (tmp_path / "one").read_bytes()


@pytest.mark.parametrize("plot", [plot_precision_recall, plot_reliability])
def test_test_examples_without_a_buyer_still_give_a_picture(plot, tmp_path: Path) -> None:
    plot(tmp_path / "none", np.zeros(200, dtype=int), {"candidate": answers(0.3)})
    assert (tmp_path / "none").read_bytes().startswith(b"\x89PNG")


def test_models_differ_in_colour_line_and_marker() -> None:
    for field in ("label", "color", "line", "marker"):
        assert len({getattr(look, field) for look in LOOKS.values()}) == len(LOOKS)
