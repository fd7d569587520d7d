"""
Searches for better settings: trains **trials** of other learning rates, sizes, histories and so on, gives up the
hopeless ones early, and picks the best by average precision on *validation*. Test is looked at once, at the end: the
best settings and the defaults, with the interval of their difference.

**Trigger** it with *Log*, *Preset* and *tuning.study*, a name. A study that was stopped goes on under the same name: no
trial is lost, none is counted twice. `tuning.workers` says how many trials run at the same time, one task each.

**Afterwards** the best settings are the preset `tuned/NAME` in the form of `behavior_training`; the report stands in
MLflow, in the run of the study, above its trials.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task
from behavior_dag_alarm import alarm
from behavior_dag_faults import RETRIES, explained
from behavior_dag_links import OPENED, MlflowRunLink, with_links
from behavior_dag_support import RUN, TRAINING_PLACE, ask_for, form, what_is_tuned

from behavior_tasks import pipeline
from behavior_tasks.base.config import SERVING_SECTIONS


@task
def start(dag_run: Any = None, params: Any = None) -> str:
    """Check all settings and make the study, or find it again."""
    return explained(pipeline.start_tuning, **what_is_tuned(dag_run, params))


@task(task_id=OPENED)
def open_tracking(run: str) -> str | None:
    """Start the study's run in MLflow, or find it again."""
    return explained(pipeline.open_tuning_tracking, run)


@task(execution_timeout=timedelta(hours=4))
def prepare(run: str) -> list[int]:
    """Make what all trials read, and say how many workers there are."""
    return explained(pipeline.prepare_tuning, run)


# Of a mapped task Airflow does not show the docstring by itself.
@task(
    **TRAINING_PLACE,
    execution_timeout=timedelta(hours=47),
    map_index_template="worker {{ task.op_kwargs['number'] }}",
    doc_md="Train trials until all are done or begun by other workers; a line in the log for each.",
)
def work(run: str, number: int) -> int:
    """Train trials; the worker's number tells it from the others in Airflow only."""
    return explained(pipeline.work_off, run)


@task(execution_timeout=timedelta(hours=4))
def conclude(run: str) -> str:
    """Write the best settings as a preset, measure them on test beside the defaults, and write the report."""
    return explained(pipeline.conclude_tuning, run)


@task
def close_tracking(run: str) -> str:
    """End the study's run in MLflow: FINISHED or FAILED, whatever happened above."""
    return explained(pipeline.close_tuning_tracking, run)


with DAG(
    dag_id="behavior_tuning",
    description="Better settings, searched on validation and measured once on test.",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    dagrun_timeout=timedelta(hours=60),
    default_args={"owner": "behavior", "execution_timeout": timedelta(minutes=30), **RETRIES},
    on_failure_callback=alarm(what_is_tuned),
    tags=["behavior", "tuning"],
) as dag:
    opened, closed = with_links(open_tracking(RUN), MlflowRunLink()), close_tracking(RUN)
    workers = prepare(RUN)
    start() >> opened >> workers
    work.partial(run=RUN).expand(number=workers) >> conclude(RUN) >> closed.as_teardown(setups=opened)
    ask_for(dag, form(without=SERVING_SECTIONS))
