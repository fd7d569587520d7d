"""Serving a day: a run's stages in; what each application made, handed out by date, and how the night ended, out.

An application is handed out as soon as it is finished, so one that fails takes nothing away that another has made, nor
yesterday's output of its own. The one thing to know: a stage without a record has failed, or waited for one that did.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date
from types import TracebackType
from typing import Any

from behavior_tasks.base.errors import UserError, nearest
from behavior_tasks.base.home import Home
from behavior_tasks.base.in_use import using_artifacts
from behavior_tasks.pipeline.execute import run_stage
from behavior_tasks.pipeline.runs import SCORING, Run, StageRecord, last_runs, open_run
from behavior_tasks.pipeline.stages import SERVING, Stage, needed_for
from behavior_tasks.serve.banners import Banner, banners_of, needs_a_look
from behavior_tasks.serve.served import FOLDER, Served, publish

APPLICATIONS = tuple(name for name in SERVING if name not in needed_for("readiness"))
"""Stages that hand something out, or make what another of them needs."""
RECORD = "scored"


@dataclass(kw_only=True)
class Scoring:
    """How a night ended."""

    as_of: date
    champions: dict[str, str | None]
    """Unit → `name version`, or None."""
    served: list[Served] = field(default_factory=list)
    """What was handed out, in the order of the table."""
    banners: list[Banner] = field(default_factory=list)
    """Above any output, each once."""
    failed: dict[str, str] = field(default_factory=dict)
    """Application → why there is nothing new of it."""

    @property
    def problems(self) -> list[str]:
        """What somebody has to look at, a paragraph each: failed applications, and banners that are no notice."""
        failed = [f"{name} failed; what it gave before is still there.\n{why}" for name, why in self.failed.items()]
        return failed + [f"{b.words} Next: {b.next_step}" for b in self.banners if needs_a_look([b])]


def chosen_stages(only: Collection[str] = ()) -> dict[str, Stage]:
    """Return the rows of some applications and of what they need; all of them without names.

    Raises:
        UserError: for a name that is no application.
    """
    for name in only:
        if name not in APPLICATIONS:
            raise UserError(
                f"There is no application {name}.",
                expected=f"one of {', '.join(APPLICATIONS)}",
                next_step=f"behavior score --only {nearest(name, APPLICATIONS) or APPLICATIONS[0]}",
            )
    wanted = set(SERVING) if not only else needed_for("readiness").union(*map(needed_for, only))
    return {name: row for name, row in SERVING.items() if name in wanted}


def serve_stage(name: str, run_uri: str, *inputs: str | None) -> str:
    """Run one stage as `run_stage` does, hand out what it made for people and programs, and return its URI."""
    with using_artifacts(open_run(run_uri).home):
        uri = run_stage(name, run_uri, *inputs)
        run = open_run(run_uri)
        made, ready = run.store.open(uri), _ready_for(run)
        if ready is not None and (made.path / FOLDER).is_dir():
            publish(run.home, made, *ready)
    return uri


def serve_stages(
    run_uri: str,
    *,
    stages: Mapping[str, Stage] = SERVING,
    on_start: Callable[[str], None] = lambda _: None,
    on_end: Callable[[StageRecord], None] = lambda _: None,
    on_failure: Callable[[str, str], None] = lambda *_: None,
) -> Scoring:
    """Run the stages in this process, in their order, and hand out each application that ends well.

    Args:
        run_uri: what `start_run` gave.
        stages: rows of the table, in their order.
        on_start: called with a stage's name before it runs.
        on_end: called with its record afterwards.
        on_failure: called with a stage's name and the reason, in place of `on_end`.

    Raises:
        UserError: when a stage fails that every application needs; nothing is handed out then.
    """
    run = open_run(run_uri)
    uris: dict[str, str] = {}
    faults: list[Exception] = []
    for name, row in stages.items():
        if name == "simulate" and run.record.input:
            continue
        if not _ready(name, uris):
            on_failure(name, _missing(name, uris))
            continue
        on_start(name)
        with _Apart(faults, name in APPLICATIONS):
            uris[name] = serve_stage(name, run_uri, *(uris.get(i.removesuffix("?")) for i in row.inputs))
        if name in uris:
            on_end(next(record for record in run.stages() if record.stage == name))
        else:
            on_failure(name, _why(run, name))
    scoring = conclude_scoring(run_uri, stages)
    if faults:
        raise faults[0]
    return scoring


def conclude_scoring(run_uri: str, stages: Collection[str] = SERVING) -> Scoring:
    """Return how a night ended, and keep that in the run's folder.

    Args:
        run_uri: what `start_run` gave.
        stages: what was to be done.

    Raises:
        UserError: when it did not come as far as the first application.
    """
    run = open_run(run_uri)
    ready = _ready_for(run)
    if ready is None:
        error = run.noted("error") or {"stage": "start", "message": "the log of the task that failed says why"}
        raise UserError(
            f"Nothing was scored: the run stopped in the stage {error['stage']}.",
            found=error["message"],
            next_step="behavior score, when that is mended; what was handed out before is still there",
        )
    as_of, banners = ready
    scoring = Scoring(as_of=as_of, champions=_versions(run.need("champions").facts))
    done = {record.stage for record in run.stages()}
    scoring.served = _publish_all(run, as_of, banners)
    banners += [banner for served in scoring.served for banner in served.banners]
    for name in APPLICATIONS:
        if name in stages and name not in done:
            scoring.failed[name] = _why(run, name) if _ready(name, done) else _missing(name, done)
    scoring.banners = list(dict.fromkeys(banners))
    run.note(
        RECORD,
        {
            "as_of": as_of.isoformat(),
            "champions": scoring.champions,
            "served": [served.application for served in scoring.served],
            "banners": [banner.model_dump() for banner in scoring.banners],
            "failed": scoring.failed,
        },
    )
    return scoring


def last_scoring(home: Home) -> Run | None:
    """Return the scoring that was started last, or None."""
    return next(iter(last_runs(home, most=1, triggers=SCORING)), None)


class _Apart(AbstractContextManager[None]):
    """A block that may fail for itself: a user's mistake ends it alone, a fault of the program is kept for later."""

    def __init__(self, faults: list[Exception], apart: bool) -> None:
        self.faults, self.apart = faults, apart

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not self.apart or not isinstance(error, Exception):
            return False
        if not isinstance(error, UserError):
            self.faults.append(error)
        return True


def _ready_for(run: Run) -> tuple[date, list[Banner]] | None:
    """Return the day that the run looks at and the banners of all its outputs; None before they are known."""
    ready = run.artifact("readiness")
    if ready is None:
        return None
    return date.fromisoformat(run.need("moment").facts["as_of"]), banners_of(ready.facts)


def _publish_all(run: Run, as_of: date, banners: Sequence[Banner]) -> list[Served]:
    made = (run.artifact(record.stage) for record in run.stages())
    return [publish(run.home, one, as_of, banners) for one in made if one is not None and (one.path / FOLDER).is_dir()]


def _versions(facts: Mapping[str, Any]) -> dict[str, str | None]:
    return {unit: f"{fact['name']} {fact['version']}" if fact else None for unit, fact in facts.items()}


def _ready(name: str, done: Collection[str]) -> bool:
    return all(i.endswith("?") or i in done for i in SERVING[name].inputs)


def _missing(name: str, done: Collection[str]) -> str:
    gone = [i for i in SERVING[name].inputs if not i.endswith("?") and i not in done]
    return f"It needs {' and '.join(gone)}, which failed."


def _why(run: Run, name: str) -> str:
    noted = run.noted(f"error-{name}")
    return str(noted["message"]) if noted else "A fault of the program, or a killed task; its log says more."
