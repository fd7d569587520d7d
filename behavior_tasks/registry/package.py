"""Packaging: a train artifact in; a folder in MLflow's model format out, which any MLflow can load and serve.

It holds the model's folder, this package's code, `serving.py`, the signature and the exact requirements. Nothing
is pickled, and no path of this machine stays in it.
"""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import yaml

from behavior_tasks.base.artifacts import Artifact

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

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
EXAMPLES = {
    "compact": "[profile][age-25-34][bought-twice][3-days][browse] top-1[1-day][buy] top-2[amount-q5][now][hours]",
    "en": "User A browsed product B, 3 days later purchased product B for 12.50, hours ago. "
    "Profile: female, 25-34, two purchases.",
    "zh": "用户A浏览了商品B，3天后购买了商品B，花费12.50，距今几小时。画像：女，25至34岁，两次购买。",
}
"""Made-up texts for the input example, by style or language: a real one, though it has no names, is somebody's."""


def package_model(model: Artifact, out: Path, *, model_id: str, mlflow_run_id: str) -> None:
    """Write a trained model as an MLflow model (`MLmodel`, requirements, signature, input example).

    Args:
        model: the train artifact.
        out: folder to make.
        model_id: MLflow's id of the logged model.
        mlflow_run_id: MLflow's id of the run that made it.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    example = _example(model.path / "model")
    mlflow.pyfunc.save_model(
        path=str(out),
        mlflow_model=Model(model_id=model_id, model_uuid=model_id, run_id=mlflow_run_id),
        python_model=str(Path(__file__).with_name("serving.py")),
        artifacts={"model": str(model.path / "model")},
        code_paths=[str(PACKAGE_FOLDER)],
        signature=_signature(list(example.columns[1:])),
        input_example=example,
        pip_requirements=_requirements(),
    )
    _without_paths(out / "MLmodel", model.uri)


def _signature(numbers: Sequence[str]) -> "ModelSignature":
    """What goes in: a text, and the features that are read as numbers, any of which may be empty."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    answers = [ColSpec("double", "probability"), ColSpec("boolean", "decision")]
    return ModelSignature(
        inputs=Schema([ColSpec("string", "text"), *(ColSpec("double", name, required=False) for name in numbers)]),
        outputs=Schema([*answers, ColSpec("double", "expected_amount", required=False)]),
    )


def _example(folder: Path) -> pd.DataFrame:
    """Return a made-up text in the model's style and language, beside each number's median on train."""
    settings = json.loads((folder / "text.json").read_bytes())
    encoding = json.loads((folder / "config.json").read_bytes())["numbers"] or {"names": [], "edges": []}
    style = settings.get("style")
    text = EXAMPLES["compact" if style == "compact" else settings["language"]]
    # The edges of the numbers' bins are quantiles; the one in the middle is about the median.
    medians = {
        name: float(edges[len(edges) // 2]) for name, edges in zip(encoding["names"], encoding["edges"], strict=True)
    }
    return pd.DataFrame({"text": [text], **{name: [value] for name, value in medians.items()}})


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
