"""How the way of writing tells in quality: order of the parts, style, language and words, on validation only.

    python benchmarks/texts.py --shoppers 1500 --set train.threads=1
    python benchmarks/texts.py --input uci_online_retail.csv.gz --preset online_retail --seeds 2

Each line changes one thing against the default text. The model reads the text alone (`model.numbers=false`), because
what the text says hardly shows beside the engineered numbers. The one thing to know: test is not looked at, so the
figures may guide a choice; the interval is a paired bootstrap by shopper.
"""

import argparse
import os
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from quality import BEYOND, DAY, ahead_of, ask_bundle, open_examples
from sizes import shop_parser

from behavior_tasks.base.config import Config
from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.cli.options import parse_settings
from behavior_tasks.pipeline import Run, open_run, run_stages, start_run
from behavior_tasks.text.tokens import TokenSet
from behavior_tasks.verdict.metrics import Scored, measure

TEXT_ALONE: Mapping[str, Any] = {"model.numbers": False}
WAYS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "features first": {"text.order": ["features", "profile", "older", "events"]},
    "profile first": {"text.order": ["profile", "older", "events", "features"]},
    "sentences": {"text.style": "sentence"},
    "Chinese": {"text.language": "zh"},
    "no feature words": {"text.feature_words": False},
    "4 last events": {"text.last_events": 4},
    "32 last events": {"text.last_events": 32},
    "16 quantile words": {"text.quantiles": 16},
}
"""What is changed against the default text."""


def train(way: str, seed: int, arguments: argparse.Namespace) -> Run:
    """Train on one way of writing; what ways share is made once."""
    shop = {} if arguments.input else {"simulate.shoppers": arguments.shoppers}
    own = {**shop, **TEXT_ALONE, **parse_settings(arguments.set)}
    uri = start_run(
        f"texts-{list(WAYS).index(way)}-{seed}",
        day=DAY,
        trigger="inspection",
        input_path=arguments.input,
        preset=arguments.preset,
        overrides={**own, **WAYS[way], "train.seed": seed},
    )
    run_stages(uri, without=BEYOND)
    return open_run(uri)


def line(way: str, seed: int, run: Run, default: np.ndarray | None) -> tuple[str, np.ndarray]:
    """Return a way's row of the table, and its probabilities (validation examples,)."""
    held = open_examples(run)
    held = held[held["split"] == "validation"]
    answers = ask_bundle(run, held["example"])["probability"]
    labels = held["label"].to_numpy()
    figures = measure(labels, Scored(probabilities=answers, threshold=0.5))
    beside = "–"
    if default is not None:
        beside = ahead_of(labels, answers, default, held["shopper"].to_numpy())
    length = float(np.diff(TokenSet.load(run.need("encode").path).sequences.offsets).mean())
    seconds = run.need("train").manifest.seconds
    cells = (way, seed, f"{length:.0f}", f"{seconds:.0f}", f"{figures['average_precision']:.4f}")
    return f"| {' | '.join(map(str, cells))} | {figures['log_loss']:.4f} | {beside} |", answers


def main() -> None:
    """Print the table, a line as soon as it is known."""
    parser = shop_parser(__doc__)
    parser.add_argument(
        "--ways", nargs="+", default=list(WAYS), choices=WAYS, help="the default text always comes first"
    )
    arguments = parser.parse_args()
    ways = ["default", *(way for way in arguments.ways if way != "default")]
    with tempfile.TemporaryDirectory(prefix="behavior-texts-") as folder:
        os.environ[HOME_VARIABLE] = str(arguments.keep or folder)
        print("| text | seed | tokens | training s | validation AP | log-loss | AP less that of the default text |")
        print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
        for seed in range(Config().train.seed, Config().train.seed + arguments.seeds):
            default = None
            for way in ways:
                told, answers = line(way, seed, train(way, seed, arguments), default)
                default = answers if default is None else default
                print(told, flush=True)


if __name__ == "__main__":
    main()
