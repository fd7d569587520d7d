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

from airflow.sdk import DAG, TriggerRule, task
from behavior_dag_alarm import alarm
from behavior_dag_faults import RETRIES, explained, look_at
from behavior_dag_links import MarketingLink, with_links
from behavior_dag_notes import begun, note_run
from behavior_dag_stages import draw_stages
from behavior_dag_support import CHAMPION, RUN, SERVED, ask_for, form, nightly_or, what_is_scored

from behavior_tasks import pipeline

GROUPS = {
    "data": ("simulate", "source", "ingest", "clean"),
    "moment": ("champions", "moment", "readiness"),
    "scores": ("shopper_scores", "product_scores"),
    "applications": ("audiences", "recommendations", "demand", "risk"),
}


@task
def start(dag_run: Any = None, params: Any = None) -> str:
    """Check all settings and open the run."""
    return begun(explained(lambda: pipeline.start_run(dag_run.run_id, **what_is_scored(dag_run, params))))


@task(trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS, outlets=[SERVED])
def look(run: str) -> None:
    """Say what failed, and what must be known before what was handed out is used; red if there is anything."""
    problems = explained(pipeline.conclude_scoring, run).problems
    note_run(run)
    look_at(problems)


with DAG(
    dag_id="behavior_scoring",
    description="The champion and a behaviour log in, what the shop takes away out.",
    doc_md=__doc__,
    schedule=nightly_or(CHAMPION, "scoring"),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    dagrun_timeout=timedelta(hours=18),
    default_args={"owner": "behavior", "execution_timeout": timedelta(minutes=30), **RETRIES},
    on_failure_callback=alarm(what_is_scored),
    tags=["behavior", "scoring"],
) as dag:
    started, looked = start(), with_links(look(RUN), MarketingLink())
    made = draw_stages(GROUPS, pipeline.SERVING, pipeline.serve_stage)
    started >> [made["simulate"], made["champions"]]
    [made[name] for name in GROUPS["scores"] + GROUPS["applications"]] >> looked
    ask_for(dag, form(only=pipeline.settings_of(pipeline.SERVING), placed=True))
