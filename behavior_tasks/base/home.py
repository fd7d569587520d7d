"""The state folder: the one place under which everything is written.

`BEHAVIOR_HOME` names it, `var/` is the default. Between tasks only URIs travel (`artifact://train/4f0c…`,
`run://2026-11-23-nightly`); this module turns them into paths, so no absolute path reaches a log or an XCom.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.workfolder import sweep, work_folder

HOME_VARIABLE = "BEHAVIOR_HOME"


@dataclass(frozen=True)
class Home:
    """Folders below the state folder; none is made before something is written into it."""

    root: Path

    @property
    def artifacts(self) -> Path:
        """Content-addressed results of the stages."""
        return self.root / "artifacts"

    @property
    def runs(self) -> Path:
        """One folder a run: its settings and which artifact each stage gave."""
        return self.root / "runs"

    @property
    def work(self) -> Path:
        """Unfinished training, by key, from which a killed run resumes; and temporary folders."""
        return self.root / "work"

    @property
    def raw(self) -> Path:
        """Copies of logs that came from a URL or a database."""
        return self.root / "raw"

    @property
    def cache(self) -> Path:
        """What can be thrown away at any time and is made again."""
        return self.root / "cache"

    @property
    def secrets(self) -> Path:
        """Keys, mode 0700; never below a run or an artifact."""
        return self.root / "secrets"

    @property
    def mlflow(self) -> Path:
        """The embedded MLflow store."""
        return self.root / "mlflow"

    @property
    def registry(self) -> Path:
        """The promotion ledger."""
        return self.root / "registry"

    @property
    def tuning(self) -> Path:
        """The studies: their trials' database, and a folder each with its plots and report."""
        return self.root / "tuning"

    @property
    def tuned(self) -> Path:
        """The best settings of each study, as presets."""
        return self.root / "tuned"

    @property
    def served(self) -> Path:
        """What the shop takes away: for each application a folder a date, `date=2026-11-23`."""
        return self.root / "served"

    @property
    def campaigns(self) -> Path:
        """Lists of shoppers that somebody has taken away, as they were, until they are too old."""
        return self.root / "campaigns"

    @property
    def watch(self) -> Path:
        """What the watch found, day by day."""
        return self.root / "watch"

    @property
    def privacy(self) -> Path:
        """What was spent of the privacy budget, who was erased, and the certificates."""
        return self.root / "privacy"

    @property
    def airflow(self) -> Path:
        """AIRFLOW_HOME of the embedded Airflow."""
        return self.root / "airflow"

    @property
    def services(self) -> Path:
        """What `behavior up` runs: process ids and logs."""
        return self.root / "services"


def current_home() -> Home:
    """Return the state folder named by BEHAVIOR_HOME, else `var/` below the working folder."""
    return Home(Path(os.environ.get(HOME_VARIABLE) or "var").resolve())


@contextmanager
def temporary_folder(home: Home, purpose: str) -> Iterator[Path]:
    """Return a folder below the state folder that goes away at the end of a `with` block, which gives its path.

    Args:
        purpose: a word in small letters, for its name.

    Raises:
        UserError: when the state folder cannot be written to.
    """
    with work_folder(make_folder(home.work), purpose) as folder:
        yield folder


def sweep_temporary_folders(home: Home) -> None:
    """Delete the temporary folders whose process was killed; those of living processes stay."""
    if home.work.is_dir():
        sweep(home.work)


def make_folder(path: Path) -> Path:
    """Create a folder and its parents.

    Raises:
        UserError: when the place cannot be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The folder {path.name} can't be made in the state folder.",
            found=error.strerror,
            expected=f"a folder that this user may write to ({HOME_VARIABLE} names it)",
            next_step=f"export {HOME_VARIABLE}=/a/writable/folder",
        ) from None
    return path
