"""What differential privacy costs: noise, sampling and steps in; ε out, by a library's accountant.

A training is one mechanism: so many steps, each of which draws every shopper by a chance (Poisson) and adds Gaussian
noise to the sum of clipped gradients. Its Rényi divergences (Mironov 2017; Mironov, Talwar and Zhang 2019, as Opacus
computes them) add up over steps and over trainings, and are turned into ε at the end. The one thing to know: ε is an
upper bound for adding or removing one shopper with all that they did.
"""

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.privacy_config import DpConfig

ORDERS: tuple[float, ...] = (1.25, 1.5, 1.75, 2, 2.25, 2.5, 3, 3.5, 4, 4.5, *range(5, 64), 128, 256)
"""Of the Rényi divergences, those of TensorFlow Privacy. Any order gives a bound; few of them are not whole numbers,
because such an order takes a hundred times as long."""
TOLERANCE = 0.01
"""How far below what was asked for a training's ε may lie, as a share of it."""


class Mechanism(BaseModel):
    """The steps of a training, or a part of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    noise_multiplier: float = Field(gt=0)
    """Standard deviation of the noise, in longest gradients of a shopper."""
    sample_rate: float = Field(gt=0, le=1)
    """Chance of each shopper to be in a step."""
    steps: int = Field(ge=0)


@dataclass(frozen=True, kw_only=True)
class DpPlan:
    """How a training spends its ε; follows from its settings and the number of shoppers alone."""

    shoppers: int
    steps_per_epoch: int
    mechanism: Mechanism
    """All its steps."""
    delta: float

    @property
    def expected(self) -> float:
        """How many shoppers a step draws on average."""
        return self.mechanism.sample_rate * self.shoppers


def plan_dp(dp: DpConfig, *, epochs: int, shoppers: int) -> DpPlan:
    """Return how much noise lets a training of so many epochs cost no more than its ε.

    An epoch is as many steps as draw each shopper once on average.

    Args:
        shoppers: of the train split.

    Raises:
        UserError: δ is no smaller than 1 / shoppers, or no noise is enough for ε.
    """
    if dp.delta * shoppers >= 1:
        raise UserError(
            "δ is too large: a mechanism that gives away one shopper at random would pass (privacy.dp.delta).",
            found=f"δ = {dp.delta:g} and {shoppers:,} shoppers in train; nothing was trained",
            expected=f"δ below 1 / {shoppers:,} = {1 / shoppers:.3g}",
            next_step=f"--set privacy.dp.delta={10.0 ** math.floor(math.log10(0.1 / shoppers)):g}",
        )
    return _plan(dp, epochs, shoppers)


@cache
def _plan(dp: DpConfig, epochs: int, shoppers: int) -> DpPlan:
    from opacus.accountants.utils import get_noise_multiplier

    rate = min(1.0, dp.shoppers_per_step / shoppers)
    steps_per_epoch = math.ceil(shoppers / dp.shoppers_per_step)
    steps = epochs * steps_per_epoch
    try:
        with _quiet():
            noise = get_noise_multiplier(
                target_epsilon=dp.epsilon,
                target_delta=dp.delta,
                sample_rate=rate,
                steps=steps,
                accountant="rdp",
                epsilon_tolerance=TOLERANCE * min(dp.epsilon, 1.0),
                alphas=list(ORDERS),
            )
    except ValueError as error:
        raise UserError(
            "No amount of noise makes the training as private as asked (privacy.dp.epsilon).",
            found=f"ε = {dp.epsilon:g} at δ = {dp.delta:g} over {steps:,} steps: {error}",
            next_step="raise privacy.dp.epsilon, or lower train.epochs",
        ) from None
    return DpPlan(
        shoppers=shoppers,
        steps_per_epoch=steps_per_epoch,
        mechanism=Mechanism(noise_multiplier=noise, sample_rate=rate, steps=steps),
        delta=dp.delta,
    )


def epsilon_of(mechanisms: Iterable[Mechanism], delta: float) -> float:
    """Return the ε, at a δ, of all these mechanisms on the same shoppers together; zero of none.

    >>> one = Mechanism(noise_multiplier=1.1, sample_rate=0.01, steps=1000)
    >>> epsilon_of([one, one], 1e-5) == epsilon_of([one.model_copy(update={"steps": 2000})], 1e-5)
    True
    """
    divergences = sum((_divergences(one) * one.steps for one in mechanisms if one.steps), np.zeros(len(ORDERS)))
    return _epsilon(divergences, delta)


class Spending:
    """Says what the first steps of one mechanism cost, quickly: a step's divergences are computed once."""

    def __init__(self, mechanism: Mechanism, delta: float) -> None:
        self._step = _divergences(mechanism)
        self._delta = delta

    def after(self, steps: int) -> float:
        """Return the ε of so many steps."""
        return _epsilon(self._step * steps, self._delta)


def _divergences(mechanism: Mechanism) -> np.ndarray:
    """Return the Rényi divergence of one step at each order."""
    return _of_a_step(mechanism.noise_multiplier, mechanism.sample_rate)


@cache
def _of_a_step(noise: float, rate: float) -> np.ndarray:
    from opacus.accountants.analysis.rdp import compute_rdp

    return np.asarray(compute_rdp(q=rate, noise_multiplier=noise, steps=1, orders=list(ORDERS)), dtype=np.float64)


def _epsilon(divergences: np.ndarray, delta: float) -> float:
    from opacus.accountants.analysis.rdp import get_privacy_spent

    if not divergences.any():
        return 0.0
    with _quiet():
        epsilon, _ = get_privacy_spent(orders=list(ORDERS), rdp=divergences, delta=delta)
    return float(epsilon)


def _quiet() -> warnings.catch_warnings:
    """An optimum at the first or last order is a bound all the same, only not the closest one."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)
