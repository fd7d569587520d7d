"""Compare every method of recommending on past days of a log and print the result as Markdown.

    python benchmarks/recommend.py --data simulated                             3,000 shoppers
    python benchmarks/recommend.py --data uci --input-folder data
    python benchmarks/recommend.py --data taobao --input-folder data --champions shopper
    python benchmarks/recommend.py --data retailrocket-like --champions none

It trains small champions with the pipeline's own stages, then holds the study that the stage `recommendations` holds:
methods are chosen on the horizon before the newest one and measured on the newest. `retailrocket-like` is a simulated
shop with many products and few buyers that tells what Retailrocket tells: views, carts and transactions, no prices and
no categories. The one thing to know: nothing that is printed under "measured" took part in a choice.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
from real_logs import real_log

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.cli.options import parse_settings
from behavior_tasks.data.events import open_events
from behavior_tasks.examples.feature_table import Unit
from behavior_tasks.model.event_folder import SETTINGS_FILE, EventSettings, save_event_folder
from behavior_tasks.pipeline import Run, StageRecord, open_run, run_stages, start_run
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.moment import moment_at
from behavior_tasks.serve.recommend_champion import find_reader
from behavior_tasks.serve.recommend_facts import reasons_for_method, told_study
from behavior_tasks.serve.recommend_study import Rules, hold_study
from behavior_tasks.serve.recommend_world import Sources
from behavior_tasks.serve.score import Place

DAY = date(2026, 11, 24)
SMALL: Mapping[str, Any] = {"model.size": "tiny", "train.epochs": 3, "train.threads": 1, "engine.workers": 1}
"""A champion of these settings is trained within minutes; a better one would say more."""
UNITS: Mapping[str, tuple[Unit, ...]] = {
    "both": ("shopper", "shopper_product"),
    "shopper": ("shopper",),
    "none": (),
}


@dataclass(frozen=True, kw_only=True)
class Data:
    """A log to measure on."""

    preset: str
    file: str | None
    """Below `--input-folder`; None: simulated."""
    settings: Mapping[str, Any]
    reshaped: bool = False
    """Whether the simulated log is written anew as Retailrocket would write it."""


DATA: dict[str, Data] = {
    "simulated": Data(preset="canonical", file=None, settings={"simulate.shoppers": 3000}),
    "retailrocket-like": Data(
        preset="retailrocket",
        file=None,
        settings={"simulate.shoppers": 4000, "simulate.products": 2500, "examples.horizon_days": 7},
        reshaped=True,
    ),
    "uci": Data(
        preset="online_retail",
        file="uci_online_retail.csv.gz",
        settings={"examples.candidates": 30, "examples.train_cutoffs": 4},
    ),
    "taobao": Data(preset="taobao", file="taobao_userbehavior_100k.csv.gz", settings={}),
    "retailrocket": Data(preset="retailrocket", file="retailrocket_sample_events.csv.gz", settings={}),
}


def run_until(arguments: argparse.Namespace, log: str | None, unit: Unit, last: str) -> Run:
    """Run the pipeline's stages up to one; what an earlier run has made is found again."""
    data = DATA[arguments.data]
    settings = {**SMALL, **data.settings, **parse_settings(arguments.set), "examples.unit": unit}
    uri = start_run(
        f"recommend-{arguments.data}-{unit}",
        day=DAY,
        trigger="inspection",
        input_path=log,
        preset=data.preset,
        overrides=settings,
    )

    def tell(record: StageRecord) -> None:
        print(f"{unit}: {record.stage} {record.seconds:.1f} s", file=sys.stderr, flush=True)

    run_stages(uri, until=last, without=("report", "doctor"), on_end=tell)
    return open_run(uri)


def find_log(arguments: argparse.Namespace) -> str | None:
    """Return the log's address; None: the simulated shop.

    Raises:
        UserError: when it needs a folder and none is given.
    """
    data = DATA[arguments.data]
    if data.reshaped:
        return str(reshape(arguments))
    return real_log(arguments.data, data.file, arguments.input_folder)


def reshape(arguments: argparse.Namespace) -> Path:
    """Write the simulated log as Retailrocket would: milliseconds, three kinds of events, no prices, no categories."""
    settings = {**DATA[arguments.data].settings, **parse_settings(arguments.set)}
    chosen = {key: value for key, value in settings.items() if key.startswith("simulate.")}
    uri = start_run("recommend-reshape", day=DAY, trigger="inspection", overrides=chosen)
    run_stages(uri, until="simulate")
    source = open_run(uri).need("simulate").path
    events = pd.read_csv(next(iter(sorted(source.glob("*.csv*")))), dtype=str)
    kinds = {"browse": "view", "click": "view", "add_to_cart": "addtocart", "purchase": "transaction"}
    kept = events[events["action"].isin(list(kinds)) & events["product_id"].notna()].reset_index(drop=True)
    # The simulated log holds a few rows that nobody could read; they stay out.
    seconds = pd.to_numeric(kept["timestamp"], errors="coerce")
    kept, seconds = kept[seconds.notna()], seconds.dropna()
    table = pd.DataFrame(
        {
            "timestamp": (seconds * 1000).astype("int64"),
            "visitorid": kept["user_id"],
            "event": kept["action"].map(kinds),
            "itemid": kept["product_id"],
        }
    )
    out: Path = arguments.out / f"retailrocket-like-{source.name}.csv"
    table.to_csv(out, index=False)
    return out


def open_champion(arguments: argparse.Namespace, run: Run, unit: Unit) -> Champion:
    """Return a trained model as the champion that it would become."""
    folder = arguments.out / "events" / f"{arguments.data}-{unit}"
    if not (folder / SETTINGS_FILE).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        config = run.record.config
        save_event_folder(
            folder,
            source=config.source,
            examples=config.examples,
            clean=run.need("clean"),
            features=run.need("features"),
        )
    return Champion(
        unit=unit,
        model=run.need("train").path / "model",
        events=folder,
        settings=EventSettings.load(folder),
        name=arguments.data,
        version="1",
        uri=None,
    )


def measure(arguments: argparse.Namespace) -> str:
    """Train, hold the study and return it as Markdown."""
    log = find_log(arguments)
    units = UNITS[arguments.champions]
    runs = {unit: run_until(arguments, log, unit, "train") for unit in units}
    champions = {unit: open_champion(arguments, run, unit) for unit, run in runs.items()}
    run = next(iter(runs.values()), None) or run_until(arguments, log, "shopper", "clean")
    clean, config = run.need("clean"), run.record.config
    place = Place(home=run.home, engine=config.engine, device="cpu", threads=1)
    sources = Sources(
        events=open_events(clean),
        place=place,
        horizon_days=config.examples.horizon_days,
        lookback_days=config.examples.lookback_days,
        reading=find_reader([champions.get("shopper"), champions.get("shopper_product")], place),
        products=champions.get("shopper_product"),
    )
    last = datetime.fromisoformat(clean.facts["last"]).replace(tzinfo=UTC).astimezone(ZoneInfo(config.source.timezone))
    moment = moment_at(last.date() + timedelta(days=1), config.source.timezone)
    rules = Rules(bought=arguments.bought, per_category=0)
    begun = time.monotonic()
    study = hold_study(sources, moment, rules, datetime.fromisoformat(clean.facts["first"]))
    told = told_study(study)
    lines = [f"## {arguments.data}, horizon {sources.horizon_days} days, champions: {arguments.champions}", ""]
    for name, title in (("reported", "measured"), ("discovery", "never touched before"), ("chosen_on", "chosen on")):
        lines += as_markdown(title, told[name])
    if told["repeats"] is not None:
        told_without = told["ndcg_without_bought"]
        without = f"{told_without:.4f}" if told_without is not None else "not measured"
        lines.append(f"Bought before: {told['repeats']:.1%} of what was bought.")
        lines.append(f"NDCG@10 of {study.method} without what was bought before: {without}.")
    lines += ["", reasons_for_method(study), f"The study took {time.monotonic() - begun:.0f} s."]
    return "\n".join(lines) + "\n"


def as_markdown(title: str, exam: Mapping[str, Any] | None) -> list[str]:
    """Return the table of one exam."""
    if exam is None:
        return [f"{title}: too few buyers", ""]
    lines = [
        f"{title}: horizon from {exam['as_of']}, {exam['shoppers']:,} shoppers bought {exam['purchases']:,} products, "
        f"{exam['found']:.1%} of them among the candidates",
        "",
        "| method | NDCG@10 | above item-kNN | Recall@10 | MRR@10 | coverage | novelty |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in exam["methods"]:
        cells = [_cell(row["ndcg"]), _cell(row["above_knn"], "+"), _cell(row["recall"]), _cell(row["mrr"])]
        served = " (serves)" if row["served"] else ""
        lines.append(
            f"| {row['method']}{served} | {' | '.join(cells)} | {row['coverage']:.1%} | {row['novelty']:.2f} |"
        )
    return [*lines, ""]


def _cell(told: Mapping[str, float], sign: str = "") -> str:
    return f"{told['value']:{sign}.4f} ({told['lower']:{sign}.4f} to {told['upper']:{sign}.4f})"


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=DATA, default="simulated")
    parser.add_argument("--input-folder", type=Path, help="where the real logs are")
    parser.add_argument("--out", type=Path, default=Path("var/recommend"), help="state folder")
    parser.add_argument("--champions", choices=UNITS, default="both", help="which champions are trained first")
    parser.add_argument("--bought", choices=("keep", "drop"), default="keep", help="as recommend.bought")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as `behavior run --set`")
    arguments = parser.parse_args()
    arguments.out = arguments.out.resolve()
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.environ[HOME_VARIABLE] = str(arguments.out / "state")
    try:
        print(measure(arguments))
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
