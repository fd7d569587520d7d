"""The leakage auditor: does anything that is known before an instant depend on what happened after it?

In comes a log as the user has it; out comes a list of checks. It is read as a run would read it, written out again
with canaries planted in the future of each cutoff and with its rows in other files and another order, and every stage
is built anew from that in a state folder of its own. The one thing to know: a canary may change labels of the window
that it lies in and whatever is later; nothing with a cutoff at or before it, and nothing fitted before it.
"""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from behavior_tasks.base.artifacts import Artifact, Output, Rows
from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, temporary_folder
from behavior_tasks.base.stage import Job
from behavior_tasks.data.keys import identity_key
from behavior_tasks.pipeline.audit_compare import Artifacts, Check, Comparison, count_canary_events
from behavior_tasks.pipeline.audit_log import FILES, AuditLog, Plant, audit_config, count_canaries, filled_constants
from behavior_tasks.pipeline.audit_side import write_side_tables
from behavior_tasks.pipeline.execute import build_stage
from behavior_tasks.pipeline.runs import Run, RunRecord, keep_run
from behavior_tasks.pipeline.stages import STAGES

EVER = datetime(9999, 1, 1)
SHUFFLED = f"rows in another order, in {FILES} files"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was audited, and what came of it."""

    events: int
    shoppers: int
    log_events: int
    """Events of the whole log."""
    checks: tuple[Check, ...]

    @property
    def clean(self) -> bool:
        """Whether every check is."""
        return all(check.clean for check in self.checks)


def audit_leakage(run: Run, *, most_events: int = 0, on_start: Callable[[str], None] = lambda step: None) -> Audit:
    """Audit a log with the settings of a started run.

    Args:
        run: whose log and settings are audited; its clean events are made or found in its own store.
        most_events: about so many events of whole shoppers are audited; 0: all.
        on_start: called with a word for people before each step.

    Raises:
        UserError: when the log can't be read or is too short for label windows.
    """
    on_start("reading the log")
    clean = _build(run, "clean")["clean"]
    return audit_events(clean, run.record.config, run.home, most_events=most_events, on_start=on_start)


def audit_stage(job: Job) -> Output:
    """Audit a sample of the clean events and write `audit.json`: `clean`, `checks`, `events`, `failed`, `problem`.

    `failed` names the checks that are not clean. With `gate.audit_events` 0 nothing is audited; a sample that can't be
    audited is a `problem` and no failure of the run: the gate then keeps the champion.
    """
    most, held = job.config.gate.audit_events, job.inputs["clean"].manifest.rows.rows_out
    failed: list[str] = []
    checks, events, problem = 0, 0, None if most else "gate.audit_events is 0"
    if most:
        try:
            with quiet():
                audit = audit_events(job.inputs["clean"], job.config, job.home, most_events=most)
        except UserError as error:
            problem = f"{error.problem} {error.found or ''}".strip()
        else:
            checks, events = len(audit.checks), audit.events
            failed = [f"{check.where}: {check.what}" for check in audit.checks if not check.clean]
    clean = bool(checks) and not failed
    content = {"clean": clean, "checks": checks, "events": events, "failed": failed, "problem": problem}
    (job.out / "audit.json").write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    rows = Rows(unit_in="events", unit_out="checks", rows_in=held, rows_out=checks)
    return Output(rows=rows, facts={"clean": clean, "failed": len(failed), "problem": problem})


@contextmanager
def quiet() -> Iterator[None]:
    """Keep still what the stages have to say: they run again and again here, and it would bury the checks."""
    log = logging.getLogger("behavior")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def audit_events(
    clean: Artifact,
    settings: Config,
    at: Home,
    *,
    most_events: int = 0,
    on_start: Callable[[str], None] = lambda step: None,
) -> Audit:
    """Audit clean events with the settings that they were made with.

    Args:
        clean: the artifact of the clean events.
        settings: of the run; those that the stages up to the texts read.
        at: the state folder below which the audited logs are built, and whose key of the pseudonyms is used.
        most_events: as for `audit_leakage`.
        on_start: as for `audit_leakage`.

    Raises:
        UserError: when so few events can't be divided into label windows.
    """
    log = AuditLog(clean, settings, most_events=most_events)
    config = audit_config(settings)
    # No event is later than the day on which the audited logs are read.
    day = datetime.fromisoformat(clean.facts["last"]).date() + timedelta(days=2)
    with _state_folder(at) as home:

        def build(name: str, log_path: Path, last: str, plant: Plant | None = None) -> Artifacts:
            on_start(name)
            beside = home.root / log_path.relative_to(home.root).parts[0]
            settings = write_side_tables(log.connection, beside, config, plant)
            return _build(_run(home, log_path, settings, day), last)

        memory_mb, last = config.engine.memory_mb, _last_stage(config)
        base = build("the log itself", log.write(home.root / "base"), last)
        other = build(SHUFFLED, log.write_shuffled(home.root / "shuffled"), last)
        checks = Comparison(SHUFFLED, base, other, EVER, memory_mb=memory_mb).all_checks()
        for number, plant in enumerate(plants(base, config)):
            path = log.write_planted(home.root / f"planted-{number}", plant)
            drawn = config.examples.unit == "shopper_product" and not plant.loud
            whole = not drawn and _fits_must_hold(plant, base)
            other = build(plant.name, path, last if whole else "features", plant)
            comparison = Comparison(plant.name, base, other, plant.at, memory_mb=memory_mb, drawn=drawn)
            checks += [_arrival(plant, comparison, count_canaries(log.connection)), *comparison.all_checks()]
    return Audit(
        events=log.events, shoppers=log.shoppers, log_events=clean.manifest.rows.rows_out, checks=tuple(checks)
    )


def plants(base: Artifacts, config: Config) -> list[Plant]:
    """Return where canaries are planted: in the label windows of test, validation, the last train cutoff, the first.

    In the train period they bear no prices and no ages: there, these rightly enter bounds and medians that hold for
    earlier events too. Where rules write an amount into every purchase, no canary can be without, and none is planted.
    """
    windows = base["cutoffs"].facts["windows"]
    train = [window for window in windows if window["split"] == "train"]
    chosen = [
        ("test", windows[-1], True),
        ("validation", windows[-2], True),
        ("the last train window", train[-1], False),
    ]
    filled = filled_constants(config)
    if "amount" in filled or {"price", "quantity"} <= filled:
        chosen = chosen[:2]
    elif len(train) > 1:
        chosen.append(("the first train window", train[0], False))
    last = datetime.fromisoformat(base["clean"].facts["last"])
    # After the log's last event canaries would move the windows themselves, as any longer log does.
    return [
        Plant(
            name=f"canaries in {name}",
            at=datetime.fromisoformat(window["cutoff"]),
            until=min(last, datetime.fromisoformat(window["end"])),
            loud=loud,
        )
        for name, window, loud in chosen
    ]


def _fits_must_hold(plant: Plant, base: Artifacts) -> bool:
    """Whether no canary lies in the past of a train cutoff; else bins and vocabulary rightly know of them."""
    train = [w["cutoff"] for w in base["cutoffs"].facts["windows"] if w["split"] == "train"]
    return plant.at.isoformat() >= max(train)


def _arrival(plant: Plant, comparison: Comparison, planted: int) -> Check:
    """Check that the canaries came through to the clean events and reached labels; else nothing is proven."""
    arrived, labels = count_canary_events(comparison.other["clean"]), comparison.changed_labels()
    void = "" if arrived and labels else "no canary came through" if not arrived else "no label saw a canary"
    what = f"{arrived:,} canaries among the clean events, {labels:,} labels changed as they should"
    return Check(where=plant.name, what=what, compared=planted, differing=0, void=void)


def _last_stage(config: Config) -> str:
    return "encode" if config.model.checkpoint == "scratch" else "verbalize"


def _run(home: Home, path: Path, config: Config, day: date) -> Run:
    record = RunRecord(
        run_id=path.stem,
        name=path.stem,
        day=day,
        trigger="inspection",
        input=str(path),
        preset="canonical",
        config=config,
    )
    return keep_run(home, record)


def _build(run: Run, last: str) -> dict[str, Artifact]:
    """Build what a stage needs, and itself, in the order of the table."""
    needed, waiting = {last}, [last]
    while waiting:
        for name in STAGES[waiting.pop()].inputs:
            plain = name.removesuffix("?")
            if plain not in needed and not (plain == "simulate" and run.record.input):
                needed.add(plain)
                waiting.append(plain)
    made: dict[str, Artifact] = {}
    for name in (name for name in STAGES if name in needed):
        inputs = (made.get(i.removesuffix("?")) for i in STAGES[name].inputs)
        made[name] = build_stage(name, run, [artifact.uri for artifact in inputs if artifact]).artifact
    return made


@contextmanager
def _state_folder(home: Home) -> Iterator[Home]:
    """Give a state folder that goes away again, with the identity key of another."""
    identity_key(home)
    with temporary_folder(home, "audit") as folder:
        own = Home(folder)
        if home.secrets.is_dir():
            own.secrets.symlink_to(home.secrets, target_is_directory=True)
        yield own
