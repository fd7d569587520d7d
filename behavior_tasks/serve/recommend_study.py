"""The study: every method on the same shoppers and candidates of past days in; which one is served, and how good, out.

Two past horizons are used. On the earlier one the method is chosen and the combination learned; on the newest one
everything is measured that is told. The one thing to know: no figure that is told took part in a choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from behavior_tasks.serve.moment import Moment, backtest_moment
from behavior_tasks.serve.recommend_measure import Measured, choose, measure_lists
from behavior_tasks.serve.recommend_rank import (
    FEWEST_HITS,
    Candidates,
    Combination,
    are_bought,
    facts,
    gather,
    unseen_scores,
)
from behavior_tasks.serve.recommend_world import (
    COMBINATION,
    METHODS,
    OWN,
    Bought,
    Sources,
    View,
    World,
    make_world,
    untouched_rate,
)
from behavior_tasks.verdict.bootstrap import Resampling

FALLBACK = OWN
"""Served where nothing can be compared: it knows what a shopper likes and goes on with what is popular lately."""
FEWEST_BUYERS = 30
"""Shoppers who bought, without whom nothing is compared."""
DRAWING = Resampling(resamples=1000, confidence=0.95, seed=7)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Who may get what."""

    bought: str
    """keep or drop what a shopper has bought before."""
    per_category: int
    """Most products of one category in a list; 0: any number."""

    @property
    def view(self) -> View:
        """What a list may hold, and so what it is measured on."""
        return "unbought" if self.bought == "drop" else "all"


@dataclass(frozen=True, kw_only=True)
class Exam:
    """Every method on what the shoppers of one past instant then bought."""

    moment: Moment
    view: View
    measured: dict[str, Measured]
    """Method → figures, the simplest first."""
    shoppers: int
    purchases: int
    """Different products that they bought, all shoppers added."""
    hits: int
    """Of these, how many are among the candidates: no ranking can find more."""


@dataclass(frozen=True, kw_only=True)
class Sat:
    """One exam with what a combination can be learned from."""

    exam: Exam
    world: World
    bought: Bought
    """Of some shoppers."""
    rate: float
    """What `untouched_rate` gives for that instant."""
    read: np.ndarray
    labels: np.ndarray

    def learn(self) -> Combination | None:
        """Return the combination that these days teach, or None when too little was bought."""
        return Combination.learn(self.read, self.labels) if self.exam.hits >= FEWEST_HITS else None


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is served, and what speaks for it."""

    method: str
    combination: Combination | None
    """Learned from the newest finished horizon, where the method is the combination."""
    rate: float
    """For `make_world` tonight."""
    sources: Sources
    """With the champions that could be measured."""
    chosen_on: Exam | None
    reported: Exam | None
    discovery: Exam | None
    """On the same days, products that a shopper had never touched."""
    dropped: Measured | None
    """On the same days, the method that is served, had it left out what was bought before."""
    repeats: float | None
    """Share of what was bought there that the shopper had bought before."""


def hold_study(sources: Sources, moment: Moment, rules: Rules, first: datetime) -> Study:
    """Compare every method on the past and choose one.

    Args:
        sources: the shop.
        moment: tonight's.
        rules: how lists are made.
        first: of the log, naive UTC; a past instant needs one horizon before it.
    """
    newest, earlier = moment.earlier(sources.horizon_days), moment.earlier(2 * sources.horizon_days)
    asks = _measurable(sources, moment)
    chosen_on = _sit(asks, earlier, rules, first)
    learned = chosen_on.learn() if chosen_on else None
    method = pick(chosen_on.exam.measured) if chosen_on else FALLBACK
    reported = _sit(asks, newest, rules, first, rate=chosen_on.rate if chosen_on else 0.0, combination=learned)
    newest_sat = reported or chosen_on
    study = Study(
        method=method,
        combination=((reported.learn() if reported else None) or learned) if method == COMBINATION else None,
        rate=newest_sat.rate if newest_sat else 0.0,
        sources=asks,
        chosen_on=chosen_on.exam if chosen_on else None,
        reported=reported.exam if reported else None,
        discovery=None,
        dropped=None,
        repeats=None,
    )
    if reported is None:
        return study
    log, bought = reported.world.log, reported.bought
    dropped = examine(reported.world, bought, rules, combination=learned, view="unbought", of="all").exam
    unseen = bought.of(log, "untouched")
    discovery = None
    if len(np.unique(unseen.who)) >= FEWEST_BUYERS:
        discovery = examine(reported.world, bought, rules, combination=learned, view="untouched").exam
    return replace(
        study,
        discovery=discovery,
        dropped=dropped.measured.get(method),
        repeats=1 - len(bought.of(log, "unbought").who) / max(1, len(bought.who)),
    )


def _measurable(sources: Sources, moment: Moment) -> Sources:
    """Leave out champions that learned from the newest finished horizon: nothing could be told of them."""
    reading, products = sources.reading, sources.products
    if reading is not None and backtest_moment(moment, reading[0]) is None:
        reading = None
    if products is not None and backtest_moment(moment, products) is None:
        products = None
    return replace(sources, reading=reading, products=products)


def _sit(
    sources: Sources,
    moment: Moment,
    rules: Rules,
    first: datetime,
    *,
    rate: float | None = None,
    combination: Combination | None = None,
) -> Sat | None:
    """Hold the exam of an instant; None where the log begins too late or too few bought.

    Without a rate it is the exam that chooses: it may know what then happened, and learns its combination itself.
    """
    if moment.cutoff - sources.horizon < first:
        return None
    log = sources.read(moment)
    every = Bought.after(sources, log)
    bought = every.some()
    who = np.unique(bought.who)
    if len(np.unique(bought.of(log, rules.view).who)) < FEWEST_BUYERS:
        return None
    then = untouched_rate(log, every)
    world = make_world(sources, moment, log, who, rate=then if rate is None else rate)
    found = examine(world, bought, rules, combination=combination, view=rules.view, learns=rate is None)
    return replace(found, rate=then)


def examine(
    world: World,
    bought: Bought,
    rules: Rules,
    *,
    combination: Combination | None,
    view: View,
    of: View | None = None,
    learns: bool = False,
) -> Sat:
    """Measure every method's lists against what shoppers then bought.

    Args:
        world: the instant's.
        bought: what they then bought.
        rules: how lists are made.
        combination: learned at an earlier instant; None: there is none.
        view: what lists may hold.
        of: what of `bought` counts; None: the same.
        learns: learn a combination here; every shopper is then ranked by one that was learned from others.
    """
    log = world.log
    who, targets = bought.of(log, of or view).by_shopper()
    candidates = gather(log, who, world.methods, world.allowed(view))
    read, labels = facts(log, candidates), are_bought(candidates, targets, len(log.products))
    scores = dict(candidates.scores)
    if combination is not None:
        scores[COMBINATION] = combination.score(read)
    elif learns and labels.sum() >= FEWEST_HITS:
        scores[COMBINATION] = unseen_scores(candidates, read, labels)
    exam = Exam(
        moment=world.moment,
        view=view,
        measured=_measure(world, candidates, scores, targets, rules),
        shoppers=len(who),
        purchases=sum(map(len, targets)),
        hits=int(labels.sum()),
    )
    return Sat(exam=exam, world=world, bought=bought, rate=0.0, read=read, labels=labels)


def _measure(
    world: World,
    candidates: Candidates,
    scores: Mapping[str, np.ndarray],
    targets: list[np.ndarray],
    rules: Rules,
) -> dict[str, Measured]:
    log = world.log
    reach = log.count_shoppers(np.ones(len(log.who), dtype=bool)) / max(1, len(log.shoppers))
    told = {}
    for name in METHODS:
        if name in scores:
            lists = candidates.lists(scores[name], 10, category=log.category, per_category=rules.per_category)
            told[name] = measure_lists(lists, targets, reach, log.recent > 0)
    return told


def pick(measured: Mapping[str, Measured]) -> str:
    """Return the method to serve: the simplest that the best is not shown to beat."""
    return choose({name: measured[name] for name in METHODS if name in measured}, DRAWING)
