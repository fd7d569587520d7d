"""Serve a simulated shop night after night while its world changes, and say which night the watch noticed what.

    python benchmarks/replay.py --out var/replay               60 nights of 600 shoppers
    python benchmarks/replay.py --out var/quiet --quiet        the same nights, and nothing changes
    python benchmarks/replay.py --out var/short --days 4 --shoppers 150

Every night the log has grown by a day; the shop is scored, what was served is watched, and once a week, or the night
after the watch asked for it, a candidate is trained and the gate decides. The changes are known, and so is what the
shoppers really did, whatever the tracking lost; so afterwards every candidate is measured beside the champion that it
met, on the days that came then. A replay that was stopped goes on where it was: the same command, the same folder.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from replay_report import as_markdown
from replay_truth import Logs, Met, judge

from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.config import DEFAULT_PRESET, ExamplesConfig, SimulateConfig, load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE, current_home
from behavior_tasks.cli.options import parse_settings
from behavior_tasks.data.events import BucketEvents, open_events
from behavior_tasks.data.regimes import (
    Change,
    DoubledDay,
    MillisecondClient,
    NewSeason,
    Outage,
    PriceShock,
    RenamedProducts,
    change_log,
    local_days,
    read_log,
    reality,
    write_log,
)
from behavior_tasks.data.shop import make_calendar
from behavior_tasks.data.simulate import simulate_shop
from behavior_tasks.pipeline import (
    Run,
    close_tracking,
    open_run,
    open_tracking,
    promote,
    register,
    run_stages,
    start_run,
)
from behavior_tasks.pipeline.serving import chosen_stages, serve_stages
from behavior_tasks.registry.overrule import Asked, override
from behavior_tasks.serve.banners import banners_of
from behavior_tasks.serve.moment import Moment
from behavior_tasks.watch.alerts import keep_day
from behavior_tasks.watch.day import watch_day

HISTORY_DAYS, HORIZON_DAYS = 75, 7
"""Days of the log before the first night, and after the last one."""
WEEK = 7
UNTOLD = ("report", "model_report")
"""Stages of a training that the gate does not need."""
SETTINGS: dict[str, Any] = {
    "examples.horizon_days": HORIZON_DAYS,
    "examples.train_cutoffs": 3,
    "model.size": "tiny",
    "model.max_tokens": 96,
    "train.epochs": 1,
    "train.device": "cpu",
    "train.threads": 1,
    "engine.workers": 1,
    "engine.buckets": 1,
    "gate.audit_events": 0,
    "gate.bootstrap": 200,
    "gate.margin": 0.06,
}
"""A small shop's figures are noisy: within the usual margin of 0.02 no candidate could be shown to be."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What is replayed, and where."""

    out: Path
    first: date
    """The first night looks at the log at the beginning of this day."""
    nights: int
    shoppers: int
    seed: int
    quiet: bool
    only: tuple[str, ...]
    """Applications that are served; empty: all."""
    settings: Mapping[str, Any]

    @property
    def log(self) -> Path:
        """The log as the shop has it tonight: a file a day."""
        return self.out / "log"

    @property
    def changes(self) -> list[Change]:
        """What changes."""
        return [] if self.quiet else plan_changes(self.first, self.nights)

    @property
    def days(self) -> list[date]:
        """The nights, by the day that begins then."""
        return [self.first + timedelta(days=night) for night in range(self.nights)]


def plan_changes(first: date, nights: int) -> list[Change]:
    """Return what changes in a replay, spread over its nights; new names come after what looks products up by name."""

    def on(share: float, days: float = 0) -> date:
        return first + timedelta(days=int(share * nights + min(days, days * nights / 60)))

    return [
        NewSeason(first=on(0.45)),
        PriceShock(first=on(0.3), categories=("clothing", "electronics", "kitchen", "shoes")),
        Outage(first=on(0.15), last=on(0.15, 2), action="add_to_cart"),
        RenamedProducts(first=on(0.57)),
        MillisecondClient(first=on(0.65), last=on(0.65, 4)),
        DoubledDay(first=on(0.77), last=on(0.77)),
        Outage(first=on(0.85), last=on(0.85)),
    ]


def make_logs(replay: Replay) -> dict[date, pd.DataFrame]:
    """Return every day's rows as the tracking shows them; `reality.csv` and `truth.json` are written beside."""
    shop, length = replay.out / "shop", HISTORY_DAYS + replay.nights + HORIZON_DAYS
    if not (shop / "oracle.json").is_file():
        # It is written last; without it somebody has stopped the replay here.
        shutil.rmtree(shop, ignore_errors=True)
        shop.mkdir(parents=True)
        config = SimulateConfig(shoppers=replay.shoppers, days=length, products=120, seed=replay.seed, rollouts=10)
        simulate_shop(config, shop, examples=ExamplesConfig(horizon_days=HORIZON_DAYS))
    log = read_log(shop / "events.csv")
    real, _ = change_log(log, reality(replay.changes), seed=replay.seed)
    shown, truth = change_log(log, replay.changes, seed=replay.seed)
    write_log(real, replay.out / "reality.csv")
    truth.to_json(replay.out / "truth.json", orient="records", date_format="iso", indent=2)
    return dict(list(shown.groupby(local_days(shown), sort=True)))


def live(replay: Replay) -> list[dict[str, Any]]:
    """Live through every night that was not lived through yet, and return what is told of each."""
    told, days = replay.out / "nights", make_logs(replay)
    for folder in (replay.log, told):
        folder.mkdir(exist_ok=True)
    asked = False
    nights = []
    for number, as_of in enumerate(replay.days):
        place = told / f"{as_of}.json"
        if not place.is_file():
            for day in (day for day in days if day < as_of):
                _write_day(days[day], replay.log / f"{day}.csv")
            night = _night(replay, as_of, train=number % WEEK == 0 or asked)
            write_durably(place, json.dumps(night, indent=2).encode())
            print(f"{as_of}: {_sentence(night)}", file=sys.stderr, flush=True)
        nights.append(json.loads(place.read_bytes()))
        # One that goes on asked for its training on its first night.
        asked = any(
            alert["level"] == "severe" and alert["training"] and alert["since"] == str(as_of)
            for alert in nights[-1]["alerts"]
        )
    return nights


def _write_day(rows: pd.DataFrame, place: Path) -> None:
    """Write a day of the log, whole or not at all, unless it is there."""
    if not place.is_file():
        new = place.with_name(f".{place.name}")
        write_log(rows, new)
        new.replace(place)


def _night(replay: Replay, as_of: date, *, train: bool) -> dict[str, Any]:
    """Serve and watch one night, after a training where one is due; what failed is told, and the nights go on."""
    night: dict[str, Any] = {"as_of": str(as_of), "training": None, "banners": [], "alerts": [], "problems": []}
    try:
        if train:
            night["training"] = _train(replay, as_of)
    except UserError as error:
        night["problems"].append(f"training: {error}")
    try:
        uri = _start(replay, as_of, "scoring")
        scoring = serve_stages(uri, stages=chosen_stages(replay.only))
        night["banners"] = [banner.model_dump() for banner in scoring.banners]
        night["problems"] += [f"{name}: {why}" for name, why in scoring.failed.items()]
        night["alerts"] = _watch(open_run(uri), as_of)
    except UserError as error:
        night["problems"].append(f"serving: {error}")
    return night


def _start(replay: Replay, as_of: date, kind: str) -> str:
    return start_run(
        f"{as_of}-{kind}",
        day=as_of,
        trigger="command line" if kind == "training" else "scoring",
        input_path=str(replay.log),
        overrides=replay.settings,
        as_of=as_of if kind == "scoring" else None,
    )


def _train(replay: Replay, as_of: date) -> dict[str, Any]:
    """Train a candidate, let the gate decide, and say who met whom; the first one serves whatever the gate says."""
    uri = _start(replay, as_of, "training")
    open_tracking(uri)
    try:
        uris = run_stages(uri, without=UNTOLD)
        version = register(uri, uris["gate"], uris["evaluate"], uris["train"])
        kept = promote(uri, version, uris["gate"], "replay")
    finally:
        close_tracking(uri)
    run = open_run(uri)
    gate, champion = run.artifact("gate"), run.artifact("champion")
    assert gate is not None
    assert champion is not None
    verdict = json.loads((gate.path / "verdict.json").read_bytes())
    first = champion.facts["version"] is None and kept is not None
    if first:
        asked = Asked(who="replay", why="somebody must serve the first night", when=datetime.now(UTC))
        override(run.home, run.record.config, asked, version=version)
    return {
        "version": version,
        "candidate": verdict["candidate"] or uris["train"],
        "kind": verdict["model"],
        "champion": champion.facts["model"],
        "champion_version": champion.facts["version"],
        "promoted": kept is None,
        "by_hand": first,
        "reason": verdict["reason"],
    }


def _watch(run: Run, as_of: date) -> list[dict[str, Any]]:
    """Watch the night and keep what stands; return its alerts, those included that stood before."""
    watched = watch_day(
        run.home,
        run.record.config,
        clean=run.need("clean"),
        ingest=run.need("ingest"),
        champions=run.need("champions"),
        moment=Moment.load(run.need("moment")),
        banners=banners_of(run.need("readiness").facts),
    )
    return [alert.model_dump(mode="json") for alert in keep_day(run.home, watched.findings, as_of).alerts]


def look_back(replay: Replay, nights: Sequence[Mapping[str, Any]]) -> dict[str, Met | None]:
    """Return how each candidate did, on the days after its training, beside the champion that it met."""
    trained = [night for night in nights if night["training"] and night["training"]["champion"]]
    if not trained:
        return {}
    everything = replay.out / "everything"
    everything.mkdir(exist_ok=True)
    for day, rows in make_logs(replay).items():
        _write_day(rows, everything / f"{day}.csv")
    shown, real = (
        _clean(replay, name, path) for name, path in (("shown", everything), ("real", replay.out / "reality.csv"))
    )
    end = replay.first + timedelta(days=replay.nights + HORIZON_DAYS)
    logs = Logs(shown=shown, real=real, first_unknown=end)
    config = load_config(DEFAULT_PRESET, overrides=replay.settings)
    met: dict[str, Met | None] = {}
    for night in trained:
        told = night["training"]
        met[night["as_of"]] = (
            None
            if told["candidate"] == told["champion"]
            else judge(
                current_home(),
                config,
                logs,
                as_of=date.fromisoformat(night["as_of"]),
                candidate=told["candidate"],
                champion=told["champion"],
            )
        )
    return met


def _clean(replay: Replay, name: str, log: Path) -> Sequence[BucketEvents]:
    after = replay.first + timedelta(days=replay.nights + HORIZON_DAYS)
    uri = start_run(f"whole-{name}", day=after, trigger="inspection", input_path=str(log), overrides=replay.settings)
    run_stages(uri, until="clean")
    artifact = open_run(uri).artifact("clean")
    assert artifact is not None
    return open_events(artifact)


def _sentence(night: Mapping[str, Any]) -> str:
    told = night["training"]
    trained = f"version {told['version']} {'promoted' if told['promoted'] else 'kept'}; " if told else ""
    alerts = ", ".join(f"{alert['level']} {alert['code']} {alert['about']}" for alert in night["alerts"])
    return f"{trained}{alerts or 'no alert'}{''.join(f'; {problem}' for problem in night['problems'])}"


def main() -> None:
    """Read the command line, live through the nights and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("var/replay"), help="state folder, logs, and a file a night")
    parser.add_argument("--days", type=int, default=60, help="nights")
    parser.add_argument("--shoppers", type=int, default=600)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--quiet", action="store_true", help="plant no change")
    parser.add_argument("--all", action="store_true", help="serve every application, not only the scores of shoppers")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as `behavior run --set`")
    given = parser.parse_args()
    asked = {name: value for name, value in vars(given).items() if name != "out"}
    given.out.mkdir(parents=True, exist_ok=True)
    _refuse_other(given.out / "asked.json", asked)
    os.environ[HOME_VARIABLE] = str((given.out / "state").resolve())
    length = HISTORY_DAYS + given.days + HORIZON_DAYS
    first = date.fromtimestamp(0) + timedelta(days=int(make_calendar(length, "UTC").midnights[HISTORY_DAYS]) // 86_400)
    replay = Replay(
        out=given.out.resolve(),
        first=first,
        nights=given.days,
        shoppers=given.shoppers,
        seed=given.seed,
        quiet=given.quiet,
        only=() if given.all else ("shopper_scores",),
        settings={**SETTINGS, **parse_settings(given.set)},
    )
    try:
        nights = live(replay)
        met = look_back(replay, nights)
    except UserError as error:
        sys.exit(str(error))
    truth = json.loads((replay.out / "truth.json").read_bytes())
    (replay.out / "met.json").write_text(json.dumps({day: m and m.told() for day, m in met.items()}, indent=2) + "\n")
    print(as_markdown(nights, truth, met))


def _refuse_other(place: Path, asked: Mapping[str, Any]) -> None:
    """Keep what was asked for in the folder; another question in the same folder is refused."""
    if place.is_file() and json.loads(place.read_bytes()) != asked:
        sys.exit(f"{place.parent} holds another replay: {place.read_text()}\nGive another --out, or the same options.")
    place.write_text(json.dumps(asked))


if __name__ == "__main__":
    main()
