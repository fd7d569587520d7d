"""The MLflow run of a watched day: figures, tables and plots of a day in; one run, found again by tag, out.

It stands in an experiment beside that of the trainings, with the tag `kind` = monitoring. The one thing to know: it
ends FINISHED or FAILED, a day that is watched again has the same run, and what MLflow can't take waits in the outbox.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from behavior_tasks.base.config import Config, changed
from behavior_tasks.base.home import Home
from behavior_tasks.registry import tracking
from behavior_tasks.registry.delivery import Delivery

SUFFIX = "-monitoring"
"""Behind the name of the trainings' experiment."""


def keep_watch_run(
    home: Home,
    config: Config,
    *,
    day: date,
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    plots: Sequence[Path] = (),
    files: Sequence[Path] = (),
    failed: str | None = None,
) -> Delivery:
    """Keep what a day's watch gave, or that it failed, in the day's MLflow run.

    Args:
        home: the state folder.
        config: names the trainings' experiment.
        day: the watched day.
        metrics: final figures; those that are not finite are left out.
        tags: small facts, e.g. the versions that serve.
        plots: PNG files.
        files: tables, the alerts and the page.
        failed: why the watch failed; None: it did not.

    Returns:
        Whether MLflow took the results; what it did not take waits, and `behavior sync` delivers it.

    Raises:
        UserError: for what somebody has to mend: a deleted experiment, a refused login.
    """
    config, run_id = monitoring(config), watch_run_id(day)
    tracking.start_tracking(
        home, config, run_id=run_id, name=f"{day} watch", tags={"kind": "monitoring", "day": day.isoformat(), **tags}
    )
    delivery = tracking.log_results(
        home,
        config,
        run_id=run_id,
        params={},
        metrics=metrics,
        epochs=(),
        plots=plots,
        files=files,
        datasets={},
        tags=tags,
    )
    tracking.finish_tracking(home, config, run_id=run_id, succeeded=failed is None, note=failed)
    return delivery


def monitoring(config: Config) -> Config:
    """Return the configuration with the experiment of the watched days."""
    return changed(config, {"registry.experiment": config.registry.experiment + SUFFIX})


def watch_run_id(day: date) -> str:
    """Return the run id by which a day's MLflow run is found again."""
    return f"watch-{day.isoformat()}"
