"""What came later: an output that was handed out some days ago in; the log of today, read and cleaned again, out.

The log is read as the newest scoring read it, from the same place with the same settings. The one thing to know: what
the store has already is not read again, so where the log has not grown this costs no more than hashing it.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any, Protocol

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.data.keys import fingerprint, identity_key
from behavior_tasks.pipeline.execute import run_stages
from behavior_tasks.pipeline.runs import SCORING, Run, RunRecord, keep_run, last_runs, open_run
from behavior_tasks.pipeline.serving import last_scoring
from behavior_tasks.pipeline.stages import SERVING

MOST_RUNS = 1000
UNTIL_CLEAN = ("simulate", "source", "ingest", "clean")


class HandedOut(Protocol):
    """What was made from a log and handed out: an application's output of a date, or a list of it."""

    @property
    def application(self) -> str:
        """The application."""

    @property
    def as_of(self) -> date:
        """Its date."""

    @property
    def artifact(self) -> str:
        """URI of the artifact that it comes from."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What is known of it; `identity_key` is the fingerprint of the key of its pseudonyms."""


def newest_scoring(home: Home) -> Run:
    """Return the scoring that was started last.

    Raises:
        UserError: when there is none.
    """
    if (run := last_scoring(home)) is not None:
        return run
    raise UserError("Nothing has been scored yet.", next_step="behavior score --input log.csv")


def scoring_of(home: Home, served: HandedOut) -> Run:
    """Return the scoring that made an output, or the newest one where that is forgotten."""
    for run in last_runs(home, most=MOST_RUNS, triggers=SCORING):
        if any(record.uri == served.artifact for record in run.stages()):
            return run
    return newest_scoring(home)


def read_again(home: Home, run_id: str, *, day: date, as_read_by: Run, input_path: str | None = None) -> Run:
    """Read and clean a log again, in a run of its own.

    Args:
        home: the state folder.
        run_id: of the new run.
        day: of the new run.
        as_read_by: whose settings and log are used.
        input_path: another place of the log; None: where that run found it.
    """
    old = as_read_by.record
    record = RunRecord(
        run_id=run_id,
        name=f"{day.isoformat()} {run_id}",
        day=day,
        trigger="inspection",
        input=old.input if input_path is None else input_path,
        preset=old.preset,
        config=old.config,
    )
    run = keep_run(home, record)
    run_stages(run.uri, stages={name: SERVING[name] for name in UNTIL_CLEAN})
    return open_run(run.uri)


def same_key(home: Home, served: HandedOut) -> bytes:
    """Return the identity key.

    Raises:
        UserError: when it is another one than that of an output's pseudonyms.
    """
    key = identity_key(home)
    made_with = served.facts["identity_key"]
    if made_with != fingerprint(key):
        raise UserError(
            f"The identity key that is set is not the one of the {served.application} of {served.as_of}.",
            found=f"a key with the fingerprint {fingerprint(key)}",
            expected=str(made_with),
            next_step="set BEHAVIOR_IDENTITY_KEY to that key, or bring back secrets/identity.key in the state folder",
        )
    return key


def need_clean(run: Run) -> Artifact:
    """Return a run's clean events, which must be there."""
    clean = run.artifact("clean")
    assert clean is not None  # `read_again` has made them
    return clean
