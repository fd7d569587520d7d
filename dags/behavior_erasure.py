"""
**Erases shoppers**: it works off the requests in the state folder's `privacy/requests/`, every morning at eight
(`BEHAVIOR_ERASURE_SCHEDULE`), after the monitoring, or when it is triggered. `behavior erase --request` leaves a
request there: it holds pseudonyms and tombstones, so no raw id is ever typed into a form or kept by Airflow.

`erase` waits while a run is at work, takes the shoppers out of everything that is held, marks the models that were
trained with them, and deletes those whose successors stand. A task that was killed goes on from there.

`ask_for_training` is *skipped* unless a champion is to be trained anew at once (`privacy.retrain: now`) or is overdue;
then it updates the asset `behavior_drift`, which starts `behavior_training`, at most once a day.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task
from behavior_dag_alarm import alarm
from behavior_dag_faults import RETRIES, explained
from behavior_dag_notes import note, skip
from behavior_dag_support import DRIFT, ask_for, form, nightly, what_is_asked

from behavior_tasks import pipeline


@task(execution_timeout=timedelta(hours=11))
def erase(dag_run: Any = None, params: Any = None) -> None:
    """Work off the requests that wait; mark, and where their successors stand delete, models trained with anybody."""
    note(explained(lambda: pipeline.erase_waiting(**what_is_asked(dag_run, params))))


@task(outlets=[DRIFT])
def ask_for_training(dag_run: Any = None, params: Any = None) -> None:
    """Start a training when a champion that knew an erased shopper is due, at most once a day."""
    asked = explained(lambda: what_is_asked(dag_run, params))
    if why_not := explained(pipeline.ask_for_retraining, dag_run.run_id, **asked):
        skip(why_not)


with DAG(
    dag_id="behavior_erasure",
    description="Requests to be erased in, a state folder that holds nothing about these shoppers out.",
    doc_md=__doc__,
    schedule=nightly("erasure"),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    dagrun_timeout=timedelta(hours=12),
    default_args={"owner": "behavior", "execution_timeout": timedelta(minutes=30), **RETRIES},
    on_failure_callback=alarm(what_is_asked),
    tags=["behavior", "erasure"],
) as dag:
    erase() >> ask_for_training()
    ask_for(dag, form(only={"privacy", "engine"}))
