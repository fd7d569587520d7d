"""Packaging: a model folder and what it must know of the log in; a folder in MLflow's model format out.

Any MLflow can load and serve it: it holds both folders, this package's code, `serving.py`, the signature and the exact
requirements. The one thing to know: nothing is pickled, no path of this machine stays in it, and neither a shopper nor
the key of the pseudonyms ever comes into it.
"""

import json
import logging
import shutil
from collections.abc import Sequence
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from behavior_tasks.base.artifacts import Artifact, ArtifactStore
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.schema import EVENT_COLUMNS, OPTIONAL_COLUMNS
from behavior_tasks.model.event_folder import EventSettings

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

MODEL_PLACE = "artifacts/model"
"""Where the model's folder lies inside the packaged model."""
PACKAGES = "packages"
"""Folder of the stage's artifact with one folder a model."""
PACKAGE_FOLDER = Path(__file__).resolve().parents[1]
REQUIREMENTS: tuple[str, ...] = (
    "duckdb",
    "httpx",
    "mlflow",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "pyyaml",
    "rich",
    "safetensors",
    "scikit-learn",
    "skops",
    "threadpoolctl",
    "tokenizers",
    "torch",
    "transformers",
)
"""Distributions that loading and scoring import; pinned to what is installed here."""
AS_OF = "as_of"
log = logging.getLogger("behavior")
MADE_UP: tuple[dict[str, Any], ...] = (
    {"user_id": "a", "days": 9, "action": "browse", "product_id": "mug-1", "price": 12.5, "category": "kitchen"},
    {"user_id": "a", "days": 2, "action": "add_to_cart", "product_id": "mug-1", "price": 12.5, "category": "kitchen"},
    {
        **{"user_id": "b", "days": 5, "action": "purchase", "product_id": "lamp-2", "category": "lighting"},
        **{"quantity": 2.0, "price": 20.0, "amount": 40.0, "age": 34, "gender": "female"},
    },
    {"user_id": "b", "days": 1, "action": "search", "product_id": None, "query": "red lamp", "gender": "female"},
)
"""Events of the input example, so many days before its instant: real ones would be somebody's."""


def package_model(model: Path, events: Path, out: Path, *, uri: str) -> None:
    """Write a model as an MLflow model (`MLmodel`, requirements, signature, input example).

    Args:
        model: a model folder.
        events: what `save_event_folder` wrote for it.
        out: folder to make.
        uri: the artifact that the model folder stands in; it names the model wherever it is loaded from.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    settings = EventSettings.load(events)
    mlflow.pyfunc.save_model(
        path=str(out),
        mlflow_model=Model(metadata={"artifact": uri, "format": _format_of(model)}),
        python_model=str(Path(__file__).with_name("serving.py")),
        artifacts={"model": str(model), "events": str(events)},
        code_paths=[str(PACKAGE_FOLDER)],
        signature=_signature(settings),
        input_example=_example(settings),
        pip_requirements=_requirements(),
        model_config={"version": uri.rpartition("/")[2][:12]},
    )
    _without_paths(out / "MLmodel", {"model": uri, "events": uri})
    for folder in list((out / "code").rglob("__pycache__")):
        shutil.rmtree(folder)


def packaged_model(package: Path, name: str = "candidate") -> Path | None:
    """Return the folder of a packaged model in an artifact of the stage `package`; None when it was not written."""
    folder = package / PACKAGES / name
    return folder if (folder / "MLmodel").is_file() else None


def find_packaged(model: Artifact) -> Path | None:
    """Return the packaged folder of a model from the artifact store that it lies in, or None.

    A damaged package is passed over: it may be another run's, and the model may be packaged elsewhere too.

    Args:
        model: the artifact that holds the model folder: train, or baselines for gradient boosting.
    """
    store = ArtifactStore(model.path.parents[1])
    name = "boosting" if model.manifest.stage == "baselines" else "candidate"
    for folder in sorted((store.root / "package").glob("[0-9a-f]*")):
        try:
            artifact = store.find("package", folder.name)
        except UserError as damaged:
            log.warning("%s It is passed over. Found: %s", damaged.problem, damaged.found)
            continue
        if artifact is not None and artifact.manifest.inputs.get(model.manifest.stage) == model.uri:
            found = packaged_model(artifact.path, name)
            if found is not None:
                return found
    return None


def need_packaged(model: Artifact) -> Path:
    """Return what `find_packaged` finds.

    Raises:
        UserError: when no artifact of the stage `package` holds the model.
    """
    found = find_packaged(model)
    if found is None:
        raise UserError(
            f"The model {model.uri} is not packaged, so it can't be registered.",
            expected="an artifact of the stage package that holds it",
            next_step="see `problem` in package.json of the run's stage package, mend it and run again",
        )
    return found


def adopt_package(packaged: Path, out: Path, *, model_id: str, mlflow_run_id: str) -> None:
    """Copy a packaged model and write into it whose it is.

    Args:
        packaged: what `package_model` wrote.
        out: folder to make.
        model_id: MLflow's id of the logged model.
        mlflow_run_id: MLflow's id of the run that made it.
    """
    shutil.copytree(packaged, out)
    file = out / "MLmodel"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content |= {"model_id": model_id, "model_uuid": model_id, "run_id": mlflow_run_id}
    file.write_text(yaml.safe_dump(content, sort_keys=True, allow_unicode=True), encoding="utf-8")


def _format_of(model: Path) -> str:
    return str(json.loads((model / "config.json").read_bytes()).get("format"))


def _signature(settings: EventSettings) -> "ModelSignature":
    """What goes in and comes out. Columns take values of any type, for ids and times are written in many ways."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    needed = {c.name for c in EVENT_COLUMNS if c.required}
    if settings.reader.source.default_action:
        needed -= {"action"}
    product = [] if settings.examples.unit == "shopper" else [ColSpec(AnyType(), "product_id")]
    return ModelSignature(
        inputs=Schema([ColSpec(AnyType(), c.name, required=c.name in needed) for c in EVENT_COLUMNS]),
        outputs=Schema(
            [
                ColSpec(AnyType(), "user_id"),
                *product,
                ColSpec("double", "probability"),
                ColSpec("double", "expected_amount", required=False),
                ColSpec("boolean", "decision"),
                ColSpec("string", "version"),
            ]
        ),
        params=ParamSchema([ParamSpec(AS_OF, DataType.string, "")]),
    )


def _example(settings: EventSettings) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return made-up events with the columns that the log has, and the instant to look at."""
    names = [c.name for c in EVENT_COLUMNS if c.required or c.name in settings.reader.present]
    rows: Sequence[dict[str, Any]] = [
        {**row, "timestamp": f"{settings.market - timedelta(days=row['days']):%Y-%m-%dT%H:%M:%SZ}"} for row in MADE_UP
    ]
    table = pd.DataFrame([{name: row.get(name) for name in names} for row in rows]).astype(
        {name: float for name in ("quantity", "price", "amount", "age") if name in names}
    )
    # A column of which no row has a value says nothing and is left out.
    empty = [name for name in OPTIONAL_COLUMNS if name in table and table[name].isna().all()]
    return table.drop(columns=empty), {AS_OF: f"{settings.market:%Y-%m-%dT%H:%M:%SZ}"}


def _requirements() -> list[str]:
    """Exact pins, without the build of torch that this machine happens to have (`+cpu`)."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS]


def _without_paths(file: Path, uris: dict[str, str]) -> None:
    """MLflow notes where files were copied from; say it without a path of this machine."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    flavor = content["flavors"]["python_function"]
    for name, uri in uris.items():
        flavor["artifacts"][name]["uri"] = uri
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    file.write_text(yaml.safe_dump(content, sort_keys=True, allow_unicode=True), encoding="utf-8")
