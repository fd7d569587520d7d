"""What an audience is worth: probabilities and amounts in; expected buyers, value and profit, with intervals, out.

Shopper i buys with probability p; what a buyer spends is lognormal with mean m and standard deviation s of its
logarithm. So the amount A is 0 with probability 1 - p and else exp(N(m, s²)), and

    E[A] = p exp(m + s²/2),    E[A²] = p exp(2m + 2s²),    Var[A] = E[A²] - E[A]².

Totals add over shoppers. The number of buyers is Poisson-binomial; the total amount is taken as gamma distributed with
the total's mean and variance, because it is positive and leans to the right. The one thing to know: these intervals
hold when the probabilities are right and shoppers buy independently; they know nothing of a bad model or a busy week.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from behavior_tasks.serve.audiences_rules import Costs

CONFIDENCE = 0.95
EXACT_UP_TO = 2000
"""Shoppers up to which the distribution of the number of buyers is computed exactly, in n² steps."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An expected figure with its interval."""

    expected: float
    lower: float
    upper: float

    def times(self, factor: float, plus: float = 0.0) -> "Estimate":
        """Return the figure in another unit."""
        return Estimate(
            expected=self.expected * factor + plus, lower=self.lower * factor + plus, upper=self.upper * factor + plus
        )


@dataclass(frozen=True, kw_only=True)
class Worth:
    """What a group of shoppers will bring within the horizon."""

    shoppers: int
    buyers: Estimate
    amount: Estimate | None
    """Of their purchases; None: the model says no amounts."""
    profit: Estimate | None
    """After the contacts; None: neither a margin nor the value of a sale is known."""


def worth_of(table: pd.DataFrame, costs: Costs, *, confidence: float = CONFIDENCE) -> Worth:
    """Return what the shoppers of a table of scores (`probability`, `log_mean`, `log_std`) will bring.

    Args:
        table: a row a shopper; n rows.
        costs: what a contact costs and a purchase brings.
        confidence: level of the intervals.
    """
    probability = table["probability"].to_numpy(dtype=np.float64)
    buyers = buyers_estimate(probability, confidence)
    moments = amount_moments(table)
    amount = None if moments is None else total_estimate(*moments, confidence)
    return worth_with(len(table), buyers, amount, costs)


def worth_with(shoppers: int, buyers: Estimate, amount: Estimate | None, costs: Costs) -> Worth:
    """Return what shoppers will bring, of whom so many will buy for so much."""
    value = None
    if costs.margin is not None and amount is not None:
        value = amount.times(costs.margin)
    elif costs.value_of_sale is not None:
        value = buyers.times(costs.value_of_sale)
    profit = None if value is None else value.times(1.0, -costs.contact_cost * shoppers)
    return Worth(shoppers=shoppers, buyers=buyers, amount=amount, profit=profit)


def amount_moments(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray] | None:
    """Return mean and variance of each shopper's amount, shape (n,) each; None where no amounts are said."""
    mean, std = (table[name].to_numpy(dtype=np.float64) for name in ("log_mean", "log_std"))
    if np.isnan(mean).any() or np.isnan(std).any():
        return None
    probability = table["probability"].to_numpy(dtype=np.float64)
    first = probability * np.exp(mean + std**2 / 2)
    return first, probability * np.exp(2 * mean + 2 * std**2) - first**2


def expected_profit(table: pd.DataFrame, costs: Costs) -> np.ndarray | None:
    """Return what contacting each shopper brings after its cost, shape (n,); None when that can't be known."""
    if costs.value_of_sale is not None:
        return table["probability"].to_numpy(dtype=np.float64) * costs.value_of_sale - costs.contact_cost
    moments = amount_moments(table)
    if costs.margin is None or moments is None:
        return None
    return costs.margin * moments[0] - costs.contact_cost


def buyers_estimate(probability: np.ndarray, confidence: float = CONFIDENCE) -> Estimate:
    """Return how many buy, of independent shoppers with these probabilities, shape (n,).

    Exact up to EXACT_UP_TO shoppers (Hong 2013, "On computing the distribution function for the Poisson binomial
    distribution": the discrete Fourier transform of the characteristic function), above a normal distribution with
    continuity correction.
    """
    expected, tail = float(probability.sum()), (1 - confidence) / 2
    if not len(probability):
        return Estimate(expected=0.0, lower=0.0, upper=0.0)
    if len(probability) <= EXACT_UP_TO:
        reached = np.cumsum(_buyers_distribution(probability))
        lower, upper = (int(np.searchsorted(reached, q - 1e-12)) for q in (tail, 1 - tail))
        return Estimate(expected=expected, lower=float(lower), upper=float(min(upper, len(probability))))
    return many_buyers(len(probability), expected, float((probability * (1 - probability)).sum()), confidence)


def many_buyers(shoppers: int, expected: float, variance: float, confidence: float = CONFIDENCE) -> Estimate:
    """Return how many of more than EXACT_UP_TO independent shoppers buy, of this mean and variance."""
    half = float(stats.norm.ppf((1 + confidence) / 2) * np.sqrt(variance) + 0.5)
    return Estimate(expected=expected, lower=max(0.0, expected - half), upper=min(float(shoppers), expected + half))


def _buyers_distribution(probability: np.ndarray) -> np.ndarray:
    """Return the chance of 0, 1, … n buyers, shape (n + 1,)."""
    count = len(probability)
    # The transform at k and at n + 1 - k are conjugate, so half of them are enough.
    angles = np.exp(-2j * np.pi * np.arange((count + 1) // 2 + 1) / (count + 1)) - 1
    transform = np.ones(len(angles), dtype=np.complex128)
    for chance in probability:
        transform *= 1 + chance * angles
    return np.clip(np.fft.irfft(transform, count + 1), 0, 1)


def total_estimate(mean: np.ndarray, variance: np.ndarray, confidence: float = CONFIDENCE) -> Estimate:
    """Return the total of independent, positive amounts with these means and variances, shape (n,) each."""
    return amount_estimate(float(mean.sum()), float(variance.sum()), confidence)


def amount_estimate(expected: float, spread: float, confidence: float = CONFIDENCE) -> Estimate:
    """Return a total amount of this mean and variance."""
    tail = (1 - confidence) / 2
    if expected <= 0 or spread <= 0:
        return Estimate(expected=expected, lower=expected, upper=expected)
    total = stats.gamma(expected**2 / spread, scale=spread / expected)
    return Estimate(expected=expected, lower=float(total.ppf(tail)), upper=float(total.ppf(1 - tail)))


def choose_contacts(profit: np.ndarray, drawn: np.ndarray, contacts: int | None, *, only_gains: bool) -> np.ndarray:
    """Return the shoppers of most expected profit, best first, control included.

    Profits add, so the best audience is the best shoppers: those above zero, or the first so many. The control comes
    on top of the contacts that are paid for.

    Args:
        profit: of contacting each, shape (n,), in the order that ties keep.
        drawn: who belongs to the control, shape (n,).
        contacts: most that are contacted; None: no limit.
        only_gains: whether who brings less than nothing stays out.

    Returns:
        Places, shape (chosen,).
    """
    order = np.argsort(-profit, kind="stable")
    if only_gains:
        order = order[profit[order] > 0]
    if contacts is not None:
        order = order[: int(np.searchsorted(np.cumsum(~drawn[order]), contacts, side="left")) + 1]
    return order
