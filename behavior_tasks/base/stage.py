"""What a stage is given: settings, finished inputs, and a folder to write into.

Every room's entry function has the same shape, `work(job) -> Output`, so that the pipeline can name the
stages in one table and the command line and the DAG can run the same functions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home

Report = Callable[[Mapping[str, float], int], None]
"""Takes figures by name, and the step they belong to. Called while a stage runs; changes nothing of its result."""


Judge = Callable[[Mapping[str, float], int], bool]
"""Takes the figures of a finished epoch, and its number; says whether the training is worth going on with."""


class AbandonedError(Exception):
    """The judge found a training hopeless: it was stopped, and nothing of it is kept."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One piece of work.

    The work may read only its inputs and the slice of the configuration that the stage declares, because
    only those are in its key.
    """

    config: Config
    inputs: Mapping[str, Artifact]
    out: Path
    """An empty folder; what is in it when the work returns becomes the artifact."""
    key: str
    """The artifact's key, e.g. to find unfinished work of the same key."""
    home: Home
    today: date
    """The day of the run; never the clock."""
    day: date | None = None
    """The day that the stage's row says it is about, as it stands in the key; None: the row names none."""
    raw: str | None = None
    """The user's log as typed: a file, a folder, a pattern, a URL or a database; None when the
    simulated shop stands in for it."""
    rejects: Path | None = None
    """Where a refused ingest leaves the table of its quarantined rows; None: nowhere."""
    outside: Mapping[str, str] = field(default_factory=dict)
    """What the stage declared to read from outside the store, as it stands in the key."""
    report: Report | None = None
    """Takes live figures of long work, e.g. into MLflow; None: nobody wants them."""
    judge: Judge | None = None
    """Asked after every epoch of a training; None: it goes on to its end."""
