"""The plots of a study: Optuna's study in, PNG files out.

Optuna draws them with matplotlib; here they get a size for a laptop, and colours that colour-blind people can tell
apart. The one thing to know: Optuna draws through pyplot, whose state all threads share, so this is called from one.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import optuna
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

BLUE, ORANGE = "#0072B2", "#D55E00"
"""Okabe and Ito's colours."""
DOTS_PER_INCH = 120
LEAST_TRIALS = 4
"""Complete trials from which on the importances mean anything."""
TARGET = "validation AP"


def plot_study(folder: Path, study: optuna.Study) -> tuple[dict[str, Path], dict[str, float]]:
    """Draw what there is enough of: `history`, `importances`, `parallel`.

    Args:
        folder: where the PNG files go.
        study: with at least one complete trial.

    Returns:
        Name → file, and the importance of every searched setting, which add up to 1; empty with fewer than four
        complete trials, or when all have the same AP.
    """
    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    values = {trial.value for trial in complete}
    telling = len(complete) >= LEAST_TRIALS and len(values) > 1
    importances = optuna.importance.get_param_importances(study, evaluator=_evaluator()) if telling else {}
    drawings: dict[str, Callable[[optuna.Study], Axes]] = {"history": _history}
    if telling:
        drawings |= {"importances": _importances, "parallel": _parallel}
    mpl.use("Agg")
    plots = {}
    # Optuna's functions set a style of their own for good.
    with mpl.rc_context(), warnings.catch_warnings():
        # Optuna calls its plots experimental; its version is pinned, and a test draws them.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for name, draw in drawings.items():
            axes = draw(study)
            plots[name] = folder / f"{name}.png"
            _figure(axes).savefig(
                plots[name], format="png", dpi=DOTS_PER_INCH, bbox_inches="tight", metadata={"Software": None}
            )
            pyplot.close("all")
    return plots, {name: float(share) for name, share in importances.items()}


def _evaluator() -> "optuna.importance.FanovaImportanceEvaluator":
    """Functional ANOVA over a random forest (Hutter, Hoos and Leyton-Brown 2014), the same in every turn."""
    return optuna.importance.FanovaImportanceEvaluator(seed=0)


def _history(study: optuna.Study) -> Axes:
    axes = optuna.visualization.matplotlib.plot_optimization_history(study, target_name=TARGET)
    _dress(axes, "Validation AP of the trials", 8, 4.2)
    for points in axes.collections:
        points.set_color(BLUE)
    for line in axes.lines:
        line.set(color=ORANGE, linewidth=2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial")
    axes.legend(["a trial", "the best so far"], frameon=False, loc="lower right")
    return axes


def _importances(study: optuna.Study) -> Axes:
    axes = optuna.visualization.matplotlib.plot_param_importances(study, evaluator=_evaluator(), target_name=TARGET)
    _dress(axes, "How much of the differences in validation AP each setting explains", 8, 4.2)
    for bar in axes.patches:
        bar.set_color(BLUE)
    legend = axes.get_legend()
    if legend is not None:
        legend.remove()
    axes.set(xlabel="share of the variance", ylabel="")
    return axes


def _parallel(study: optuna.Study) -> Axes:
    axes = optuna.visualization.matplotlib.plot_parallel_coordinate(study, target_name=TARGET)
    _dress(axes, "Settings of the complete trials, darker: higher validation AP", 12, 5)
    axes.set_ylabel(TARGET)
    for label in axes.get_xticklabels():
        label.set(rotation=25, ha="right")
    for lines in axes.collections:
        # Of Optuna's blues the lightest can't be seen; cividis is even to the eye, and the same to colour-blind ones.
        lines.set_cmap("cividis_r")
    for other in axes.figure.axes:
        other.set_title("")
        other.grid(visible=False)
        other.tick_params(labelsize=9)
        for label in other.get_yticklabels(which="both"):
            label.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5})
    return axes


def _figure(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def _dress(axes: Axes, title: str, width: float, height: float) -> None:
    axes.set_title("")
    axes.set_title(title, color="#222222", loc="left")
    axes.set_facecolor("white")
    axes.grid(color="#DDDDDD", linewidth=0.6)
    _figure(axes).set(facecolor="white", size_inches=(width, height))
    axes.tick_params(colors="#222222")
