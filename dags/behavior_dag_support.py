"""What the DAG files need of Airflow beside the DAG itself: the schedule, form fields, what a filled-in form asks for.

In come the package's plain values and functions, out come Airflow's objects. One thing to know: the environment
decides what a night does where nobody fills in a form.
"""

import os
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronTriggerTimetable, Param

from behavior_tasks.base.config import DEFAULT_PRESET
from behavior_tasks.base.form import AS_OF, form_fields, read_as_of, read_form
from behavior_tasks.pipeline.schedules import NIGHTS, TRAINING_POOL

RUN = "{{ ti.xcom_pull(task_ids='start') }}"
"""The run's URI, for every task; as a template it draws no edge, so that the graph shows the data's way alone."""
QUEUE = os.environ.get("BEHAVIOR_TRAIN_QUEUE")
TRAINING_PLACE: dict[str, Any] = {"pool": TRAINING_POOL, **({"queue": QUEUE} if QUEUE else {})}
"""Where trainings run: as many at the same time as the pool has slots, on the workers of a queue of their own if there
is one (`BEHAVIOR_TRAIN_QUEUE`), else anywhere."""
CHAMPION = Asset("behavior_champion", uri="x-behavior://champion", group="behavior")
"""Updated when a version becomes champion: the shop is scored anew."""
SERVED = Asset("behavior_served", uri="x-behavior://served", group="behavior")
"""Updated when a night was handed out and nothing has to be looked at first; the monitoring reads it at its hour."""
DRIFT = Asset("behavior_drift", uri="x-behavior://drift", group="behavior")
"""Updated when what comes in no longer looks like what the champion was trained on: a training is due."""


def nightly(what: str) -> CronTriggerTimetable:
    """Return the schedule of one of NIGHTS, in the zone BEHAVIOR_TIMEZONE (UTC)."""
    variable, default = NIGHTS[what]
    cron, zone = os.environ.get(variable) or default, os.environ.get("BEHAVIOR_TIMEZONE") or "UTC"
    # The first night is the next one: switching Airflow on at noon starts nothing.
    return CronTriggerTimetable(cron, timezone=zone, run_immediately=timedelta(minutes=10))


def nightly_or(asset: Asset, what: str) -> AssetOrTimeSchedule:
    """Return the schedule of `nightly`, and whenever an asset is updated."""
    return AssetOrTimeSchedule(timetable=nightly(what), assets=[asset])


def form(
    *, without: Collection[str] = (), only: Collection[str] | None = None, placed: bool = False
) -> dict[str, Param]:
    """Return the trigger form. BEHAVIOR_INPUT and BEHAVIOR_PRESET name the log that is read every night.

    Args:
        without: sections of settings that the DAG reads nothing of.
        only: the sections and single settings that the DAG reads; None: all but those.
        placed: whether the form asks for a day, `as_of`.
    """
    fields = form_fields(
        input_path=os.environ.get("BEHAVIOR_INPUT") or None,
        preset=os.environ.get("BEHAVIOR_PRESET") or DEFAULT_PRESET,
        without=without,
        only=only,
        placed=placed,
    )
    return {name: Param(field.pop("default"), **field) for name, field in fields.items()}


def ask_for(dag: DAG, fields: Mapping[str, Param]) -> None:
    """Give a DAG its trigger form, once its tasks are made: of fields that it has before, each task gets a copy.

    With 120 fields and 24 tasks those copies were most of the time that reading the file took.
    """
    dag.params.update(fields)


def what_is_asked(dag_run: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the named arguments of `pipeline.start_run` for a DAG run and its filled-in form.

    The day is that of the logical date, in UTC; a run that has none is for the day on which it was to start.
    """
    asked = read_form(values)
    return {
        "day": (dag_run.logical_date or dag_run.run_after).date(),
        "trigger": "nightly" if dag_run.run_type == "scheduled" else "manual",
        "input_path": asked.input_path,
        "preset": asked.preset,
        "config_file": asked.config_file,
        "overrides": asked.overrides,
    }


def what_is_tuned(dag_run: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the named arguments of `pipeline.start_tuning` for a DAG run and its filled-in form."""
    asked = what_is_asked(dag_run, values)
    del asked["trigger"]
    return {**asked, "in_airflow": True}


def what_is_scored(dag_run: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the named arguments of `pipeline.start_run` for a DAG run that scores, and its filled-in form.

    Raises:
        UserError: when `as_of` is not a day.
    """
    asked = what_is_asked(dag_run, {name: value for name, value in values.items() if name != AS_OF})
    return {**asked, "trigger": "scoring in airflow", "as_of": read_as_of(values.get(AS_OF))}


def what_is_watched(dag_run: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the named arguments of `pipeline.start_run` for a DAG run that watches, and its filled-in form."""
    return {**what_is_scored(dag_run, values), "trigger": "monitoring in airflow"}
