"""Packaging: a train artifact in; a folder in MLflow's model format out, which any MLflow can load and serve.

It holds the model's folder, this package's code, `serving.py`, the signature and the exact requirements. Nothing
is pickled, and no path of this machine stays in it.
"""

from importlib.metadata import version
from pathlib import Path

import pandas as pd
import yaml

from behavior_tasks.base.artifacts import Artifact

MODEL_PLACE = "artifacts/model"
"""Where the model's folder lies inside the packaged model."""
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
    "tokenizers",
    "torch",
    "transformers",
)
"""Distributions that loading and scoring import; pinned to what is installed here."""
EXAMPLE = "browse product P1, click product P1 | 3 events"


def package_model(model: Artifact, out: Path, *, model_id: str, mlflow_run_id: str) -> None:
    """Write a trained model as an MLflow model (`MLmodel`, requirements, signature, input example).

    Args:
        model: the train artifact.
        out: folder to make.
        model_id: MLflow's id of the logged model.
        mlflow_run_id: MLflow's id of the run that made it.
    """
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema

    mlflow.pyfunc.save_model(
        path=str(out),
        mlflow_model=Model(model_id=model_id, model_uuid=model_id, run_id=mlflow_run_id),
        python_model=str(Path(__file__).with_name("serving.py")),
        artifacts={"model": str(model.path / "model")},
        code_paths=[str(PACKAGE_FOLDER)],
        signature=ModelSignature(
            inputs=Schema([ColSpec("string", "text")]),
            outputs=Schema([ColSpec("double", "probability"), ColSpec("boolean", "decision")]),
        ),
        input_example=pd.DataFrame({"text": [EXAMPLE]}),
        pip_requirements=_requirements(),
    )
    _without_paths(out / "MLmodel", model.uri)


def _requirements() -> list[str]:
    """Exact pins, without the build of torch that this machine happens to have (`+cpu`)."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS]


def _without_paths(file: Path, uri: str) -> None:
    """MLflow notes where files were copied from; say it without a path of this machine."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    flavor = content["flavors"]["python_function"]
    flavor["artifacts"]["model"]["uri"] = uri
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    file.write_text(yaml.safe_dump(content, sort_keys=True, allow_unicode=True), encoding="utf-8")
