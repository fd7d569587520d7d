"""The report of a study: its trials and the one look at test in, `study.json`, plots and one page out.

The page is a single HTML file that opens without a network. The one thing to know: it says in words whether test bears
out what validation promised, and how often this study has looked at test.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.home import make_folder
from behavior_tasks.base.page import render_page
from behavior_tasks.model.trials import FINISHED, Tried, best_of, finished, settings_in_words, shown_value
from behavior_tasks.verdict.study_on_test import signed, words_of_test

if TYPE_CHECKING:
    import optuna

TEMPLATE = Path(__file__).with_name("study.html")
FIGURES = "study.json"
PAGE = "report.html"


def write_study_report(
    folder: Path, facts: Mapping[str, Any], trials: Sequence[Tried], study: "optuna.Study"
) -> dict[str, Any]:
    """Write `study.json`, `report.html` and `plots/`, and return what is in `study.json`.

    Args:
        folder: of the study; what an earlier report left there is written over.
        facts: `study`, `preset`, `log`, `data`, `asked`, `search`, `defaults` (settings and validation AP), `test` (see
            `compare_on_test`), `looks` (trials that this study has measured on test).
        trials: all of them, at least one complete.
        study: Optuna's own, for its plots.
    """
    from behavior_tasks.verdict.study_plots import plot_study

    plots, importances = plot_study(make_folder(folder / "plots"), study)
    best = best_of(trials)
    assert best is not None
    assert best.value is not None
    counts = {state: sum(trial.state == state for trial in trials) for state in (*FINISHED, "repeated")}
    words = [words_of_test(facts["test"], metric) for metric in ("average_precision", "f1")]
    if dict(best.settings) == facts["defaults"]["settings"]:
        words = ["No trial is better than the defaults on validation, so there is nothing to compare on test"]
    figures: dict[str, Any] = {
        **facts,
        "best": {"trial": best.number, "validation_average_precision": best.value, "settings": dict(best.settings)},
        "gain": best.value - facts["defaults"]["validation_average_precision"],
        "counts": counts,
        "importances": importances,
        "words": words,
        "trials": [asdict(trial) for trial in trials],
    }
    text = json.dumps(figures, ensure_ascii=False, indent=2, allow_nan=False)
    write_durably(folder / FIGURES, f"{text}\n".encode())
    write_durably(folder / PAGE, render(figures, finished(trials), plots).encode())
    return figures


def render(figures: Mapping[str, Any], trials: Sequence[Tried], plots: Mapping[str, Path]) -> str:
    """Return the page.

    Args:
        figures: what `study.json` holds.
        trials: the finished ones.
        plots: name → PNG file.
    """
    images = {name: base64.b64encode(file.read_bytes()).decode("ascii") for name, file in plots.items()}
    ranked = sorted(trials, key=lambda trial: (trial.state != "complete", -(trial.value or 0.0), trial.number))
    filters: dict[str, Callable[..., str]] = {"signed": signed, "setting": shown_value, "settings": settings_in_words}
    return render_page(TEMPLATE, {**figures, "ranked": ranked, "images": images}, filters)
