"""Figures of what was served: judged answers in; F1, AP, calibration and lift, each with an interval, out.

The interval is a bootstrap by shopper, as the evaluation's is; several days of one version are taken together by the
same shoppers, so that overlapping horizons are not counted as news. The one thing to know: what was measured once for
the same answers and labels is read from the cache.
"""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from behavior_tasks.base.cached import keep_json, read_kept
from behavior_tasks.verdict.bootstrap import Resampling, percentile_interval, resample, shopper_codes
from behavior_tasks.verdict.intervals import figure_names, model_statistic
from behavior_tasks.verdict.metrics import measure
from behavior_tasks.watch.judged import Judged

FIGURES: tuple[str, ...] = ("f1", "precision", "recall", "average_precision", "ece", "brier", "lift_10")
PROMISED = "buyers_per_promised"
"""Buyers that came for each that the probabilities promised."""
RESAMPLING = Resampling(resamples=200, confidence=0.95, seed=7)

Figures = Mapping[str, float | None]
"""Each of FIGURES and PROMISED, with `_lower`, `_upper` and `_sd` (of its resamples); None where undefined."""


def figures_of(judged: Judged, cache: Path) -> Figures:
    """Return the figures of answers of one version, so of one threshold.

    Args:
        judged: of one moment, or several `together`.
        cache: folder of what was measured before.
    """
    digest = hashlib.sha256("\n".join(judged.shoppers).encode())
    for values in (judged.labels, judged.probabilities, judged.decisions):
        digest.update(np.ascontiguousarray(values).data)
    digest.update(repr((FIGURES, RESAMPLING)).encode())
    path = cache / f"{digest.hexdigest()[:24]}.json"
    kept = read_kept(path)
    if kept is not None:
        return dict(kept)
    found = _measure(judged)
    keep_json(path, found)
    return found


def difference(now: Figures, then: Figures, figure: str, *, deviations: float) -> tuple[float, float] | None:
    """Return the ends of the interval of a figure now minus then, or None where either is undefined.

    Both are resampled by themselves, so the deviation of the difference is that of a sum. The same shoppers on both
    sides make it smaller in truth, never larger.

    Args:
        now: figures.
        then: figures of other days.
        figure: one of FIGURES.
        deviations: half the interval's width in standard deviations.
    """
    values = [side.get(f"{figure}{end}") for side in (now, then) for end in ("", "_sd")]
    if any(value is None for value in values):
        return None
    value, sd, value_then, sd_then = (float(v) for v in values if v is not None)
    width = deviations * math.hypot(sd, sd_then)
    return value - value_then - width, value - value_then + width


def _measure(judged: Judged) -> dict[str, float | None]:
    names = (*figure_names(None), PROMISED)
    told, drawn = {PROMISED: math.nan, **measure(judged.labels, judged.scored)}, np.empty((0, len(names)))
    if len(judged.labels):
        codes, count = shopper_codes(judged.shoppers)
        sums = np.column_stack([np.bincount(codes, weights=w) for w in (judged.labels, judged.probabilities)])
        statistic = model_statistic(judged.labels, judged.scored, codes)

        def every(draw: np.ndarray) -> np.ndarray:
            return np.append(statistic(draw), _ratio(*(draw @ sums)))

        drawn = resample({"every": every}, count, RESAMPLING.within_reach(len(codes)))["every"]
        told[PROMISED] = _ratio(*sums.sum(axis=0))
    result: dict[str, float | None] = {}
    for name in (*FIGURES, PROMISED):
        column = drawn[:, names.index(name)]
        lower, upper = percentile_interval(column, RESAMPLING.confidence)
        deviation = float(column[np.isfinite(column)].std()) if np.isfinite(column).any() else math.nan
        ends = {"": told[name], "_lower": lower, "_upper": upper, "_sd": deviation}
        result |= {f"{name}{end}": value if math.isfinite(value) else None for end, value in ends.items()}
    return result


def _ratio(buyers: float, promised: float) -> float:
    return float(buyers / promised) if promised else math.nan
