"""The model as MLflow serves it: raw events in; probability, expected amount and decision of each shopper out.

MLflow copies this file, the model's folders and this package's code into the registered model and runs the file when
the model is loaded; no object is pickled. The one thing to know: everything that is done with the events is done by
`model.raw_events`; here stand only MLflow's words for it.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import yaml
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext

from behavior_tasks.base.errors import UserError
from behavior_tasks.model.raw_events import RawModel

REGISTERED = "registered_model_meta"
"""File that MLflow writes beside a model that it loads from its registry."""


class BehaviorModel(PythonModel):
    """Scores shoppers by their raw events with the model that was registered."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model's folders."""
        model = Path(context.artifacts["model"])
        self._model = RawModel.load(model, Path(context.artifacts["events"]), device="auto", threads=2)
        registered = model.parents[1] / REGISTERED
        told = yaml.safe_load(registered.read_text(encoding="utf-8")) if registered.is_file() else {}
        self._version = str(told.get("model_version") or context.model_config["version"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return a row for each shopper, or for each product that a shopper touched.

        Args:
            context: not used; the model is loaded already.
            model_input: events by the canonical names: user_id, timestamp, action, product_id, and optional ones.
            params: `as_of`, the instant to look at as text; empty: just after the last event.

        Returns:
            `user_id` as it was given, `product_id` where products are asked about, `probability` (float64, calibrated),
            `expected_amount` (float64, in the log's currency; NaN when the model has no amount head), `decision` (bool)
            and `version` (the registered version, or the model's own key where it was not loaded from a registry).

        Raises:
            MlflowException: a bad request, which names the column or row, what was found and what was expected.
        """
        # The one place that needs the clock: an event of tomorrow is a mistake.
        today = datetime.now(UTC).date()
        try:
            return self._model.score(
                pd.DataFrame(model_input),
                today=today,
                as_of=str((params or {}).get("as_of") or ""),
                version=self._version,
            )
        except UserError as error:
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from None


mlflow.models.set_model(BehaviorModel())
