"""Notes: what a task and a run have to say, in; the same beside them on Airflow's page, out.

A task may not write into Airflow's database, so it hands its note on as a small value (XCom) under a name of its own;
the plugin in `plugins/behavior_notes.py` makes notes of them. The one thing to know: without the plugin they are still
there, among the task's XComs.
"""

from typing import Any, NoReturn

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowSkipException

from behavior_tasks import pipeline
from behavior_tasks.base.errors import UserError

TASK_NOTE, RUN_NOTE = "note", "run_note"
START = "start"


def note(text: str, *, key: str = TASK_NOTE) -> None:
    """Keep a note of the running task (or, by `key`, of its run)."""
    try:
        ti = get_current_context()["ti"]
    except RuntimeError:  # called by no task: there is nothing beside which it could stand
        return
    ti.xcom_push(key=key, value=text)


def begun(run: str) -> str:
    """Keep what a run is as the first task's and the run's note, and return its URI."""
    note(pipeline.run_note(run))
    note_run(run)
    return run


def noted_stage(run: str, stage: str, uri: str) -> str:
    """Keep a stage's figures as the task's note, and return its URI; after the gate, the verdict as the run's note."""
    note(pipeline.stage_note(run, stage))
    if stage == "gate":
        note_run(run)
    return uri


def note_run(run: str, *, broken: bool = False) -> None:
    """Keep as the run's note how the run stands now, or (`broken`) that it has ended without its results."""
    note(pipeline.run_note(run, broken=broken), key=RUN_NOTE)


def note_refusal(error: UserError) -> None:
    """Keep a user's mistake as the task's and the run's note; of the settings, all that is wrong at once."""
    try:
        task: Any = get_current_context()["ti"].task_id
    except RuntimeError:
        return
    told = pipeline.refusal_note(error, whole=task == START)
    note(told)
    note(f"refused before anything ran: {told}" if task == START else f"failed in {task}: {told}", key=RUN_NOTE)


def skip(reason: str) -> NoReturn:
    """End the task as skipped, with the reason in its note and its log."""
    note(reason)
    raise AirflowSkipException(reason)
