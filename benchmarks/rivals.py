"""The rivals that only a benchmark needs: examples with features in, probabilities and expected amounts out.

Recency alone, LightGBM tuned by Optuna, and boosting in two parts for amounts. All are fitted on train; LightGBM's
settings are chosen on held-out train shoppers, so validation and test stay unseen by every one of them.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import optuna
import pandas as pd
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold

RECENCY = "recency_days"
PLACE = "this_place"
"""What comes closest to recency where an example is a product; both are 0 or 1 for what was touched last."""
FOLDS = 3
TUNING_EXAMPLES = 20_000
"""Settings are chosen on the examples of as many shoppers as give about this many; the model is fitted on all."""
MOST_ROUNDS = 600
STOP_AFTER = 30
MORE_DATA = 1.1
"""More rounds than the folds stopped at, by this factor, because the model sees all of train."""


def feature_table(examples: pd.DataFrame, names: Sequence[str], categorical: Sequence[str]) -> pd.DataFrame:
    """Return the features as LightGBM reads them: numbers, and words as the categories known from train."""
    in_train = (examples["split"] == "train").to_numpy()
    columns = {}
    for name in names:
        if name in categorical:
            known = sorted(examples.loc[in_train, name].dropna().unique())
            columns[name] = pd.Series(pd.Categorical(examples[name], categories=known), index=examples.index)
        else:
            columns[name] = examples[name].astype("float64")
    return pd.DataFrame(columns)


def mean_one_weights(examples: pd.DataFrame) -> np.ndarray:
    """Return how many examples each stands for, of mean one over train, (n,)."""
    weights = examples["weight"].to_numpy(dtype=np.float64)
    return weights / weights[(examples["split"] == "train").to_numpy()].mean()


def recency_only(examples: pd.DataFrame) -> np.ndarray:
    """Return the probability of a purchase from how long ago the last event was, (n,): isotonic, falling."""
    name = PLACE if PLACE in examples else RECENCY
    days = examples[name].to_numpy(dtype=np.float64)
    in_train = (examples["split"] == "train").to_numpy()
    days = np.where(np.isnan(days), np.nanmax(days[in_train]), days)
    model = IsotonicRegression(increasing=False, out_of_bounds="clip", y_min=1e-4, y_max=1 - 1e-4)
    model.fit(
        days[in_train], examples["label"].to_numpy()[in_train], sample_weight=mean_one_weights(examples)[in_train]
    )
    return model.predict(days)


def tuned_settings(examples: pd.DataFrame, table: pd.DataFrame, *, trials: int, cache: Path) -> dict[str, Any]:
    """Return LightGBM's settings and number of rounds, from a file when they were chosen before.

    Args:
        examples: split, shopper, label, weight.
        table: their features (`feature_table`).
        trials: settings that Optuna tries (tree-structured Parzen estimator, seed 7).
        cache: JSON file that keeps the choice.
    """
    if cache.is_file():
        return json.loads(cache.read_bytes())
    train = _some_shoppers(examples[examples["split"] == "train"])
    values, labels, weights = table.loc[train.index], train["label"].to_numpy(), train["weight"].to_numpy(dtype=float)
    folds = list(GroupKFold(FOLDS).split(values, groups=train["shopper"]))

    def loss(trial: optuna.Trial) -> float:
        settings = _suggest(trial)
        losses, rounds = [], []
        for kept, held in folds:
            data = lightgbm.Dataset(values.iloc[kept], labels[kept], weight=weights[kept])
            valid = lightgbm.Dataset(values.iloc[held], labels[held], weight=weights[held], reference=data)
            stop = lightgbm.early_stopping(STOP_AFTER, verbose=False)
            model = lightgbm.train(_all(settings, seed=7), data, MOST_ROUNDS, valid_sets=[valid], callbacks=[stop])
            answers = model.predict(values.iloc[held], num_iteration=model.best_iteration)
            losses.append(log_loss(labels[held], answers, sample_weight=weights[held], labels=[0, 1]))
            rounds.append(model.best_iteration)
        trial.set_user_attr("rounds", max(1, round(float(np.mean(rounds)) * MORE_DATA)))
        return float(np.mean(losses))

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=7))
    study.optimize(loss, n_trials=trials)
    chosen = {**study.best_params, "rounds": study.best_trial.user_attrs["rounds"]}
    cache.write_text(json.dumps(chosen, indent=2) + "\n", encoding="utf-8")
    return chosen


def boost(
    examples: pd.DataFrame, table: pd.DataFrame, settings: Mapping[str, Any], *, seed: int, amounts: bool = False
) -> np.ndarray:
    """Fit LightGBM on train and predict every example, (n,).

    Args:
        examples: split, label, amount, weight.
        table: their features (`feature_table`).
        settings: what `tuned_settings` gave.
        seed: of the row and column samples.
        amounts: predict the mean amount of a buyer (two-part model's second part) instead of the probability.
    """
    chosen = (examples["split"] == "train").to_numpy(copy=True)
    target = examples["label"].to_numpy(dtype=np.float64)
    if amounts:
        paid = examples["amount"].to_numpy(dtype=np.float64)
        chosen &= np.nan_to_num(paid) > 0
        target = np.log(np.where(chosen, paid, 1.0))
    rest = {name: value for name, value in settings.items() if name != "rounds"}
    data = lightgbm.Dataset(table[chosen], target[chosen], weight=mean_one_weights(examples)[chosen])
    objective = "regression" if amounts else "binary"
    model = lightgbm.train(_all(rest, seed=seed, objective=objective), data, settings["rounds"])
    answers = np.asarray(model.predict(table))
    if not amounts:
        return answers
    # The mean of a lognormal, with the spread that train's residuals have.
    spread = float(np.var(target[chosen] - answers[chosen]))
    return np.exp(answers + spread / 2)


def _some_shoppers(train: pd.DataFrame) -> pd.DataFrame:
    """Return the examples of shoppers drawn so that about TUNING_EXAMPLES remain, or all."""
    if len(train) <= TUNING_EXAMPLES:
        return train
    shoppers = np.sort(train["shopper"].unique())
    count = max(2 * FOLDS, round(len(shoppers) * TUNING_EXAMPLES / len(train)))
    return train[train["shopper"].isin(np.random.default_rng(7).choice(shoppers, count, replace=False))]


def _suggest(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.1, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 4, 48, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 10, 200, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.2, 1.0),
        "bagging_fraction": trial.suggest_float("bagging_fraction", 0.5, 1.0),
        "lambda_l2": trial.suggest_float("lambda_l2", 0.01, 30.0, log=True),
    }


def _all(settings: Mapping[str, Any], *, seed: int, objective: str = "binary") -> dict[str, Any]:
    return {
        **settings,
        "objective": objective,
        "bagging_freq": 1,
        "seed": seed,
        # Sums depend on the number of threads.
        "num_threads": 1,
        "deterministic": True,
        "verbosity": -1,
    }
