"""The baselines: features and labels in, three ordinary predictions for validation and test out.

The share of buyers, a logistic regression and gradient boosting, on the same examples as the language model.
They are fitted on train alone; validation's labels choose their thresholds and test's labels are never read. Where the
language model is to learn from boosting too, boosting's out-of-fold predictions of train come out beside them.
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
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_files, combine_hashes, connect, hash_rows, quote, write_parquet
from behavior_tasks.base.timeline import Split
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


def baselines_stage(job: Job) -> Output:
    """Fit the baselines on train and write their predictions for validation and test.

    Writes `predictions.parquet`: example, split, prior, logistic, boosting; rows in the order of the features. Of unit
    shopper, with `train.distillation`, also `teacher.parquet`: example and boosting of each train example, out of fold.

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
        predictions = predict_baselines(examples, names, categorical, seed=job.config.train.seed)
        # One product's purchases are too few and too strange for trees to say who made them: labels teach more.
        teaches = job.config.train.distillation > 0 and features.facts["unit"] == "shopper"
        teacher = teach(examples, names, categorical, seed=job.config.train.seed) if teaches else None
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
    labels = examples.loc[examples["split"] == "validation", "label"].to_numpy()
    thresholds = {
        name: choose_threshold(labels, predictions.loc[on_validation, name].to_numpy(), job.config.decision).threshold
        for name in NAMES
    }
    rows = Rows(
        unit_in="examples",
        unit_out="examples",
        rows_in=len(examples),
        rows_out=len(predictions),
        removed={"train": len(examples) - len(predictions)},
    )
    return Output(rows=rows, content_hash=combine_hashes(hashes), facts={"thresholds": thresholds})


def read_examples(folder: Path, names: Sequence[str]) -> pd.DataFrame:
    """Return all buckets' examples, in bucket order, with the named features."""
    columns = ", ".join(["example", "shopper", "split", "label", "weight", *(f'"{name}"' for name in names)])
    connection = connect()
    tables = [
        connection.execute(f"SELECT {columns} FROM read_parquet({quote(file)})").df() for file in bucket_files(folder)
    ]
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def predict_baselines(
    examples: pd.DataFrame, names: Sequence[str], categorical: Sequence[str], *, seed: int
) -> pd.DataFrame:
    """Fit every baseline on the train examples and predict the others.

    Args:
        examples: example, shopper, split, label, weight and the features, in any number.
        names: feature columns; null or NaN means undefined.
        categorical: those of them that hold words.
        seed: chooses the shoppers held out to find the number of boosting rounds.

    Returns:
        example, split and a probability column per baseline, for validation and test, in the order given.
    """
    numeric = [name for name in names if name not in categorical]
    table = _feature_table(examples, names, categorical)
    in_train = (examples["split"] == "train").to_numpy()
    fitted, asked = table[in_train], table[~in_train]
    train = _train_labels(examples[in_train])
    logistic = make_logistic(fitted, numeric, categorical)
    logistic.fit(fitted, train.labels, logisticregression__sample_weight=train.weights)
    boosting = fit_boosting(fitted, train, numeric, categorical, seed=seed)
    answer = examples.loc[~in_train, ["example", "split"]].reset_index(drop=True)
    answer["prior"] = float(np.average(train.labels, weights=train.weights))
    answer["logistic"] = logistic.predict_proba(asked)[:, 1]
    answer["boosting"] = boosting.predict_proba(asked)[:, 1]
    return answer


def teach(examples: pd.DataFrame, names: Sequence[str], categorical: Sequence[str], *, seed: int) -> pd.DataFrame:
    """Return what boosting says of each train example when it has not seen the example's shopper.

    Such predictions are softer than labels and carry what the features say, without the noise of a single outcome:
    "knowledge distillation" (Hinton, Vinyals and Dean, 2015) with a teacher that never saw the pupil's labels.

    Args:
        examples: as for `predict_baselines`.
        names: feature columns.
        categorical: those of them that hold words.
        seed: as for `predict_baselines`.

    Returns:
        example and boosting (probability), one row a train example, in the order given. Where there are too few
        shoppers or buyers to set some aside, the probability is the label.
    """
    numeric = [name for name in names if name not in categorical]
    in_train = (examples["split"] == "train").to_numpy()
    table = _feature_table(examples, names, categorical)[in_train].reset_index(drop=True)
    train = _train_labels(examples[in_train])
    answer = train.labels.astype(np.float64)
    if len(np.unique(train.shoppers)) >= TEACHER_FOLDS:
        for kept, held in GroupKFold(TEACHER_FOLDS, shuffle=True, random_state=seed).split(
            table, groups=train.shoppers
        ):
            part = TrainLabels(labels=train.labels[kept], weights=train.weights[kept], shoppers=train.shoppers[kept])
            if len(np.unique(part.labels)) == 2:
                boosting = fit_boosting(table.iloc[kept], part, numeric, categorical, seed=seed, rounds=TEACHER_ROUNDS)
                answer[held] = boosting.predict_proba(table.iloc[held])[:, 1]
    return pd.DataFrame({"example": examples.loc[in_train, "example"].to_numpy(), "boosting": answer})


def _feature_table(examples: pd.DataFrame, names: Sequence[str], categorical: Sequence[str]) -> pd.DataFrame:
    """Return the features alone, numbers as floats, with one kind of missing word wherever they came from."""
    table = examples[list(names)].astype({name: "float64" for name in names if name not in categorical})
    table = table.astype(dict.fromkeys(categorical, "object"))
    table[list(categorical)] = table[list(categorical)].where(table[list(categorical)].notna(), None)
    return table


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
    values = np.asarray(columns.fit_transform(fitted), dtype=np.float64)
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
