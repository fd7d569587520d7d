"""What an MLflow server holds, as far as its interface shows it: a store in; texts and files out.

The one thing to know: the interface shows no traces, accounts or rows that were deleted for good; who must be sure
reads the server's database and files.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behavior_tasks.base.home import Home
from behavior_tasks.registry import store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

PAGE = 200
NOT_SHOWN = "MLflow's traces, accounts and what was deleted for good: its interface does not show them"


def server_texts(home: Home) -> Iterator[tuple[str, str]]:
    """Yield what and its content as JSON: experiments, runs (deleted ones too), models and versions.

    Raises:
        UserError: when the server does not answer or refuses.
    """
    from mlflow.entities import ViewType

    with store.connect(home) as client:
        for experiment in client.search_experiments(view_type=ViewType.ALL):
            yield "experiments", _json(dict(experiment))
            for run in _runs(client, experiment.experiment_id):
                yield "runs", _json(run.to_dictionary())
        for model in client.search_registered_models():
            yield "registered models", _json({"name": model.name, "about": model.description, "tags": model.tags})
            for version in client.search_model_versions(f"name = '{model.name}'"):
                told = {"about": version.description, "tags": version.tags, "source": version.source}
                yield "model versions", _json(told)


def server_files(home: Home, folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name of a run or a logged model and its files, fetched into a folder; the caller deletes each.

    Raises:
        UserError: when the server does not answer or refuses.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.entities import ViewType

    uri = store.tracking_uri(home)
    with store.connect(home) as client:
        for experiment in client.search_experiments(view_type=ViewType.ACTIVE_ONLY):
            sources = {
                f"run {run.info.run_id}": run.info.artifact_uri
                for run in _runs(client, experiment.experiment_id)
                if client.list_artifacts(run.info.run_id)
            }
            for model in _models(client, experiment.experiment_id):
                sources[f"model {model.model_id}"] = model.artifact_location
            for number, (name, source) in enumerate(sources.items()):
                place = folder / str(number)
                place.mkdir()
                download_artifacts(artifact_uri=source, dst_path=str(place), tracking_uri=uri)
                yield name, place


def _models(client: "MlflowClient", experiment_id: str) -> Iterator["LoggedModel"]:
    token = None
    while True:
        page = client.search_logged_models([experiment_id], max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _runs(client: "MlflowClient", experiment_id: str) -> Iterator["Run"]:
    from mlflow.entities import ViewType

    token = None
    while True:
        page = client.search_runs([experiment_id], run_view_type=ViewType.ALL, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, default=str)
