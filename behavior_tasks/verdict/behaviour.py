"""Behavioural tests: does the model do what anybody would expect of it, whatever its metrics say?

In come a model and the test examples; out come the figures of three kinds of test (Ribeiro et al. 2020, "Beyond
accuracy: behavioral testing of NLP models with CheckList"): invariance, direction and minimum functionality. The one
thing to know: they are metrics, so a test that fails stops nothing; what says nothing of a model or a log is None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from behavior_tasks.base.stage import Job
from behavior_tasks.model.decision import Decision
from behavior_tasks.model.predict import Predictions
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.verdict.probes import Plain, Probes, choose_sample, feature_settings, make_probes

MOST_FLIPS = 0.05
"""Share of decisions that may flip when products change names."""
LOOKS = ("browse", "click", "favourite", "add_to_cart")
"""What counts as looking at a product, the lightest first."""
CART, BUY = "add_to_cart", "purchase"
DAYS = 14
"""Most days of a made-up habit."""
LONG_AGO = 0.8
"""How far back a made-up single event lies, as a share of the days that the history can hold."""
SHORTEST_DAYS = 3
"""A log with less history tells nobody what was long ago."""
NO_INVARIANCE = {"examples": 0, "mean_change": None, "largest_change": None, "flips": None}
NO_DIRECTION = {"examples": 0, "mean_change": None, "dropped": None}
"""The figures of a test that says nothing."""


class Answering(Protocol):
    """What is asked of a model: the parts of n texts and n rows of features in, n probabilities out."""

    @property
    def folder(self) -> Path:
        """The model folder; with `text.json` when the model reads texts."""
        ...

    @property
    def decision(self) -> Decision:
        """Its threshold."""
        ...

    def score_parts(self, parts: list[list[str]], table: pd.DataFrame, /) -> Predictions:
        """Return what the model says; parts are empty when it reads no texts."""
        ...


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two made-up shoppers, of whom the first is plainly the likelier buyer."""

    name: str
    likelier: tuple[tuple[int, str], ...]
    """Days before the cutoff, and action."""
    other: tuple[tuple[int, str], ...]


def test_model(job: Job, scorer: Answering, examples: Sequence[str]) -> dict[str, Any]:
    """Test a model.

    Args:
        job: the evaluation, whose inputs hold `features` and `clean`.
        scorer: the model, ready.
        examples: ids of all test examples.

    Returns:
        `examples` (how many were sampled) and, for each test, its figures, `passed` (None: it says nothing here) and
        `words`. `invariance`: `examples` (texts that changed), `mean_change`, `largest_change` (of the probability,
        without sign), `flips` (share of decisions). `direction`: `examples`, `mean_change`, `dropped` (share).
        `minimum_functionality`: `pairs`, `right`, `cases`.
    """
    sample = choose_sample(examples)
    actions = [action for action, count in job.inputs["clean"].facts["actions"].items() if count]
    pairs = make_pairs(actions, _history_days(job))
    file = scorer.folder / "text.json"
    settings = TextSettings.load(file) if file.is_file() else None
    if not sample:
        nothing = "there is no test example"
        return {
            "examples": 0,
            "invariance": _outcome(NO_INVARIANCE, nothing),
            "direction": _outcome(NO_DIRECTION, nothing),
            "minimum_functionality": _functionality([], nothing),
        }
    plain = [
        Plain(name=f"{which} {place}", events=getattr(pair, which))
        for place, pair in enumerate(pairs)
        for which in ("likelier", "other")
    ]
    probes = make_probes(job, sample, settings, plain)
    asked = _ask(scorer, probes)
    return {
        "examples": len(sample),
        "invariance": _test_invariance(asked, probes, scorer.decision.threshold),
        "direction": _test_direction(asked, CART in actions),
        "minimum_functionality": _test_functionality(asked["plain"], pairs),
    }


def make_pairs(actions: Sequence[str], days: int) -> list[Pair]:
    """Return the pairs that a log can tell of: with the actions that it knows, within so many days of history."""
    look = next((action for action in LOOKS if action in actions), None)
    long_ago = int(days * LONG_AGO)
    if long_ago < SHORTEST_DAYS:
        return []
    often = range(1, min(DAYS, long_ago) + 1)
    daily = tuple((day, BUY) for day in often)
    pairs = [
        Pair(name="bought every day, or once long ago", likelier=daily, other=((long_ago, BUY),)),
        Pair(name="bought yesterday, or long ago", likelier=((1, BUY),), other=((long_ago, BUY),)),
    ]
    if look is not None:
        looked = tuple((day, look) for day in often)
        three = range(1, SHORTEST_DAYS + 1)
        pairs += [
            Pair(name="bought every day, or looked once long ago", likelier=daily, other=((long_ago, look),)),
            Pair(name="looked every day, or once long ago", likelier=looked, other=((long_ago, look),)),
            Pair(
                name="bought on each of three days, or only looked on them",
                likelier=tuple((day, BUY) for day in three),
                other=tuple((day, look) for day in three),
            ),
        ]
    if look is not None and look != CART and CART in actions:
        name = "put a product into the cart today, or only looked at it"
        pairs.append(Pair(name=name, likelier=((0, CART),), other=((0, look),)))
    return pairs


def _history_days(job: Job) -> int:
    """Days of history that a test example can have: the lookback, or what the log has before its last label window."""
    span = pd.Timestamp(job.inputs["clean"].facts["last"]) - pd.Timestamp(job.inputs["clean"].facts["first"])
    asked = feature_settings(job)
    return min(asked.lookback_days, span.days - asked.horizon_days)


def _ask(scorer: Answering, probes: Probes) -> Mapping[str, pd.Series]:
    """Return the probabilities of all probes, by kind; asked together, since batches of a kind would be small."""
    exchanged = probes.sample.assign(parts=probes.exchanged) if len(probes.exchanged) else probes.sample.iloc[:0]
    tables = {"sample": probes.sample, "exchanged": exchanged, "carts": probes.carts, "plain": probes.plain}
    everything = pd.concat(tables.values(), keys=tables.keys())
    answers = scorer.score_parts(list(everything["parts"]), everything.drop(columns="parts"))
    found = pd.Series(answers.probability, index=everything.index)
    return {name: found.loc[name] if len(table) else pd.Series(dtype=float) for name, table in tables.items()}


def _test_invariance(asked: Mapping[str, pd.Series], probes: Probes, threshold: float) -> dict[str, Any]:
    if not len(probes.exchanged):
        return _outcome(NO_INVARIANCE, "the model reads no names of products")
    other = [probes.sample["parts"][example] != probes.exchanged[example] for example in probes.sample.index]
    if not any(other):
        return _outcome(NO_INVARIANCE, "no text of the sample names two products that could change names")
    before, after = asked["sample"][other], asked["exchanged"][other]
    change = (after - before).abs()
    flips = float(((before >= threshold) != (after >= threshold)).mean())
    words = (
        f"when the products of {len(change):,} texts change names, the probability moves by {change.mean():.4f} on "
        f"average, by {change.max():.4f} at most, and {flips:.1%} of the decisions flip (allowed: {MOST_FLIPS:.0%})"
    )
    figures = {
        "examples": len(change),
        "mean_change": float(change.mean()),
        "largest_change": float(change.max()),
        "flips": flips,
    }
    return _outcome(figures, words, flips <= MOST_FLIPS)


def _test_direction(asked: Mapping[str, pd.Series], has_carts: bool) -> dict[str, Any]:
    if not has_carts:
        return _outcome(NO_DIRECTION, "the log has no carts")
    if asked["carts"].empty:
        return _outcome(NO_DIRECTION, "no shopper of the sample has touched a product")
    change = asked["carts"] - asked["sample"][asked["carts"].index]
    mean, dropped = float(change.mean()), float((change < 0).mean())
    words = (
        f"one more product in the cart today moves the probability of {len(change):,} examples by {_signed(mean)} on "
        f"average (it should not fall); it fell for {dropped:.1%} of them"
    )
    return _outcome({"examples": len(change), "mean_change": mean, "dropped": dropped}, words, mean >= 0)


def _test_functionality(plain: pd.Series, pairs: Sequence[Pair]) -> dict[str, Any]:
    if not pairs:
        return _functionality([], "the log is too short to tell what was long ago")
    if plain.empty:
        return _functionality([], "no shopper of the sample has touched a product")
    cases = []
    for place, pair in enumerate(pairs):
        likelier, other = float(plain[f"likelier {place}"]), float(plain[f"other {place}"])
        cases.append({"name": pair.name, "likelier": likelier, "other": other, "right": likelier > other})
    wrong = [str(case["name"]) for case in cases if not case["right"]]
    right = len(cases) - len(wrong)
    words = f"of {len(cases)} pairs of made-up shoppers, the plainly likelier buyer scores higher in {right}"
    return _functionality(cases, words + (f"; not where one {'; '.join(wrong)}" if wrong else ""))


def _outcome(figures: Mapping[str, Any], words: str, passed: bool | None = None) -> dict[str, Any]:
    return {**figures, "passed": passed, "words": words}


def _functionality(cases: list[dict[str, Any]], words: str) -> dict[str, Any]:
    right = sum(bool(case["right"]) for case in cases)
    passed = right == len(cases) if cases else None
    return _outcome({"pairs": len(cases), "right": right, "cases": cases}, words, passed)


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")
