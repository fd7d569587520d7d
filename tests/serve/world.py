"""A small shop that is served: a simulated log, both champions with random weights, and the moment after its last day.

Everything up to the tokens is made by the real stages; the champions are real packages that nobody trained, so a test
that needs a good model must train one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from behavior_tasks.base.artifacts import Artifact, Output, Rows
from behavior_tasks.base.config import Config, changed
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.data.events import BucketEvents, open_events
from behavior_tasks.examples.feature_table import Unit
from behavior_tasks.model.decision import Decision
from behavior_tasks.model.event_folder import save_event_folder
from behavior_tasks.pipeline import SERVING, Run
from behavior_tasks.pipeline.execute import build_stage
from behavior_tasks.pipeline.runs import keep_run
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.moment import Moment
from behavior_tasks.serve.score import Place
from tests.shop import run_until
from tests.verdict.world import write_bundle

SMALL: Mapping[str, object] = {"simulate.shoppers": 160, "model.max_tokens": 48}
"""Settings beside those of `tests.shop.TINY`; the models with random weights read so many tokens."""
SKIPPED = ("report",)
NAMES: Mapping[Unit, str] = {"shopper": "behavior", "shopper_product": "behavior-products"}


@dataclass(frozen=True, kw_only=True)
class ServedShop:
    """A log, its champions and a moment."""

    run: Run
    champions: Artifact
    looked: Mapping[str, Artifact]
    """`moment` and `readiness`."""

    @property
    def home(self) -> Home:
        return self.run.home

    @property
    def config(self) -> Config:
        return self.run.record.config

    @property
    def clean(self) -> Artifact:
        return self.run.need("clean")

    @property
    def inputs(self) -> dict[str, Artifact]:
        """What every application reads."""
        return {"clean": self.clean, "champions": self.champions, **self.looked}

    @property
    def events(self) -> tuple[BucketEvents, ...]:
        return open_events(self.clean)

    @property
    def moment(self) -> Moment:
        return Moment.load(self.looked["moment"])

    @property
    def place(self) -> Place:
        return Place(home=self.home, engine=self.config.engine, device="cpu", threads=1)

    def champion(self, unit: Unit) -> Champion:
        found = Champion.load(self.champions, unit)
        assert found is not None
        return found


def make_shop(
    home: Path,
    *,
    log: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    units: tuple[Unit, ...] = ("shopper", "shopper_product"),
) -> ServedShop:
    """Make the shop in a state folder.

    Args:
        home: the state folder.
        log: None: a simulated one.
        overrides: settings beside those of TINY.
        units: which champions there are.
    """
    settings = {**SMALL, **(overrides or {})}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(home))
        runs = {
            unit: run_until(
                "encode", f"read-{unit}", log=log, overrides={**settings, "examples.unit": unit}, without=SKIPPED
            )
            for unit in NAMES
        }
    run = runs["shopper"]

    def champions(out: Path, key: str) -> Output:
        facts: dict[str, object] = dict.fromkeys(NAMES)
        for number, unit in enumerate(units):
            write_champion(out / unit, runs[unit], seed=3 + number)
            facts[unit] = {"name": NAMES[unit], "version": str(1 + number), "model": None, "run_id": None, "day": None}
        return Output(rows=Rows(unit_in="champions", unit_out="champions", rows_in=2, rows_out=2), facts=facts)

    made = run.store.build(
        stage="champions",
        code="",
        settings={"units": list(units)},
        inputs={u: r.need("encode").uri for u, r in runs.items()},
        work=champions,
    )
    return ServedShop(run=run, champions=made.artifact, looked=look(run, made.artifact))


def look(
    run: Run, champions: Artifact, as_of: date | None = None, *, today: date | None = None, **settings: object
) -> dict[str, Artifact]:
    """Return `moment` and `readiness`, on the day `today` (None: the run's), of a day that is asked for or not."""
    asked = {"as_of": as_of, "day": today or run.record.day, "config": changed(run.record.config, settings)}
    looking = keep_run(run.home, run.record.model_copy(update={"run_id": f"{run.record.run_id}-looks", **asked}))
    made = {"clean": run.need("clean"), "ingest": run.need("ingest"), "champions": champions}
    for name in ("moment", "readiness"):
        uris = [made[each].uri for each in SERVING[name].inputs]
        made[name] = build_stage(name, looking, uris).artifact
    return {name: made[name] for name in ("moment", "readiness")}


def write_champion(folder: Path, run: Run, *, seed: int) -> None:
    """Write a champion's two folders: random weights, and the run's own reading of its log."""
    model = folder / "model"
    encode, verbalize = run.need("encode"), run.need("verbalize")
    write_bundle(model, encode, verbalize, seed, amounts=True, numbers=True, architecture="gpt2")
    Decision(threshold=0.5, calibration="platt", slope=0.9, intercept=0.1).save(model)
    config = run.record.config
    save_event_folder(
        folder / "events",
        source=config.source,
        examples=config.examples,
        clean=run.need("clean"),
        features=run.need("features"),
    )
