"""Forecast demand by rolling origin with one champion, beside the simple methods, and print the result as Markdown.

    python benchmarks/demand.py --data uci --input-folder data         UCI Online Retail, horizons of 14 days
    python benchmarks/demand.py --data simulated                       a simulated shop, horizons of 7 days

The champion of products is trained on the log up to `source.period_end` and then asked, never trained again, at every
horizon from its test cutoff to the end of the log; the simple methods see the same past. The one thing to know: the
functions are those of the stage `demand`, so the figures are what its page would say.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from real_logs import real_log

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE, temporary_folder
from behavior_tasks.cli.options import parse_settings
from behavior_tasks.data.events import open_events
from behavior_tasks.model.event_folder import EventSettings, save_event_folder
from behavior_tasks.pipeline import Run, StageRecord, open_run, run_stages, start_run
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.demand_backtest import BLEND, MODEL, Tried, choose, compare, measure, try_methods
from behavior_tasks.serve.demand_intervals import Asked
from behavior_tasks.serve.demand_log import History, read_history
from behavior_tasks.serve.demand_model import ask_champion, honest_origins
from behavior_tasks.serve.demand_windows import Past
from behavior_tasks.serve.moment import moment_at
from behavior_tasks.serve.score import Place

DAY = date(2026, 11, 25)
BEYOND = ("report", "champion", "evaluate", "audit", "package", "gate", "model_report")
"""Stages that these figures do not need."""
SMALL: Mapping[str, Any] = {
    "examples.unit": "shopper_product",
    "model.size": "tiny",
    "model.max_tokens": 96,
    "train.epochs": 2,
    "train.threads": 1,
    "source.expected_reasons": ["missing_user_id", "outside_period"],
}


@dataclass(frozen=True, kw_only=True)
class Data:
    """A log to measure on."""

    preset: str
    file: str | None
    """Below `--input-folder`; None: the simulated shop."""
    trained_until: str
    """Last day of the log that the champion is trained and tested on."""
    settings: Mapping[str, Any]


DATA: dict[str, Data] = {
    "uci": Data(
        preset="online_retail",
        file="uci_online_retail.csv.gz",
        trained_until="2011-09-30",
        settings={
            "examples.horizon_days": 14,
            "examples.lookback_days": 60,
            "examples.candidates": 40,
            "examples.negatives_per_positive": 5,
            "examples.train_cutoffs": 6,
        },
    ),
    "simulated": Data(
        preset="canonical",
        file=None,
        trained_until="2026-03-30",
        settings={"simulate.shoppers": 400, "simulate.products": 150, "examples.train_cutoffs": 3, "train.epochs": 1},
    ),
}


def run_until(arguments: argparse.Namespace, name: str, settings: Mapping[str, Any], *, until: str) -> Run:
    """Run the pipeline's stages; what an earlier run has made is found again.

    Raises:
        UserError: as the stages, and when the log needs a folder and none is given.
    """
    data = DATA[arguments.data]
    uri = start_run(
        f"demand-{arguments.data}-{name}",
        day=DAY,
        trigger="inspection",
        input_path=real_log(arguments.data, data.file, arguments.input_folder),
        preset=data.preset,
        overrides={**SMALL, **data.settings, **parse_settings(arguments.set), **settings},
    )

    def tell(record: StageRecord) -> None:
        print(f"{name}: {record.stage} {record.seconds:.1f} s", file=sys.stderr, flush=True)

    run_stages(uri, until=until, without=BEYOND, on_end=tell)
    return open_run(uri)


def as_champion(run: Run, folder: Path) -> Champion:
    """Return the model that a run trained as if it had been promoted."""
    trained, config = run.need("train"), run.record.config
    save_event_folder(
        folder / "events",
        source=config.source,
        examples=config.examples,
        clean=run.need("clean"),
        features=run.need("features"),
    )
    settings = EventSettings.load(folder / "events")
    model = trained.path / "model"
    return Champion(
        unit="shopper_product",
        model=model,
        events=folder / "events",
        settings=settings,
        name="benchmark",
        version="1",
        uri=trained.uri,
    )


def measure_log(arguments: argparse.Namespace) -> str:
    """Train, ask and measure; return the tables."""
    trained = run_until(arguments, "trained", {"source.period_end": DATA[arguments.data].trained_until}, until="train")
    whole = run_until(arguments, "whole", {}, until="clean")
    clean, config = whole.need("clean"), whole.record.config
    events = open_events(clean)
    place = Place(home=whole.home, engine=config.engine, device="auto", threads=config.train.threads)
    moment = moment_at(datetime.fromisoformat(clean.facts["last"]).date() + timedelta(days=1), config.source.timezone)
    asked = Asked(interval=config.demand.interval, service_level=config.demand.service_level)
    lines = []
    with temporary_folder(whole.home, "demand") as scratch:
        champion, sums = as_champion(trained, scratch / "champion"), None
        for returns in ("gross", "net"):
            past = Past(
                moment=moment,
                first=datetime.fromisoformat(clean.facts["first"]),
                horizon_days=champion.examples.horizon_days,
                most=config.demand.past_horizons,
                examples=champion.examples,
                net=returns == "net",
            )
            history = read_history(events, past, scratch / returns, engine=config.engine)
            if sums is None:
                origins = [*honest_origins(champion, history, most=history.windows), history.windows]
                folder = scratch / "asked"
                sums = ask_champion(champion, events, history, origins, folder, place=place, data_hash="benchmark")
            tried = try_methods(history, sums, average_horizons=config.demand.average_horizons)
            lines += as_markdown(arguments.data, returns, history, tried, asked)
    return "\n".join(lines)


def as_markdown(data: str, returns: str, history: History, tried: Tried, asked: Asked) -> list[str]:
    """Return the lines of the table of one log, with returns taken off or not."""
    choice = choose(history, tried, has_champion=True)
    honest = list(tried.past[MODEL])
    assert history.unseen is not None  # there is a champion
    share = history.unseen.units[:, honest].sum() / history.units[:, honest].sum()
    lines = [
        f"{data}, {returns}: {len(history.products):,} products, horizons of {history.horizon_days} days, the champion "
        f"tried on {len(honest)} from {history.starts[honest[0]].as_of}; {share:.0%} of their pieces went to shoppers "
        "for whom the product was no candidate",
        "",
        "| method | level | horizons | WAPE (95 % interval) | bias | coverage of 80 % | width |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    figures = measure(history, tried, asked)
    for row in figures[figures["on"] == "model"].to_dict("records"):
        interval = "" if pd.isna(row["lower"]) else f" ({row['lower']:.3f}–{row['upper']:.3f})"
        lines.append(
            f"| {row['method']} | {row['level']} | {row['windows']} | {row['wape']:.3f}{interval} | "
            f"{row['bias']:+.1%} | {row['coverage']:.1%} | {row['width']:.2f} |"
        )
    lines += [
        "",
        "| WAPE by product minus that of the best simple method | difference (95 % interval) |",
        "| --- | --- |",
    ]
    for name, origins in ((MODEL, honest), (BLEND, list(tried.past[BLEND]))):
        found = compare(history, tried, name, choice.simple, origins)
        told = f"{found.difference:+.4f} ({found.lower:+.4f} to {found.upper:+.4f}), {len(origins)} horizons"
        lines.append(f"| {name} − {choice.simple} | {told} |")
    shares = ", ".join(f"{weight:.1f}" for weight in tried.weights.values())
    return [*lines, "", f"Share of the language model in the blend, horizon by horizon: {shares}.", "", choice.why, ""]


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=DATA, default="simulated")
    parser.add_argument("--input-folder", type=Path, help="where the real logs are")
    parser.add_argument("--out", type=Path, default=Path("var/demand"), help="state folder")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as `behavior run --set`")
    arguments = parser.parse_args()
    os.environ[HOME_VARIABLE] = str((arguments.out / "state").resolve())
    try:
        print(measure_log(arguments))
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
