"""The figures of an evaluation: every model's answers on the test examples in; what `metrics.json` says of them out.

One bootstrap serves all models, slices and groups: they see the same resampled shoppers, and the draws are made once.
The one thing to know: whatever can't be measured is null, and `undefined` says why.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from behavior_tasks.verdict.amounts import AMOUNT_FIGURES, amount_statistic, measure_amounts
from behavior_tasks.verdict.bootstrap import Resampling, Statistic, percentile_interval, resample, shopper_codes
from behavior_tasks.verdict.fairness import ATTRIBUTES, Groups, find_groups, group_statistic, measure_gaps
from behavior_tasks.verdict.intervals import figure_names, model_statistic, usable_models
from behavior_tasks.verdict.metrics import Costs, Scored, explain_undefined, measure, profit_per_1000
from behavior_tasks.verdict.slices import measure_slices, slice_statistic
from behavior_tasks.verdict.traits import Traits


@dataclass(frozen=True, kw_only=True)
class TestSet:
    """The test examples, and what every model says of them."""

    __test__ = False
    labels: np.ndarray
    """0 or 1, (n,)."""
    shoppers: np.ndarray
    """Whose example it is, (n,)."""
    models: Mapping[str, Scored]
    """Answers (n,) by model; `candidate` among them."""
    amounts: np.ndarray
    """What was paid, NaN where it is not known, (n,)."""
    expected: Mapping[str, np.ndarray]
    """Expected amounts (n,) of the models that tell them."""
    traits: Traits
    costs: Costs | None = None

    @cached_property
    def codes(self) -> tuple[np.ndarray, int]:
        """Each example's shopper as a number, and how many shoppers there are."""
        return shopper_codes(self.shoppers)

    @cached_property
    def groups(self) -> dict[str, Groups]:
        """The attributes that the log tells of, with the groups that can be compared."""
        traits = {trait.name: trait for trait in self.traits.told}
        return {name: find_groups(self.labels, traits[name]) for name in ATTRIBUTES if name in traits}


def measure_all(test: TestSet, asked: Resampling) -> dict[str, Any]:
    """Return the part of `metrics.json` that is measured on test.

    Returns:
        shoppers, models, intervals, amount, slices, fairness, resampling and undefined; numbers are finite or None.
    """
    resampling = asked.within_reach(len(test.labels))
    _, count = test.codes
    usable = usable_models(test.labels, test.models)
    statistics = dict(_statistics(test, usable))
    resampled = resample(statistics, count, resampling)
    names = figure_names(test.costs)

    def intervals(kind: str, figures: tuple[str, ...]) -> dict[str, dict[str, list[float] | None]]:
        mine = {name.removeprefix(kind): rows for name, rows in resampled.items() if name.startswith(kind)}
        return {name: _intervals(rows, figures, resampling.confidence) for name, rows in mine.items()}

    no_intervals = {name: dict.fromkeys(names) for name in test.models}
    traits = {name.removeprefix("slice:"): rows for name, rows in resampled.items() if name.startswith("slice:")}
    gaps = [
        gap
        for attribute, groups in test.groups.items()
        if (name := f"groups:{attribute}") in statistics
        for gap in measure_gaps(groups, statistics[name](np.ones(count)), resampled[name], resampling.confidence)
    ]
    amounts = {name: measure_amounts(test.amounts, expected) for name, expected in test.expected.items()}
    told = bool(amounts) and bool(np.isfinite(test.amounts).any())
    measured = {
        "shoppers": count,
        "models": {name: _measure(test, scored) for name, scored in test.models.items()},
        "intervals": {**no_intervals, **intervals("model:", names)},
        "amount": {"models": amounts, "intervals": intervals("amount:", AMOUNT_FIGURES)} if told else None,
        "slices": measure_slices(
            test.labels, test.models["candidate"], test.shoppers, test.traits.told, traits, resampling.confidence
        ),
        "fairness": gaps,
        "resampling": {
            "resamples": resampling.resamples,
            "asked": asked.resamples,
            "confidence": asked.confidence,
            "seed": asked.seed,
        },
        "undefined": _undefined(test),
    }
    cleaned: dict[str, Any] = finite(measured)
    return cleaned


def finite(value: Any) -> Any:
    """Return the same with None for every number that is not finite: JSON has no NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(of) for key, of in value.items()}
    if isinstance(value, list | tuple):
        return [finite(of) for of in value]
    return value


def _statistics(test: TestSet, usable: Mapping[str, Scored]) -> Iterator[tuple[str, Statistic]]:
    """Give everything that is resampled, by name: `model:…`, `amount:…`, `slice:…`, `groups:…`."""
    codes, _ = test.codes
    for name, scored in usable.items():
        yield f"model:{name}", model_statistic(test.labels, scored, codes, test.costs)
    if np.isfinite(test.amounts).any():
        for name, expected in test.expected.items():
            if np.isfinite(expected).all():
                yield f"amount:{name}", amount_statistic(test.amounts, expected, codes)
    if candidate := usable.get("candidate"):
        for trait in test.traits.told:
            yield f"slice:{trait.name}", slice_statistic(test.labels, candidate, trait, codes)
        for attribute, groups in test.groups.items():
            if not groups.problem:
                yield f"groups:{attribute}", group_statistic(test.labels, candidate, groups, codes)


def _measure(test: TestSet, scored: Scored) -> dict[str, float]:
    figures = measure(test.labels, scored)
    if test.costs is None:
        return figures
    profit = math.nan
    if len(test.labels) and scored.usable:
        called = scored.decisions
        hits = float((called & (test.labels == 1)).sum())
        profit = profit_per_1000(hits, float(called.sum()), len(test.labels), test.costs)
    return {**figures, "profit_per_1000": profit}


def _intervals(rows: np.ndarray, names: tuple[str, ...], confidence: float) -> dict[str, list[float] | None]:
    found: dict[str, list[float] | None] = dict.fromkeys(names)
    for name, values in zip(names, rows.T, strict=False):
        lower, upper = percentile_interval(values, confidence)
        found[name] = None if math.isnan(lower) else [lower, upper]
    return found


def _undefined(test: TestSet) -> dict[str, str]:
    """Return why what is null is null, by its path; for slices each entry says so itself."""
    reasons = {
        f"models.{name}.{figure}": why
        for name, scored in test.models.items()
        for figure, why in explain_undefined(test.labels, scored).items()
    }
    if not np.isfinite(test.amounts).any():
        reasons["amount"] = "no test example states an amount"
    elif not test.expected:
        reasons["amount"] = "no model tells an expected amount"
    elif not np.nansum(test.amounts) > 0:
        reasons |= {f"amount.models.{name}.total_ratio": "nobody paid anything" for name in test.expected}
    reasons |= {f"slices.{name}": why for name, why in test.traits.untold.items()}
    reasons |= {f"fairness.{name}": why for name, why in test.traits.untold.items() if name in ATTRIBUTES}
    reasons |= {f"fairness.{name}": groups.problem for name, groups in test.groups.items() if groups.problem}
    if len(test.labels) and test.groups and not test.models["candidate"].usable:
        reasons |= {f"fairness.{name}": "the candidate's probabilities are not finite" for name in test.groups}
    return reasons
