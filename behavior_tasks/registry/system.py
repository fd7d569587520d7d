"""System metrics: the machine's load while a stage works in; curves under `system/` in its MLflow run out.

MLflow's own monitors take the samples (processor, memory, disk, network, and a GPU where there is one), and the live
metrics deliver them: MLflow's own logger gives up for good when its server is away for a moment. The one thing to know:
nothing is sampled in the first seconds, so what is found finished costs nothing.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home
from behavior_tasks.registry import store
from behavior_tasks.registry.live import LiveMetrics
from behavior_tasks.registry.outbox import Entry

if TYPE_CHECKING:
    from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor

EVERY_SECONDS = 10.0
PREFIX = "system/"
"""MLflow's page shows what begins so on a tab of its own."""


@contextmanager
def sampling(home: Home, config: Config, *, run_id: str, every_seconds: float = EVERY_SECONDS) -> Iterator[None]:
    """Put the machine's load into a run's MLflow run for the length of the block.

    Args:
        home: the state folder.
        config: names the experiment.
        run_id: the run's own id. Where it was not started, nothing is sampled.
        every_seconds: between two samples.
    """
    start = Entry(home, run_id).read("start")
    if start is None:
        yield
        return
    ended = threading.Event()
    report = LiveMetrics(home, config, run_id=run_id)

    def sample() -> None:
        if ended.wait(every_seconds):
            return
        monitors = _monitors()
        while not ended.is_set():
            # Seconds since the run's start as steps: they go on growing after a resume.
            report(_load(monitors), int(time.time() - start["started"] / 1000))
            ended.wait(every_seconds)

    thread = threading.Thread(target=sample, name="system-metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=every_seconds)


def _monitors() -> "list[BaseMetricsMonitor]":
    store.failures()  # imports MLflow with this project's defaults
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors: list[BaseMetricsMonitor] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    with suppress(ImportError, RuntimeError):  # no GPU here, or no way to ask it
        monitors.append(GPUMonitor())
    return monitors


def _load(monitors: "list[BaseMetricsMonitor]") -> dict[str, float]:
    figures: dict[str, float] = {}
    for monitor in monitors:
        monitor.clear_metrics()
        monitor.collect_metrics()
        figures |= {PREFIX + name: float(value) for name, value in monitor.aggregate_metrics().items()}
    return figures
