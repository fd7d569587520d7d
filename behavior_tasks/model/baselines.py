"""The baselines: features and labels in, three ordinary predictions for validation and test out.

The share of buyers, a logistic regression and gradient boosting, on the same examples as the language model.
They are fitted on train alone; validation's labels choose their thresholds and test's labels are never read. Boosting
is kept as a model folder that could serve (`boosting_bundle`), and its predictions are what that folder says. Where
the language model is to learn from boosting too, its out-of-fold predictions of train come out beside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, GroupShuffleSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from behavior_tasks.base.artifacts import Output, Rows
from behavior_tasks.base.config import EngineConfig
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_files, combine_hashes, connect, hash_rows, quote, write_parquet
from behavior_tasks.base.timeline import Split
from behavior_tasks.model.boosting_bundle import (
    BoostingConfig,
    BoostingScorer,
    feature_table,
    pipeline_logits,
    save_boosting,
)
from behavior_tasks.model.calibration import fit_decision
from behavior_tasks.model.labels import check_labels
from behavior_tasks.model.skewness import SKEWED_ABOVE, signed_log
from behavior_tasks.model.threshold import choose_threshold

NAMES = ("prior", "logistic", "boosting")
MAX_CATEGORIES = 32
HELD_OUT = 0.15
MAX_ROUNDS = 400
TEACHER_FILE = "teacher.parquet"
TEACHER_FOLDS = 4
TEACHER_ROUNDS = 90
"""A teacher need not be the best booster: more rounds or a search for their number changed the pupil by nothing."""
WORTH_PROCESSES = 3000
"""Train examples from which on further processes are worth the seconds that they take to start."""
FALLBACK_ROUNDS = 60
"""Boosting rounds where train has too few shoppers of one kind to hold some out."""
BOOSTING = {"learning_rate": 0.05, "max_leaf_nodes": 15, "min_samples_leaf": 20, "l2_regularization": 1.0}


@dataclass(frozen=True, kw_only=True)
class TrainLabels:
    """What train's examples ended in, shape (n,) each."""

    labels: np.ndarray
    """0 or 1."""
    weights: np.ndarray
    """How many examples each stands for."""
    shoppers: np.ndarray
    """Whose example it is."""


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """The baselines, fitted on train."""

    prior: float
    """Share of buyers."""
    logistic: Pipeline
    boosting: Pipeline


def baselines_stage(job: Job) -> Output:
    """Fit the baselines on train and write their predictions for validation and test.

    Writes `predictions.parquet`: example, split, prior, logistic, boosting; rows in the order of the features; and
    boosting as `model/`. Of unit shopper, with `train.distillation`, also `teacher.parquet`: example and boosting of
    each train example, out of fold.

    Raises:
        UserError: when a split is empty, or train's or validation's examples all ended the same way.
    """
    features = job.inputs["features"]
    names: list[str] = features.facts["features"]
    categorical: list[str] = features.facts["categorical"]
    examples = read_examples(features.path / "examples", names)
    for split in get_args(Split):
        check_labels(examples.loc[examples["split"] == split, "label"].to_numpy(), split)
    # One thread: with more, the sums inside depend on the number of cores.
    with threadpool_limits(limits=1):
        fitted = fit_baselines(examples, names, categorical, seed=job.config.train.seed)
        # One product's purchases are too few and too strange for trees to say who made them: labels teach more.
        teaches = job.config.train.distillation > 0 and features.facts["unit"] == "shopper"
        teacher = (
            teach(examples, names, categorical, seed=job.config.train.seed, engine=job.config.engine)
            if teaches
            else None
        )
    asked = examples[examples["split"] != "train"]
    boosting = _keep_boosting(job, fitted.boosting, asked[asked["split"] == "validation"])
    predictions = predict_simple(fitted, asked, names, categorical)
    predictions["boosting"] = boosting.score(asked).probability
    connection = connect()
    connection.register("predictions", predictions)
    out = job.out / "predictions.parquet"
    write_parquet(connection, "SELECT * FROM predictions", out)
    hashes = [hash_rows(connection, out)]
    if teacher is not None:
        connection.register("teacher", teacher)
        write_parquet(connection, "SELECT * FROM teacher", job.out / TEACHER_FILE)
        hashes.append(hash_rows(connection, job.out / TEACHER_FILE))
    on_validation = predictions["split"].to_numpy() == "validation"
    labels = asked.loc[asked["split"] == "validation", "label"].to_numpy()
    thresholds = {
        name: choose_threshold(labels, predictions.loc[on_validation, name].to_numpy(), job.config.decision).threshold
        for name in ("prior", "logistic")
    }
    thresholds["boosting"] = boosting.decision.threshold
    rows = Rows(
        unit_in="examples",
        unit_out="examples",
        rows_in=len(examples),
        rows_out=len(predictions),
        removed={"train": len(examples) - len(predictions)},
    )
    return Output(rows=rows, content_hash=combine_hashes(hashes), facts={"thresholds": thresholds})


def _keep_boosting(job: Job, pipeline: Pipeline, validation: pd.DataFrame) -> BoostingScorer:
    """Write boosting as a model folder, with a decision from validation as the language model's, and open it again."""
    settings, read = job.config, pipeline.feature_names_in_.tolist()
    words = [name for name in job.inputs["features"].facts["categorical"] if name in read]
    config = BoostingConfig(
        unit=job.inputs["features"].facts["unit"],
        horizon_days=settings.examples.horizon_days,
        lookback_days=settings.examples.lookback_days,
        timezone=settings.source.timezone,
        numbers=tuple(name for name in read if name not in words),
        words=tuple(words),
        rounds=pipeline[-1].n_iter_,
    )
    decision = fit_decision(
        validation["label"].to_numpy(),
        pipeline_logits(pipeline, feature_table(validation, config.numbers, config.words)),
        validation["weight"].to_numpy(),
        calibration=settings.model.calibration,
        policy=settings.decision,
    )
    save_boosting(job.out / "model", pipeline, config, decision)
    return BoostingScorer.load(job.out / "model", threads=1)


def read_examples(folder: Path, names: Sequence[str]) -> pd.DataFrame:
    """Return all buckets' examples, in bucket order, with the named features."""
    columns = ", ".join(["example", "shopper", "split", "label", "weight", *(f'"{name}"' for name in names)])
    connection = connect()
    tables = [
        connection.execute(f"SELECT {columns} FROM read_parquet({quote(file)})").df() for file in bucket_files(folder)
    ]
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def fit_baselines(examples: pd.DataFrame, names: Sequence[str], categorical: Sequence[str], *, seed: int) -> Baselines:
    """Fit every baseline on the train examples.

    Args:
        examples: shopper, split, label, weight and the features, in any number.
        names: feature columns; null or NaN means undefined.
        categorical: those of them that hold words.
        seed: chooses the shoppers held out to find the number of boosting rounds.
    """
    numeric = [name for name in names if name not in categorical]
    in_train = examples[(examples["split"] == "train").to_numpy()]
    table, train = feature_table(in_train, numeric, categorical), _train_labels(in_train)
    logistic = make_logistic(table, numeric, categorical)
    logistic.fit(table, train.labels, logisticregression__sample_weight=train.weights)
    return Baselines(
        prior=float(np.average(train.labels, weights=train.weights)),
        logistic=logistic,
        boosting=fit_boosting(table, train, numeric, categorical, seed=seed),
    )


def predict_simple(
    fitted: Baselines, asked: pd.DataFrame, names: Sequence[str], categorical: Sequence[str]
) -> pd.DataFrame:
    """Return example, split, prior and logistic (probabilities), in the order given.

    Args:
        fitted: what `fit_baselines` gave.
        asked: example, split and the features.
        names: feature columns.
        categorical: those of them that hold words.
    """
    numeric = [name for name in names if name not in categorical]
    answer = asked[["example", "split"]].reset_index(drop=True)
    answer["prior"] = fitted.prior
    with threadpool_limits(limits=1):
        answer["logistic"] = fitted.logistic.predict_proba(feature_table(asked, numeric, categorical))[:, 1]
    return answer


@dataclass(frozen=True, kw_only=True)
class _Fold:
    """The train examples, and which of them one teacher learns from and which it is asked about."""

    table: pd.DataFrame
    train: TrainLabels
    kept: np.ndarray
    held: np.ndarray
    numeric: Sequence[str]
    categorical: Sequence[str]
    seed: int


def teach(
    examples: pd.DataFrame,
    names: Sequence[str],
    categorical: Sequence[str],
    *,
    seed: int,
    engine: EngineConfig | None = None,
) -> pd.DataFrame:
    """Return what boosting says of each train example when it has not seen the example's shopper.

    Such predictions are softer than labels and carry what the features say, without the noise of a single outcome:
    "knowledge distillation" (Hinton, Vinyals and Dean, 2015) with a teacher that never saw the pupil's labels.

    Args:
        examples: as for `fit_baselines`, with `example`.
        names: feature columns.
        categorical: those of them that hold words.
        seed: as for `fit_baselines`.
        engine: how many processes of this machine may work on the folds; None: this one alone.

    Returns:
        example and boosting (probability), one row a train example, in the order given. Where there are too few
        shoppers or buyers to set some aside, the probability is the label.
    """
    numeric = [name for name in names if name not in categorical]
    in_train = (examples["split"] == "train").to_numpy()
    table = feature_table(examples[in_train], numeric, categorical)
    train = _train_labels(examples[in_train])
    answer = train.labels.astype(np.float64)
    if len(np.unique(train.shoppers)) >= TEACHER_FOLDS:
        splitter = GroupKFold(TEACHER_FOLDS, shuffle=True, random_state=seed)
        folds = [
            _Fold(table=table, train=train, kept=kept, held=held, numeric=numeric, categorical=categorical, seed=seed)
            for kept, held in splitter.split(table, groups=train.shoppers)
        ]
        # Most of boosting is Python, which keeps one core busy whatever the number of threads.
        workers = 1 if engine is None or len(table) < WORTH_PROCESSES else engine.workers
        here = (engine or EngineConfig()).model_copy(update={"runner": "local", "workers": workers})
        for fold, told in zip(folds, run_buckets(_teach_fold, folds, engine=here, what="teacher"), strict=True):
            answer[fold.held] = told
    return pd.DataFrame({"example": examples.loc[in_train, "example"].to_numpy(), "boosting": answer})


def _teach_fold(fold: _Fold) -> np.ndarray:
    """Return what boosting says of the held-out examples; their labels where it has nothing to learn."""
    kept, train = fold.kept, fold.train
    part = TrainLabels(labels=train.labels[kept], weights=train.weights[kept], shoppers=train.shoppers[kept])
    if len(np.unique(part.labels)) < 2:
        return train.labels[fold.held].astype(np.float64)
    with threadpool_limits(limits=1):
        boosting = fit_boosting(
            fold.table.iloc[kept], part, fold.numeric, fold.categorical, seed=fold.seed, rounds=TEACHER_ROUNDS
        )
        return np.asarray(boosting.predict_proba(fold.table.iloc[fold.held])[:, 1], dtype=np.float64)


def _train_labels(train: pd.DataFrame) -> TrainLabels:
    """Return labels, shoppers and weights; the weights of mean one, so that a sample is regularised as few examples."""
    weights = train["weight"].to_numpy(dtype=np.float64)
    return TrainLabels(
        labels=train["label"].to_numpy(), weights=weights / weights.mean(), shoppers=train["shopper"].to_numpy()
    )


def make_logistic(fitted: pd.DataFrame, numeric: Sequence[str], categorical: Sequence[str]) -> Pipeline:
    """Return an unfitted logistic regression: medians with missing indicators, logarithms, standardised, one-hot."""
    skewness = fitted[list(numeric)].skew()
    skewed = [name for name in numeric if abs(skewness[name]) > SKEWED_ABOVE]
    even = [name for name in numeric if name not in skewed]

    def impute() -> SimpleImputer:
        return SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)

    columns = ColumnTransformer(
        [
            ("skewed", make_pipeline(FunctionTransformer(signed_log), impute(), StandardScaler()), skewed),
            ("even", make_pipeline(impute(), StandardScaler()), even),
            ("words", OneHotEncoder(handle_unknown="ignore", max_categories=MAX_CATEGORIES), list(categorical)),
        ],
        sparse_threshold=0.0,
    )
    return make_pipeline(columns, LogisticRegression(C=1.0, max_iter=2000))


def fit_boosting(
    fitted: pd.DataFrame,
    train: TrainLabels,
    numeric: Sequence[str],
    categorical: Sequence[str],
    *,
    seed: int,
    rounds: int | None = None,
) -> Pipeline:
    """Return gradient boosting fitted on all of train, with the number of rounds found on held-out shoppers.

    A shopper has an example per cutoff; holding out whole shoppers keeps one's examples on one side.
    """
    words = OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=np.nan,
        encoded_missing_value=np.nan,
        max_categories=MAX_CATEGORIES,
    )
    # The booster can't bin a feature that is defined nowhere, and has nothing to learn from it.
    known_words = [name for name in categorical if fitted[name].notna().any()]
    known_numbers = [name for name in numeric if fitted[name].notna().any()]
    columns = ColumnTransformer([("words", words, known_words), ("numbers", "passthrough", known_numbers)])
    values = np.asarray(columns.fit_transform(fitted[[*known_words, *known_numbers]]), dtype=np.float64)
    is_word = np.arange(values.shape[1]) < len(known_words)
    rounds = rounds or _count_rounds(values, train, is_word, seed=seed)
    model = HistGradientBoostingClassifier(
        max_iter=rounds, early_stopping=False, categorical_features=is_word, random_state=seed, **BOOSTING
    ).fit(values, train.labels, sample_weight=train.weights)
    return Pipeline([("columns", columns), ("model", model)])


def _count_rounds(values: np.ndarray, train: TrainLabels, is_word: np.ndarray, *, seed: int) -> int:
    labels, weights, shoppers = train.labels, train.weights, train.shoppers
    if len(np.unique(shoppers)) < 2:
        return FALLBACK_ROUNDS
    splitter = GroupShuffleSplit(n_splits=1, test_size=HELD_OUT, random_state=seed)
    kept, held = next(splitter.split(values, labels, shoppers))
    if len(np.unique(labels[kept])) < 2 or len(np.unique(labels[held])) < 2:
        return FALLBACK_ROUNDS
    defined = ~np.isnan(values[kept]).all(axis=0)
    values, is_word = values[:, defined], is_word[defined]
    model = HistGradientBoostingClassifier(
        max_iter=MAX_ROUNDS,
        early_stopping=True,
        n_iter_no_change=20,
        scoring="loss",
        categorical_features=is_word,
        random_state=seed,
        **BOOSTING,
    ).fit(
        values[kept],
        labels[kept],
        sample_weight=weights[kept],
        X_val=values[held],
        y_val=labels[held],
        sample_weight_val=weights[held],
    )
    losses = model.validation_score_
    # The first entry is the score before any round.
    return max(1, int(np.argmax(losses)))
