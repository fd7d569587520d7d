"""
The **champion** says of every shopper who buys next, and of every product that they touched whether they buy it; from
that come audiences, recommendations, a demand forecast and a risk list. It runs every night at five
(`BEHAVIOR_SCORING_SCHEDULE`), and whenever `behavior_training` promotes a model.

**As of** is the day at whose beginning the shop is looked at. Left empty it is the day after the log's last event, but
no later than the day that the run is for: so a **back-fill**, or an old run cleared, writes the scores of its own day,
from events before it alone.

**Each application is handed out** (`served/` in the state folder) as soon as it is finished. One that fails is red and
takes nothing from the others, and what it gave yesterday is still there. The last task, `look`, is red when one has
failed, or when a **banner** says that somebody should look before they believe what was handed out.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, TaskGroup, TriggerRule, XComArg, task
from airflow.sdk.exceptions import AirflowSkipException
from behavior_dag_faults import RETRIES, explained, look_at
from behavior_dag_support import CHAMPION, RUN, form, nightly_or, what_is_scored

from behavior_tasks import pipeline
from behavior_tasks.base.form import read_form

GROUPS = {
    "data": ("simulate", "source", "ingest", "clean"),
    "moment": ("champions", "moment"),
    "scores": ("shopper_scores", "product_scores"),
    "applications": ("audiences", "recommendations", "demand", "risk"),
}


@task
def start(dag_run: Any = None, params: Any = None) -> str:
    """Check all settings and open the run."""
    return explained(lambda: pipeline.start_run(dag_run.run_id, **what_is_scored(dag_run, params)))


@task
def simulate(run: str, params: Any = None) -> str:
    """Make the log of a simulated shop, unless there is one to read."""
    if read_form(params).input_path:
        raise AirflowSkipException("the run reads your log")
    return explained(pipeline.serve_stage, "simulate", run)


@task
def serve_stage(name: str, run: str, *inputs: str | None) -> str:
    """Run one stage on its inputs' URIs, hand out what it made, and hand on its URI."""
    return explained(pipeline.serve_stage, name, run, *inputs)


@task(trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS)
def look(run: str) -> None:
    """Say what failed, and what must be known before what was handed out is used; red if there is anything."""
    look_at(explained(pipeline.conclude_scoring, run).problems)


def stage(name: str) -> XComArg:
    """Return a stage's task. The table of stages says what it reads, which are its edges."""
    if name == "simulate":
        return simulate(RUN)
    row = pipeline.SERVING[name]
    # A skipped simulation must not stop what could have read it; a failed one must.
    rule = TriggerRule.NONE_FAILED if "simulate?" in row.inputs else TriggerRule.ALL_SUCCESS
    named = serve_stage.override(task_id=name, trigger_rule=rule, execution_timeout=timedelta(hours=2))
    return named(name, RUN, *(made[i.removesuffix("?")] for i in row.inputs))


made: dict[str, XComArg] = {}
with DAG(
    dag_id="behavior_scoring",
    description="The champion and a behaviour log in, what the shop takes away out.",
    doc_md=__doc__,
    schedule=nightly_or(CHAMPION, "BEHAVIOR_SCORING_SCHEDULE", "0 5 * * *"),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    dagrun_timeout=timedelta(hours=18),
    default_args={"owner": "behavior", "execution_timeout": timedelta(minutes=30), **RETRIES},
    tags=["behavior", "scoring"],
    params=form(only=pipeline.settings_of(pipeline.SERVING), placed=True),
) as dag:
    started, looked = start(), look(RUN)
    for group, names in GROUPS.items():
        with TaskGroup(group):
            for name in names:
                made[name] = stage(name)
    started >> [made["simulate"], made["champions"]]
    [made[name] for name in GROUPS["scores"] + GROUPS["applications"]] >> looked
