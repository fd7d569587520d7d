"""Two versions or runs side by side: two words in; the metrics, settings and data in which they differ out.

What a run left in the state folder comes first, what MLflow has of it second. The one thing to know: metrics compare
only when both were measured on the same test examples, by their hash; then F1 and AP differ by a paired bootstrap.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from behavior_tasks.base.config import Config, GateConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.model.formats import BOOSTING, LANGUAGE_MODEL, measured_as
from behavior_tasks.pipeline.provenance import flat_settings
from behavior_tasks.pipeline.publish import dataset_hashes, flat_metrics
from behavior_tasks.pipeline.runs import Run
from behavior_tasks.registry.aliases import NAMES as ALIASES
from behavior_tasks.registry.lookup import Logged, Version, find_logged, find_registered
from behavior_tasks.verdict.metrics import (
    Difference,
    Resampling,
    Scored,
    average_precision_difference,
    f1_difference,
)


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two."""

    label: str
    run_id: str
    version: str | None
    kind: str
    metrics: Mapping[str, float]
    settings: Mapping[str, str]
    data: Mapping[str, str]
    test_hash: str | None
    scores: pd.DataFrame | None = field(default=None, repr=False)
    """example, shopper, label, probability; None when the predictions are not in the state folder."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing in which they differ; None where a side does not have it."""

    name: str
    first: float | str | None
    second: float | str | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two sides, and only what differs."""

    first: Side
    second: Side
    not_comparable: str | None
    """Why their metrics say nothing about which is better; None: they do."""
    metrics: tuple[Row, ...]
    settings: tuple[Row, ...]
    data: tuple[Row, ...]
    differences: Mapping[str, Difference]
    """F1 and average precision, second minus first; empty where predictions are missing or test sets differ."""


def compare(
    home: Home, config: Config, first: str, second: str, *, kinds: tuple[str, str] = (LANGUAGE_MODEL, LANGUAGE_MODEL)
) -> Comparison:
    """Return in what two versions or runs differ.

    Args:
        home: the state folder.
        config: names the experiment and the registered model; its gate settings draw the bootstrap.
        first: a version's number, an alias, a run's id or unique name, or MLflow's id of a run.
        second: likewise.
        kinds: which model of a run is meant, where the word names a run; MLflow is not asked about one that is here.

    Raises:
        UserError: when a word names nothing or several runs, or a run was never measured.
    """
    one, other = (_side(home, config, word, kind) for word, kind in zip((first, second), kinds, strict=True))
    problem = _not_comparable(one, other)
    return Comparison(
        first=one,
        second=other,
        not_comparable=problem,
        metrics=_rows(one.metrics, other.metrics),
        settings=_rows(one.settings, other.settings),
        data=_rows(one.data, other.data),
        differences={} if problem else _differences(one, other, config.gate),
    )


def _not_comparable(one: Side, other: Side) -> str | None:
    if one.test_hash is None or other.test_hash is None:
        return "it is not known on which test examples one of them was measured"
    if one.test_hash != other.test_hash:
        return f"they were measured on different test examples ({one.test_hash[:8]} and {other.test_hash[:8]})"
    return None


def _rows(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Row, ...]:
    names = [*first, *(name for name in second if name not in first)]
    told = (Row(name=name, first=first.get(name), second=second.get(name)) for name in names)
    return tuple(row for row in told if row.first != row.second)


def _side(home: Home, config: Config, word: str, kind: str) -> Side:
    version = find_registered(home, config, word)
    run_id = version.run_id if version is not None else _run_id(home, config, word)
    if run_id is None:
        raise UserError(
            f"No version has the alias {word}." if word in ALIASES else f"{word} names no version and no run.",
            expected="a version's number, champion, previous or challenger, a run's id, or the name of one run",
            next_step="`behavior status` lists runs, `behavior history` versions",
        )
    run = _open(home, run_id)
    side = _from_folder(run, word, version, kind) if run is not None else None
    if side is None:
        logged = find_logged(home, config, run_id)
        side = _from_mlflow(logged, word, version, kind) if logged is not None else None
    if side is None:
        raise UserError(
            f"{word} can't be compared: its run {run_id} was not measured, or what it left is gone.",
            expected="a run that reached its evaluation, in the state folder or in MLflow",
            next_step="`behavior status` says how far each run came",
        )
    return side


def _run_id(home: Home, config: Config, word: str) -> str | None:
    """Return the id of the run that a word names: by its id, its name, or MLflow's id."""
    if _open(home, word) is not None:
        return word
    runs = [Run(home, file.parent.name) for file in sorted(home.runs.glob("*/run.json"))]
    named = [run.record.run_id for run in runs if run.record.name == word]
    if len(named) > 1:
        raise UserError(
            f"{len(named)} runs are called {word}.",
            found=", ".join(named),
            next_step="name one of them by its id",
        )
    if named:
        return named[0]
    logged = find_logged(home, config, word)
    return None if logged is None else logged.run_id


def _open(home: Home, run_id: str) -> Run | None:
    if "/" in run_id or not (home.runs / run_id / "run.json").is_file():
        return None
    return Run(home, run_id)


def _from_folder(run: Run, word: str, version: Version | None, kind: str) -> Side | None:
    """Return what the state folder has of a run; None when its evaluation is not there (any more)."""
    try:
        evaluated = run.artifact("evaluate")
    except UserError:
        evaluated = None
    if evaluated is None:
        return None
    measured = json.loads((evaluated.path / "metrics.json").read_bytes())
    kind = version.kind if version is not None else kind
    scores = pd.read_parquet(evaluated.path / "predictions.parquet")
    column = measured_as(kind)
    scores = scores[["example", "shopper", "label", column]].rename(columns={column: "probability"})
    record = run.record
    counts = {f"test {name}": str(measured[name]) for name in ("examples", "buyers")}
    return Side(
        label=_label(word, version, record.name),
        run_id=record.run_id,
        version=version.number if version is not None else None,
        kind=kind,
        metrics=_metrics(flat_metrics(measured), kind),
        settings=flat_settings(record.config),
        data={"log": record.input or "simulated shop", **dataset_hashes(run), **counts},
        test_hash=measured["test_hash"],
        scores=scores,
    )


def _from_mlflow(logged: Logged, word: str, version: Version | None, kind: str) -> Side | None:
    kind = version.kind if version is not None else kind
    metrics = _metrics(logged.metrics, kind)
    if not metrics:
        return None
    hashes = {key.removeprefix("dataset."): v for key, v in logged.tags.items() if key.startswith("dataset.")}
    return Side(
        label=_label(word, version, logged.name),
        run_id=logged.run_id,
        version=version.number if version is not None else None,
        kind=kind,
        metrics=metrics,
        settings=logged.params,
        data={"log": logged.tags.get("log", "unknown"), **hashes},
        test_hash=logged.tags.get("test_hash"),
    )


def _label(word: str, version: Version | None, name: str) -> str:
    if version is None:
        return name if name == word else f"{word} · {name}"
    aliases = f" ({', '.join(version.aliases)})" if version.aliases else ""
    return f"version {version.number}{aliases} · {name}"


def _metrics(flat: Mapping[str, float], kind: str) -> dict[str, float]:
    """Return one model's test metrics under their bare names, e.g. `f1`."""
    prefix = "boosting_test_" if kind == BOOSTING else "test_"
    return {name.removeprefix(prefix): value for name, value in flat.items() if name.startswith(prefix)}


def _differences(one: Side, other: Side, gate: GateConfig) -> dict[str, Difference]:
    if one.scores is None or other.scores is None:
        return {}
    both = one.scores.merge(other.scores[["example", "probability"]], on="example", suffixes=("_1", "_2"))
    labels, shoppers = both["label"].to_numpy(), both["shopper"].to_numpy()
    first, second = (both[f"probability_{n}"].to_numpy(dtype=float) for n in (1, 2))
    drawn = Resampling(resamples=gate.bootstrap, confidence=gate.confidence, seed=gate.seed)
    before = Scored(probabilities=first, threshold=one.metrics["threshold"])
    after = Scored(probabilities=second, threshold=other.metrics["threshold"])
    return {
        "f1": f1_difference(labels, after, before, shoppers, drawn),
        "average_precision": average_precision_difference(labels, second, first, shoppers, drawn),
    }
