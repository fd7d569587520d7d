"""The model as MLflow serves it: texts and numbers in; probability, decision and expected amount out.

MLflow copies this file, the model's folder and this package's code into the registered model and runs the
file when the model is loaded; no object is pickled. The answers are exactly those of `model.predict`.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext

from behavior_tasks.base.errors import UserError
from behavior_tasks.model.predict import Scorer


class BehaviorModel(PythonModel):
    """Scores shoppers' texts, and the numbers beside them, with the model folder that was registered."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model's folder."""
        self._scorer = Scorer.load(Path(context.artifacts["model"]), device="auto", threads=2)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return one row for each row of the input.

        Args:
            context: not used; the model is loaded already.
            model_input: `text`, and a column for each feature that the model reads as a number, empty where undefined.
            params: not used.

        Returns:
            `probability` (float64, calibrated), `decision` (bool) and `expected_amount` (float64, in the log's
            currency; NaN when the model has no amount head).

        Raises:
            MlflowException: a bad request, which names the missing or unusable column.
        """
        if model_input["text"].isna().any():
            raise _bad_request("The column text is empty in some rows; a shopper without events has a text too.")
        try:
            answers = self._scorer.score_texts(model_input["text"].astype(str).tolist(), model_input)
        except UserError as error:
            raise _bad_request(str(error)) from None
        amounts = answers.expected_amount
        return pd.DataFrame(
            {
                "probability": answers.probability,
                "decision": answers.probability >= self._scorer.decision.threshold,
                "expected_amount": np.full(len(model_input), np.nan) if amounts is None else amounts,
            }
        )


def _bad_request(message: str) -> MlflowException:
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


mlflow.models.set_model(BehaviorModel())
