"""Measure the language model beside its rivals on identical examples and print the result as Markdown.

    python benchmarks/quality.py --data simulated                               9,000 shoppers, about 1M events
    python benchmarks/quality.py --data uci --input-folder data --seeds 3
    python benchmarks/quality.py --data product-taobao --input-folder data --split test

It drives the pipeline's own stages, up to `train` and `baselines`, and asks the trained bundle through `predict`; tuned
LightGBM, recency alone and boosting in two parts for amounts are fitted beside them (`rivals.py`; it needs
`pip install -e ".[benchmarks]"`). The one thing to know: figures are on validation unless `--split test` is given, and
whoever changes a model after looking at test has spent it.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from real_logs import real_log
from rivals import boost, feature_table, recency_only, tuned_settings
from sklearn.metrics import log_loss

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.base.tables import bucket_files, connect, parquet_sql
from behavior_tasks.cli.options import parse_settings
from behavior_tasks.model.baselines import NAMES as BASELINES
from behavior_tasks.model.baselines import read_examples
from behavior_tasks.model.predict import predict
from behavior_tasks.model.predict import threshold as bundle_threshold
from behavior_tasks.model.threshold import best_f1_threshold
from behavior_tasks.pipeline import Run, StageRecord, open_run, run_stages, start_run
from behavior_tasks.text.tokens import TokenSet
from behavior_tasks.verdict.amounts import measure_amounts
from behavior_tasks.verdict.metrics import (
    Resampling,
    Scored,
    average_precision_difference,
    measure,
)

DAY = date(2026, 11, 25)
BEYOND = ("report", "champion", "evaluate", "audit", "package", "gate", "model_report")
"""Stages that these figures do not need."""
TEXT, LIGHTGBM, BLEND = "text model", "LightGBM, tuned", "blend"
SHOWN = ("average_precision", "roc_auc", "f1", "log_loss", "ece")
SHARES = np.linspace(0, 1, 21)
"""Shares of the text model that the blend chooses from."""
UNIT_PRODUCT = {"examples.unit": "shopper_product"}
Answers = dict[str, np.ndarray]
DRAWING = Resampling(resamples=1000, confidence=0.95, seed=7)


@dataclass(frozen=True, kw_only=True)
class Data:
    """A log to measure on."""

    preset: str
    file: str | None
    """Below `--input-folder`; None: the simulated shop."""
    settings: Mapping[str, Any]


DATA: dict[str, Data] = {
    "simulated": Data(preset="canonical", file=None, settings={"simulate.shoppers": 9000}),
    "uci": Data(preset="online_retail", file="uci_online_retail.csv.gz", settings={}),
    "taobao": Data(preset="taobao", file="taobao_userbehavior_100k.csv.gz", settings={}),
    "product-simulated": Data(preset="canonical", file=None, settings=UNIT_PRODUCT),
    "product-taobao": Data(preset="taobao", file="taobao_userbehavior_100k.csv.gz", settings=UNIT_PRODUCT),
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one seed gave on the split that was asked for."""

    figures: dict[str, dict[str, float]]
    """Model → metrics."""
    amounts: dict[str, dict[str, float]]
    """Model → MAE and normalised Gini; empty where the log has no amounts."""
    ahead: dict[str, str]
    """Rival → by how much the text model's AP is above it, with the 95 % interval."""
    share: float
    """Of the text model in the blend."""
    examples: int
    buyers: int
    best_possible: float | None


def measure_seed(arguments: argparse.Namespace, seed: int) -> Measured:
    """Train with one seed and measure every model."""
    run = run_seed(arguments, seed)
    examples = open_examples(run)
    names, categorical = _facts(run)["features"], _facts(run)["categorical"]
    table = feature_table(examples, names, categorical)
    settings = tuned_settings(
        examples, table, trials=arguments.trials, cache=arguments.out / f"lightgbm-{_key(run)}-{arguments.trials}.json"
    )
    asked = examples["split"] != "train"
    answers: Answers = {"recency only": recency_only(examples)[asked]}
    answers[LIGHTGBM] = boost(examples, table, settings, seed=seed)[asked]
    amounts: Answers = {}
    if np.nan_to_num(examples["amount"].to_numpy(dtype=float)).any():
        mean = boost(examples, table, settings, seed=seed, amounts=True)[asked]
        amounts["boosting in two parts"] = answers[LIGHTGBM] * mean
    held = examples[asked].reset_index(drop=True)
    answers = _baseline_answers(run, held) | answers
    text = ask_bundle(run, held["example"])
    answers[TEXT] = text["probability"]
    if "expected" in text and amounts:
        amounts[TEXT] = text["expected"]
    return compare(run, held, answers, amounts, split=arguments.split)


def compare(run: Run, held: pd.DataFrame, answers: Answers, amounts: Answers, *, split: str) -> Measured:
    """Measure every model's answers on one split, thresholds and the blend's share chosen on validation.

    Args:
        run: the finished run.
        held: validation's and test's examples.
        answers: model → probabilities of them.
        amounts: model → expected amounts of them.
        split: validation or test.
    """
    labels, shoppers = held["label"].to_numpy(), held["shopper"].to_numpy()
    chosen_on, shown = (held["split"] == "validation").to_numpy(), (held["split"] == split).to_numpy()
    share = blend_share(labels[chosen_on], answers[TEXT][chosen_on], answers[LIGHTGBM][chosen_on])
    answers = {**answers, BLEND: share * answers[TEXT] + (1 - share) * answers[LIGHTGBM]}
    figures = {}
    for name, probabilities in answers.items():
        cut = best_f1_threshold(labels[chosen_on], probabilities[chosen_on])
        if name == TEXT:
            cut = bundle_threshold(_artifact(run, "train") / "model")
        figures[name] = measure(labels[shown], Scored(probabilities=probabilities[shown], threshold=cut))
    ahead = {
        name: ahead_of(labels[shown], answers[TEXT][shown], answers[name][shown], shoppers[shown])
        for name in ("logistic", "boosting", LIGHTGBM, BLEND)
    }
    paid = held["amount"].to_numpy(dtype=float)[shown]
    return Measured(
        figures=figures,
        amounts={name: measure_amounts(paid, expected[shown]) for name, expected in amounts.items()},
        ahead=ahead,
        share=share,
        examples=int(shown.sum()),
        buyers=int(labels[shown].sum()),
        best_possible=_best_possible(run, split),
    )


def ahead_of(labels: np.ndarray, mine: np.ndarray, theirs: np.ndarray, shoppers: np.ndarray) -> str:
    """Say by how much the first probabilities' AP is above the others', with the interval; all of shape (n,)."""
    found = average_precision_difference(labels, mine, theirs, shoppers, DRAWING)
    return f"{found.difference:+.4f} ({found.lower:+.4f} to {found.upper:+.4f})"


def blend_share(labels: np.ndarray, text: np.ndarray, other: np.ndarray) -> float:
    """Return the share of the first probabilities (n,) in the convex blend with the lowest log-loss."""
    losses = [log_loss(labels, share * text + (1 - share) * other, labels=[0, 1]) for share in SHARES]
    return float(SHARES[int(np.argmin(losses))])


def run_seed(arguments: argparse.Namespace, seed: int) -> Run:
    """Run the pipeline's stages with one seed; what an earlier run has made is found again.

    Raises:
        UserError: as the stages, and when the log needs a folder and none is given.
    """
    data = DATA[arguments.data]
    log = real_log(arguments.data, data.file, arguments.input_folder)
    uri = start_run(
        f"quality-{arguments.data}-{seed}",
        day=DAY,
        trigger="inspection",
        input_path=log,
        preset=data.preset,
        overrides={**data.settings, **parse_settings(arguments.set), "train.seed": seed},
    )

    def tell(record: StageRecord) -> None:
        print(f"seed {seed}: {record.stage} {record.seconds:.1f} s", file=sys.stderr, flush=True)

    run_stages(uri, without=BEYOND, on_end=tell)
    return open_run(uri)


def open_examples(run: Run) -> pd.DataFrame:
    """Return every example with split, shopper, label, amount, weight and features, in the order of its id."""
    folder = _artifact(run, "features") / "examples"
    examples = read_examples(folder, _facts(run)["features"])
    with connect() as connection:
        paid = connection.execute(f"SELECT example, amount FROM {parquet_sql(bucket_files(folder))}").df()
    return examples.merge(paid, on="example").sort_values("example", kind="stable", ignore_index=True)


def _baseline_answers(run: Run, held: pd.DataFrame) -> Answers:
    table = pd.read_parquet(_artifact(run, "baselines") / "predictions.parquet").set_index("example")
    return {name: table.loc[held["example"], name].to_numpy(dtype=float) for name in BASELINES}


def ask_bundle(run: Run, examples: pd.Series) -> Answers:
    """Return what a run's bundle says about examples: `probability` and, where it has the head, `expected` amounts."""
    tokens = TokenSet.load(_artifact(run, "encode"))
    rows = pd.Series(np.arange(len(tokens.index)), index=tokens.index["example"]).loc[examples].to_numpy()
    found = predict(_artifact(run, "train") / "model", tokens.sequences, rows, threads=run.record.config.train.threads)
    expected = found.expected_amount
    return {"probability": found.probability, **({} if expected is None else {"expected": expected})}


def _artifact(run: Run, stage: str) -> Path:
    artifact = run.artifact(stage)
    assert artifact is not None
    return artifact.path


def _facts(run: Run) -> dict[str, Any]:
    artifact = run.artifact("features")
    assert artifact is not None
    return artifact.facts


def _key(run: Run) -> str:
    return _artifact(run, "features").name[:12]


def _best_possible(run: Run, split: str) -> float | None:
    """Return the AP of a perfect reader of a simulated log; None of a real one, and of single products."""
    if run.artifact("simulate") is None or _facts(run)["unit"] != "shopper":
        return None
    told = json.loads((_artifact(run, "simulate") / "oracle.json").read_bytes())
    return float(told[split]["average_precision"])


def as_markdown(arguments: argparse.Namespace, seeds: Sequence[Measured]) -> str:
    """Return the tables: mean over the seeds, ± the standard deviation where there are several."""
    first = seeds[0]
    lines = [
        f"{arguments.data}, {arguments.split}: {first.examples:,} examples, {first.buyers:,} buyers, "
        f"{len(seeds)} seeds, LightGBM after {arguments.trials} trials",
        "",
        "| model | AP | ROC-AUC | F1 | log-loss | ECE |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in first.figures:
        cells = [_spread([seed.figures[name][metric] for seed in seeds]) for metric in SHOWN]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if first.best_possible is not None:
        lines.append(f"| best possible | {first.best_possible:.4f} | | | | |")
    lines += ["", "| AP of the text model minus that of | " + " | ".join(f"seed {n}" for n in arguments.numbers) + " |"]
    lines.append("| --- |" + " --- |" * len(seeds))
    lines += [f"| {name} | {' | '.join(seed.ahead[name] for seed in seeds)} |" for name in first.ahead]
    lines.append(f"| share of the text model in the blend | {' | '.join(f'{seed.share:.2f}' for seed in seeds)} |")
    if first.amounts:
        lines += ["", "| expected spend | MAE | normalised Gini |", "| --- | --- | --- |"]
        for name in first.amounts:
            cells = [_spread([seed.amounts[name][metric] for seed in seeds]) for metric in ("mae", "gini")]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float]) -> str:
    mean = float(np.mean(values))
    return f"{mean:.4f}" + (f" ± {float(np.std(values, ddof=1)):.4f}" if len(values) > 1 else "")


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=DATA, default="simulated")
    parser.add_argument("--input-folder", type=Path, help="where the real logs are")
    parser.add_argument("--out", type=Path, default=Path("var/quality"), help="state folder and cached choices")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--trials", type=int, default=25, help="settings that are tried for LightGBM")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as `behavior run --set`")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    arguments.numbers = [7 + place for place in range(arguments.seeds)]
    os.environ[HOME_VARIABLE] = str((arguments.out / "state").resolve())
    try:
        seeds = [measure_seed(arguments, seed) for seed in arguments.numbers]
    except UserError as error:
        sys.exit(str(error))
    print(as_markdown(arguments, seeds))


if __name__ == "__main__":
    main()
