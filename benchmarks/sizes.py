"""Size against quality: the same log, settings and examples, models from tiny to base, what each reaches on test.

    python benchmarks/sizes.py --shoppers 3000 --seeds 2
    python benchmarks/sizes.py --input uci_online_retail.csv.gz --preset online_retail

Validation AP says which epoch is kept; test AP comes with its difference from the default size of the same seed, with
the interval of a paired bootstrap by shopper.
"""

import argparse
import os
import tempfile
from datetime import date
from pathlib import Path

from safetensors import safe_open

from behavior_tasks.base.config import DEFAULT_PRESET, Config
from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.cli.options import parse_settings
from behavior_tasks.pipeline import STAGES, Run, open_run, run_stages, start_run
from behavior_tasks.pipeline.stages import needed_for
from behavior_tasks.verdict.metrics import Resampling
from behavior_tasks.verdict.study_on_test import compare_on_test, signed

SIZES = ("tiny", "compact", "base")
RESAMPLING = Resampling(resamples=1000, confidence=0.95, seed=7)


def measure(size: str, seed: int, arguments: argparse.Namespace) -> Run:
    """Train and evaluate one size; what sizes share is made once."""
    overrides = {
        "simulate.shoppers": arguments.shoppers,
        **parse_settings(arguments.set),
        "model.size": size,
        "train.seed": seed,
    }
    uri = start_run(
        f"size-{size}-{seed}",
        day=date(2026, 11, 27),
        trigger="inspection",
        input_path=arguments.input,
        preset=arguments.preset,
        overrides=overrides,
    )
    run_stages(uri, without=set(STAGES) - needed_for("evaluate"))
    return open_run(uri)


def line(run: Run, default: Run) -> str:
    """Return a size's row of the table."""
    trained = run.need("train")
    compared = compare_on_test(run.need("evaluate"), default.need("evaluate"), RESAMPLING)
    parts = compared["difference"]["average_precision"]
    interval = f"{signed(parts['difference'])} ({signed(parts['lower'])} to {signed(parts['upper'])})"
    config = run.record.config
    cells = (
        config.model.size,
        str(config.train.seed),
        f"{parameters(trained.path / 'model'):,}",
        f"{trained.manifest.seconds:.0f}",
        f"{trained.facts['validation_average_precision']:.4f}",
        f"{compared['best']['average_precision']:.4f}",
        "–" if run.record.run_id == default.record.run_id else interval,
    )
    return f"| {' | '.join(cells)} |"


def parameters(model: Path) -> int:
    """Return the number of weights in a model folder."""
    with safe_open(model / "model.safetensors", framework="np") as weights:
        shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118  # no mapping
    total = 0
    for shape in shapes:
        count = 1
        for side in shape:
            count *= side
        total += count
    return total


def shop_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a command line that asks for a shop, settings and seeds."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shoppers", type=int, default=3000, help="of the simulated shop")
    parser.add_argument("--input", help="a log instead of the simulated shop")
    parser.add_argument("--preset", default=DEFAULT_PRESET)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="a setting, e.g. train.threads=1")
    parser.add_argument("--keep", type=Path, help="state folder that outlives the benchmark")
    return parser


def main() -> None:
    """Print the table, a line as soon as it is known."""
    parser = shop_parser(__doc__)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=SIZES)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="behavior-sizes-") as folder:
        os.environ[HOME_VARIABLE] = str(arguments.keep or folder)
        print("| size | seed | weights | training s | validation AP | test AP | test AP against the default size |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for seed in range(Config().train.seed, Config().train.seed + arguments.seeds):
            default = measure(Config().model.size, seed, arguments)
            for size in arguments.sizes:
                print(line(measure(size, seed, arguments), default), flush=True)


if __name__ == "__main__":
    main()
