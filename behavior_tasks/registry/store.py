"""The MLflow store: which one is meant, a client for it, and the experiment and run of a run id.

`MLFLOW_TRACKING_URI` names a server; without it, a SQLite file and a folder below the state folder are the store.
Nothing here touches MLflow's global state: every call goes through a client that knows its store.
"""

import errno
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from filelock import FileLock

from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

URI_VARIABLE = "MLFLOW_TRACKING_URI"
DATABASE = "mlflow.db"
RUN_TAG = "dag_run_id"
"""Tag by which a run is found again, whatever process asks."""
ENVIRONMENT: dict[str, str] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # A server that is down is said within seconds, not after MLflow's default of several minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    # What a model needs is named in full; a lock file in the working folder is none of its business.
    "MLFLOW_UV_AUTO_DETECT": "false",
}
"""Defaults for MLflow, read when it is imported; what the user has set stands."""


def tracking_uri(home: Home) -> str:
    """Return the store's address: `MLFLOW_TRACKING_URI`, else the SQLite file in the state folder."""
    return os.environ.get(URI_VARIABLE) or f"sqlite:///{home.mlflow / DATABASE}"


def public_uri(home: Home) -> str:
    """Return the store's address without a login; of the embedded one, without a path of this machine."""
    return "the state folder" if is_embedded(home) else _without_login(tracking_uri(home))


def is_embedded(home: Home) -> bool:
    """Whether the store is the SQLite file in the state folder."""
    return tracking_uri(home) == f"sqlite:///{home.mlflow / DATABASE}"


def exists(home: Home) -> bool:
    """Whether there can be anything in the store; costs no import of MLflow."""
    return not is_embedded(home) or (home.mlflow / DATABASE).is_file()


class UnreachableError(UserError):
    """The MLflow server does not answer: nothing is wrong with what was asked, and later it may be taken."""


@contextmanager
def connect(home: Home) -> Iterator["MlflowClient"]:
    """Yield a client of the store, making the embedded one when it is not there yet.

    Raises:
        UnreachableError: when a server is named and does not answer.
        UserError: when it refuses the login, has tables of another version, or its disk is full.
    """
    failure = failures()
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    uri = tracking_uri(home)
    try:
        if is_embedded(home):
            make_folder(home.mlflow)
            with _lock(home, "store"):  # two processes must not make the tables at the same time
                client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        else:
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        yield client
    except (failure, OSError) as error:
        explained = explain(error, uri)
        if explained is None:
            raise
        raise explained from None


def explain(error: Exception, uri: str) -> UserError | None:
    """Return what a person has to do about a failure of the store, or None where it is none that a person can mend."""
    import requests

    text, shown = str(error), _without_login(uri)
    answer = getattr(error, "response", None)
    status = answer.status_code if answer is not None else _status(text)
    if status in {401, 403}:
        return UserError(
            "MLflow refuses this login." if status == 401 else "MLflow does not allow this user to do that.",
            found=f"{shown} answers {status}",
            expected="a user of that server who may write to the experiment and the registered model",
            next_step="export MLFLOW_TRACKING_USERNAME=… MLFLOW_TRACKING_PASSWORD=…, then `behavior sync`",
        )
    if "out-of-date database schema" in text:
        return UserError(
            "The MLflow store was made by another version of MLflow.",
            found=text.partition("(")[2].partition(")")[0],
            next_step=f"keep a copy of the database, then `mlflow db upgrade {shown}`",
        )
    if getattr(error, "errno", None) in {errno.ENOSPC, errno.EFBIG, errno.EDQUOT} or _says_full(text):
        return UserError(
            "The disk of the MLflow store is full.",
            found=shown,
            expected="room for the run's files; what was not written waits in the state folder",
            next_step="free some space, then `behavior sync`",
        )
    if "API request to" in text or (status or 0) >= 500 or isinstance(error, requests.RequestException):
        return UnreachableError(
            "The MLflow server does not answer.",
            found=shown,
            expected=f"a running MLflow server ({URI_VARIABLE} names it)",
            next_step="start the server, then `behavior sync`; what a run has to tell it waits until then",
        )
    return None


def _status(text: str) -> int | None:
    """Return the HTTP status that MLflow mentions in a message: 401 of `failed with error code 401 != 200`."""
    found = re.search(r"failed with error code (\d{3})", text)
    return int(found[1]) if found else None


def _says_full(text: str) -> bool:
    return any(words in text for words in ("database or disk is full", "disk I/O error", "No space left on device"))


def failures() -> type[Exception]:
    """Return what MLflow raises, whatever fails in its store; imports it, with this project's defaults."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow.exceptions import MlflowException

    return MlflowException


@contextmanager
def exclusive(home: Home) -> Iterator[None]:
    """Let one process at a time find or make something in the store."""
    make_folder(home.mlflow)
    with _lock(home, "change"):
        yield


def experiment_id(client: "MlflowClient", home: Home, config: Config) -> str:
    """Return the experiment's id, making the experiment when it is not there yet."""
    name = config.registry.experiment
    found = client.get_experiment_by_name(name)
    if found is None:
        # A server decides by itself where files go; the embedded store keeps them beside its database.
        place = (home.mlflow / "artifacts").as_uri() if is_embedded(home) else None
        return client.create_experiment(name, artifact_location=place)
    if found.lifecycle_stage == "deleted":
        raise UserError(
            f"The MLflow experiment {name} is deleted.",
            expected="an active experiment (registry.experiment)",
            next_step=f"`mlflow experiments restore -x {found.experiment_id}`, or set registry.experiment anew",
        )
    return str(found.experiment_id)


def find_run(client: "MlflowClient", home: Home, config: Config, run_id: str) -> "Run | None":
    """Return the MLflow run of a run id, or None. Should there be several, the first one made counts."""
    if "'" in run_id:
        raise ValueError(f"a run id holds no quotation mark: {run_id}")
    found = client.search_runs(
        [experiment_id(client, home, config)],
        filter_string=f"tags.{RUN_TAG} = '{run_id}'",
        order_by=["attributes.start_time ASC"],
        max_results=1,
    )
    return found[0] if found else None


def need_run(client: "MlflowClient", home: Home, config: Config, run_id: str) -> "Run":
    """Return the MLflow run of a run id.

    Raises:
        UserError: when tracking was never started for it.
    """
    run = find_run(client, home, config, run_id)
    if run is None:
        raise UserError(
            f"There is no MLflow run for {run_id}.",
            expected=f"an active run with the tag {RUN_TAG} in the experiment {config.registry.experiment}",
            next_step="run the DAG or `behavior run` again; it starts one",
        )
    return run


def _lock(home: Home, name: str) -> FileLock:
    return FileLock(home.mlflow / f".{name}.lock")


def _without_login(uri: str) -> str:
    if uri.startswith("sqlite:"):
        return uri
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
