"""The one look at test of a tuning: two evaluations in, both models' figures and their paired difference out.

Both models answered the same test examples, each at the threshold that was chosen for it on validation. The one thing
to know: the difference on validation flatters the best trial, because it was picked there; the one on test does not.
"""

import json
import math
from typing import Any

import pandas as pd

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.verdict.metrics import Difference, Resampling, Scored, average_precision_difference, f1_difference


def compare_on_test(best: Artifact, defaults: Artifact, resampling: Resampling) -> dict[str, Any]:
    """Return the figures of the best settings and of the defaults on test, and their differences with intervals.

    Args:
        best: the `evaluate` artifact of the best trial.
        defaults: that of the settings before the search.
        resampling: how the bootstrap by shopper is drawn.

    Returns:
        `test_hash`, `examples`, `buyers`, `confidence`; `best` and `defaults` (metric → value, null where undefined);
        `difference` (metric → difference, lower, upper: best minus defaults).
    """
    measured = {name: json.loads((a.path / "metrics.json").read_bytes()) for name, a in _both(best, defaults)}
    tables = {name: pd.read_parquet(a.path / "predictions.parquet") for name, a in _both(best, defaults)}
    if measured["best"]["test_hash"] != measured["defaults"]["test_hash"]:
        raise ValueError("a search changed the test examples")
    table = tables["best"]
    labels, shoppers = table["label"].to_numpy(), table["shopper"].to_numpy()
    scored = {
        name: Scored(
            probabilities=tables[name]["candidate"].to_numpy(dtype=float),
            threshold=float(measured[name]["models"]["candidate"]["threshold"]),
        )
        for name in tables
    }
    first, second = scored["best"], scored["defaults"]
    return {
        "test_hash": measured["best"]["test_hash"],
        "examples": len(table),
        "buyers": int(labels.sum()),
        "confidence": resampling.confidence,
        **{name: measured[name]["models"]["candidate"] for name in tables},
        "difference": {
            "average_precision": _json(
                average_precision_difference(labels, first.probabilities, second.probabilities, shoppers, resampling)
            ),
            "f1": _json(f1_difference(labels, first, second, shoppers, resampling)),
        },
    }


def words_of_test(compared: dict[str, Any], metric: str = "average_precision") -> str:
    """Say what the best settings are worth on test.

    >>> compared = {"best": {"f1": 0.56}, "defaults": {"f1": 0.55}, "examples": 2899, "confidence": 0.95,
    ...     "difference": {"f1": {"difference": 0.01, "lower": -0.002, "upper": 0.021}}}
    >>> words_of_test(compared, "f1").partition(": ")[2]
    '+0.0100 (95 % interval −0.0020 to +0.0210): no difference is shown'
    """
    name = {"average_precision": "AP", "f1": "F1"}[metric]
    figures = compared["difference"][metric]
    if figures["lower"] is None or figures["upper"] is None or figures["difference"] is None:
        return f"{name} is undefined on these test examples: no difference is shown"
    shown = "better" if figures["lower"] > 0 else "worse" if figures["upper"] < 0 else "no difference is shown"
    interval = f"{signed(figures['lower'])} to {signed(figures['upper'])}"
    return (
        f"{name} {compared['best'][metric]:.4f} against {compared['defaults'][metric]:.4f} of the defaults on "
        f"{compared['examples']:,} test examples: {signed(figures['difference'])} "
        f"({100 * compared['confidence']:.4g} % interval {interval}): {shown}"
    )


def signed(number: float) -> str:
    """Return a difference with its sign.

    >>> signed(0.01), signed(-0.002)
    ('+0.0100', '−0.0020')
    """
    return f"{number:+.4f}".replace("-", "−")


def _both(best: Artifact, defaults: Artifact) -> tuple[tuple[str, Artifact], tuple[str, Artifact]]:
    return ("best", best), ("defaults", defaults)


def _json(difference: Difference) -> dict[str, float | None]:
    figures = {"difference": difference.difference, "lower": difference.lower, "upper": difference.upper}
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}
