"""`behavior show`: one example as a model sees it, with what it predicts and what moved it.

In come a run, a shopper and an instant; out come text, tokens, features, label, prediction and effects. The one thing
to know: features, text, tokens and prediction come from the artifacts, or from the functions that made them, so what
is shown is what the model was trained on and what it is asked when it scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from behavior_tasks.base.artifacts import ArtifactStore
from behavior_tasks.base.errors import UserError, nearest
from behavior_tasks.examples.feature_table import FEATURES, Feature
from behavior_tasks.model.decision import Decision, sigmoid
from behavior_tasks.model.explain import Effect, explain
from behavior_tasks.model.predict import Predictions, Scorer
from behavior_tasks.pipeline.runs import Run
from behavior_tasks.pipeline.show_find import (
    Moment,
    Shopper,
    choose_moment,
    find_shopper,
    moments_of,
    need_history,
)
from behavior_tasks.pipeline.show_rows import PARTS, find_rows
from behavior_tasks.registry import versions
from behavior_tasks.text.bands import quantile_numbers
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.text.trace import Trace, trace_tokens
from behavior_tasks.verdict.champion import require_readable

LOW, HIGH = 0.1, 0.9
"""Quantiles of the amount between which it lies in eight of ten cases."""
LISTED = 5
"""Products that an error names."""


@dataclass(frozen=True, kw_only=True)
class FeatureValue:
    """One feature of the example."""

    feature: Feature
    value: float | str | None
    """None: undefined."""
    quantile: int | None
    """Which of the quantiles of train it lies in, counted from 1; None when it is undefined or no word of the text."""
    quantiles: int | None
    """How many there are; None when it is no word of the text."""
    as_number: bool
    """Whether the model reads it as a number too."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One of the shopper's examples at the instant: of the unit shopper_product there is one a product."""

    product: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the model says."""

    probability: float
    """Calibrated."""
    uncalibrated: float
    decision: Decision
    expected_amount: float | None
    """None: the model has no amount head."""
    low: float | None
    high: float | None

    @property
    def buys(self) -> bool:
        """Whether a purchase is predicted."""
        return self.probability >= self.decision.threshold


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One example as a model sees it."""

    run_id: str
    model: str
    """Which one, in words."""
    unit: str
    shopper: Shopper
    product: str | None
    moment: Moment
    cutoffs: tuple[Moment, ...]
    """Those of the run."""
    horizon_days: int
    last: str
    """Instant of the log's last event, ISO, naive UTC."""
    label: int | None
    """1: bought; 0: did not; None: not known yet."""
    amount: float | None
    """What was bought for; None: not known."""
    trace: Trace
    max_tokens: int
    features: tuple[FeatureValue, ...]
    candidates: tuple[Candidate, ...]
    """The most probable first; empty for the unit shopper."""
    told: Told
    effects: tuple[Effect, ...]
    """The largest first."""


@dataclass(frozen=True, kw_only=True)
class _Model:
    scorer: Scorer
    words: str
    settings: TextSettings
    as_trained: bool
    """Whether the run's own texts are the ones that it reads."""


def show_example(
    run: Run,
    shopper: str,
    *,
    cutoff: str | None = None,
    product: str | None = None,
    champion: bool = False,
    occlude: bool = True,
) -> Shown:
    """Return one example of a run that is trained.

    Args:
        run: whose log, features and model are asked.
        shopper: pseudonym, or raw id, which is told nobody.
        cutoff: a date, one of the run's cutoffs or any other; None: the test cutoff.
        product: of the unit shopper_product; None: the one with the highest probability.
        champion: ask the registered champion instead of the model that the run trained.
        occlude: whether to measure what moved the prediction.

    Raises:
        UserError: when shopper, cutoff, product or model can't be had.
    """
    who, moment = find_shopper(run, shopper), choose_moment(run, cutoff)
    need_history(run, who, moment)
    unit = run.record.config.examples.unit
    _check_product(product, unit)
    model = _champion(run) if champion else _candidate(run)
    rows = _need_rows(run, who, moment, model)
    features = {feature.name: feature for feature in FEATURES if feature.name in rows.columns}
    names = [name for name, feature in features.items() if not feature.categorical]
    numbers = rows[names].astype(np.float64)
    candidates = _rank(model.scorer, rows, numbers) if unit != "shopper" else ()
    place = _choose(rows, candidates, product)
    row = rows.iloc[place]
    trace = trace_tokens(model.scorer.folder / "tokenizer", list(row[PARTS]), model.scorer.max_tokens)
    given = {name: float(numbers[name].iloc[place]) for name in names}
    found = explain(model.scorer, trace, given, occlude=occlude)
    return Shown(
        run_id=run.record.run_id,
        model=model.words,
        unit=unit,
        shopper=who,
        product=None if unit == "shopper" else str(row["product_id"]),
        moment=moment,
        cutoffs=tuple(moments_of(run)),
        horizon_days=run.record.config.examples.horizon_days,
        last=run.need("clean").facts["last"],
        label=int(row["label"]) if moment.known else None,
        amount=float(row["amount"]) if moment.known and pd.notna(row["amount"]) else None,
        trace=trace,
        max_tokens=model.scorer.max_tokens,
        features=_feature_values(row, features, model),
        candidates=candidates,
        told=_tell(found.prediction, model.scorer.decision),
        effects=found.effects,
    )


def _check_product(product: str | None, unit: str) -> None:
    if product is not None and unit != "shopper_product":
        raise UserError(
            "This run asks whether a shopper buys anything, not about one product.",
            found=f"--product {product}, unit {unit}",
            expected="a run with examples.unit=shopper_product",
            next_step="leave --product out",
        )


def _need_rows(run: Run, who: Shopper, moment: Moment, model: _Model) -> pd.DataFrame:
    rows = find_rows(run, who, moment, None if model.as_trained else model.settings)
    if rows.empty:
        raise UserError(
            f"The shopper {who.pseudonym} touched no product in the lookback before {moment.day}, "
            "so there is nothing to ask about.",
            next_step="choose a later --cutoff",
        )
    return rows


def _candidate(run: Run) -> _Model:
    bundle = run.need("train").path / "model"
    return _Model(
        scorer=Scorer.load(bundle, threads=run.record.config.train.threads),
        words="the one that this run trained",
        settings=TextSettings.load(bundle / "text.json"),
        as_trained=True,
    )


def _champion(run: Run) -> _Model:
    """Return the champion that is registered today.

    Raises:
        UserError: when there is none, its files are not here, or this run's features can't feed it.
    """
    config = run.record.config
    found = versions.champion(run.home, config)
    if found is None:
        raise UserError(
            f"No version of {config.registry.model_name} is champion yet.",
            expected="a model that the gate has let through",
            next_step="leave --champion out to see what this run's model says",
        )
    if found.model is None:
        raise UserError(
            f"The champion, version {found.version}, was not trained here, so its folder is not in the state folder.",
            next_step="leave --champion out to see what this run's model says",
        )
    bundle = ArtifactStore(run.home.artifacts).open(found.model).path / "model"
    settings, _ = require_readable(bundle, run.need("features"))
    same = found.model == run.need("train").uri
    words = f"the champion, version {found.version}" + (", which this run trained" if same else "")
    scorer = Scorer.load(bundle, threads=config.train.threads)
    return _Model(scorer=scorer, words=words, settings=settings, as_trained=same)


def _rank(scorer: Scorer, rows: pd.DataFrame, numbers: pd.DataFrame) -> tuple[Candidate, ...]:
    found = scorer.score_parts([list(parts) for parts in rows[PARTS]], numbers)
    candidates = [
        Candidate(product=str(product), probability=float(probability))
        for product, probability in zip(rows["product_id"], found.probability, strict=True)
    ]
    return tuple(sorted(candidates, key=lambda one: (-one.probability, one.product)))


def _choose(rows: pd.DataFrame, candidates: Sequence[Candidate], product: str | None) -> int:
    """Return the place of the row that is asked about.

    Raises:
        UserError: when the product is none that the shopper has touched.
    """
    if not candidates:
        return 0
    wanted = candidates[0].product if product is None else product
    places = np.flatnonzero((rows["product_id"] == wanted).to_numpy())
    if len(places):
        return int(places[0])
    known = [one.product for one in candidates]
    more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
    raise UserError(
        "The shopper has not touched that product in the lookback, so it is no candidate.",
        found=wanted,
        expected=f"one of {', '.join(known[:LISTED])}{more}",
        next_step=f"--product {nearest(wanted, known) or known[0]}",
    )


def _feature_values(row: pd.Series, features: Mapping[str, Feature], model: _Model) -> tuple[FeatureValue, ...]:
    read, bins = set(model.scorer.model.number_names), model.settings.bins
    values = []
    for name, feature in features.items():
        value = None if pd.isna(row[name]) else row[name] if feature.categorical else float(row[name])
        edges = bins.get(name)
        quantile = None
        if edges is not None and isinstance(value, float):
            quantile = int(quantile_numbers(edges, value))
        values.append(
            FeatureValue(
                feature=feature,
                value=value,
                quantile=quantile,
                quantiles=None if edges is None else len(edges) + 1,
                as_number=name in read,
            )
        )
    return tuple(values)


def _tell(found: Predictions, decision: Decision) -> Told:
    expected, low, high = found.expected_amount, found.quantile(LOW), found.quantile(HIGH)
    return Told(
        probability=float(found.probability[0]),
        uncalibrated=float(sigmoid(found.logit)[0]),
        decision=decision,
        expected_amount=None if expected is None else float(expected[0]),
        low=None if low is None else float(low[0]),
        high=None if high is None else float(high[0]),
    )
