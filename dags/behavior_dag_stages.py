"""The tasks of a table of stages: what a DAG's groups name in, their tasks with the edges that the table draws, out.

The table says what each stage reads, which are its edges, and what it waits for. One thing to know: a stage that is
named before what it reads can't be drawn, so the groups keep the table's order.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import TaskGroup, TriggerRule, XComArg, task
from behavior_dag_faults import explained
from behavior_dag_notes import noted_stage, skip
from behavior_dag_support import RUN, TRAINING_PLACE

from behavior_tasks.base.form import read_form
from behavior_tasks.pipeline.stages import Stage

LONGEST_HOURS = {"train": 12}
USUAL_HOURS = 2


def draw_stages(
    groups: Mapping[str, Sequence[str]], rows: Mapping[str, Stage], work: Callable[..., str]
) -> dict[str, XComArg]:
    """Make a task for each stage, inside a DAG, and return them by name.

    Args:
        groups: task group → its stages.
        rows: the table.
        work: runs one stage, called with its name, the run and its inputs' URIs; returns the URI of what it made.
    """

    @task
    def simulate(run: str, params: Any = None) -> str:
        """Make the log of a simulated shop, unless there is one to read."""
        if read_form(params).input_path:
            skip("the run reads your log")
        return noted_stage(run, "simulate", explained(work, "simulate", run))

    @task
    def run_stage(name: str, run: str, *inputs: str | None) -> str:
        """Run one stage on its inputs' URIs and hand on the URI of what it made."""
        return noted_stage(run, name, explained(work, name, run, *inputs))

    made: dict[str, XComArg] = {}
    for group, names in groups.items():
        with TaskGroup(group):
            for name in names:
                row = rows[name]
                if name == "simulate":
                    made[name] = simulate(RUN)
                    continue
                # A skipped simulation must not stop what could have read it; a failed one must.
                rule = TriggerRule.NONE_FAILED if "simulate?" in row.inputs else TriggerRule.ALL_SUCCESS
                hours = LONGEST_HOURS.get(name, USUAL_HOURS)
                place = TRAINING_PLACE if name == "train" else {}
                longest = timedelta(hours=hours)
                named = run_stage.override(task_id=name, trigger_rule=rule, execution_timeout=longest, **place)
                made[name] = named(name, RUN, *(made[i.removesuffix("?")] for i in row.inputs))
                for earlier in row.after:
                    made[earlier] >> made[name]
    return made
