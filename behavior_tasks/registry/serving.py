"""The model as MLflow serves it: a table with a column `text` in; purchase probability and decision out.

MLflow copies this file, the model's folder and this package's code into the registered model and runs the
file when the model is loaded; no object is pickled. The probability is exactly that of `model.predict`.
"""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

from behavior_tasks.model.predict import score_texts, threshold


class BehaviorModel(PythonModel):
    """Scores shoppers' texts with the model folder that was registered."""

    def load_context(self, context: PythonModelContext) -> None:
        """Remember where the model's folder is and from which probability on a shopper is called a buyer."""
        self._folder = Path(context.artifacts["model"])
        self._threshold = threshold(self._folder)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return `probability` (float64) and `decision` (bool), one row for each row of `text`."""
        texts = model_input["text"].astype(str).tolist()
        probabilities = score_texts(self._folder, texts, device="auto", threads=2).probability
        return pd.DataFrame({"probability": probabilities, "decision": probabilities >= self._threshold})


mlflow.models.set_model(BehaviorModel())
