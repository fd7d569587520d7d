"""Live metrics: figures of a stage while it runs in, points of the curves of its MLflow run out.

A run that is stopped and goes on repeats some steps; only steps beyond the last point are added, so no point is there
twice. The one thing to know: tracking never stops a training; what MLflow does not take waits in the run's outbox.
"""

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.registry import store
from behavior_tasks.registry.outbox import Entry, record

if TYPE_CHECKING:
    from mlflow import MlflowClient

PAUSE_SECONDS = 60.0
"""How long an MLflow that failed is left alone; each try costs seconds."""
log = logging.getLogger("behavior")


class LiveMetrics:
    """Adds figures to the MLflow run of a run; a `base.stage.Report`. Not to be called from two threads at once.

    Args:
        home: the state folder.
        config: names the experiment.
        run_id: the run's own id. Without an MLflow run under it nothing is added.
    """

    def __init__(self, home: Home, config: Config, *, run_id: str) -> None:
        self._home = home
        self._config = config
        self._run_id = run_id
        self._last: dict[str, int] = {}
        """Step of the last point of every curve."""
        self._failed = False
        self._again = 0.0
        """When MLflow may be asked again, on the monotonic clock."""

    def __call__(self, figures: Mapping[str, float], step: int) -> None:
        """Add the figures that lie beyond the last point of their curve."""
        now = int(time.time() * 1000)
        fresh = {key: value for key, value in figures.items() if step > self._last.get(key, -1)}
        if not fresh or not store.exists(self._home):
            return
        if time.monotonic() < self._again:
            self._keep(fresh, step, now)
            return
        failure = store.failures()
        try:
            with store.connect(self._home) as client:
                self._add(client, fresh, step, now)
        except (failure, UserError, OSError) as error:
            if not self._failed:
                log.warning("MLflow does not take the live metrics; they wait, and the work goes on.\n%s", error)
            self._failed = True
            self._again = time.monotonic() + PAUSE_SECONDS
            self._keep(fresh, step, now)

    def _add(self, client: "MlflowClient", figures: Mapping[str, float], step: int, now: int) -> None:
        from mlflow.entities import Metric

        run = store.find_run(client, self._home, self._config, self._run_id)
        if run is None:
            return
        for key in figures.keys() - self._last.keys():
            history = client.get_metric_history(run.info.run_id, key) if key in run.data.metrics else []
            self._last[key] = max((point.step for point in history), default=-1)
        points = [Metric(key, value, now, step) for key, value in figures.items() if step > self._last[key]]
        if points:
            client.log_batch(run.info.run_id, metrics=points)
            self._last |= {point.key: step for point in points}

    def _keep(self, figures: Mapping[str, float], step: int, now: int) -> None:
        """Put the points among the run's records; whoever delivers those, delivers these."""
        entry = Entry(self._home, self._run_id)
        if not entry.open:
            return
        points = [(key, value, step, now) for key, value in figures.items()]
        entry.add_points(record(self._home, self._config), points)
        self._last |= dict.fromkeys(figures, step)
