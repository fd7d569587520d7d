"""
**Watches** what is served: every night at seven (`BEHAVIOR_MONITORING_SCHEDULE`), after the scoring, it judges each
served day whose horizon is over by what then happened, holds what the champion reads and says against its own test, and
looks whether the day's log came as days usually do.

**As of** is the day at whose beginning it looks. Left empty it is the day after the log's last event.

**What it finds** stands in `watch/date=…/report.html` in the state folder and in MLflow (experiment
`behavior-monitoring`, one run a day). `ask_for_training` is *skipped* unless something severe stands that a training
would mend; then it updates the asset `behavior_drift`, which starts `behavior_training`, at most once a day. The
task `look` is red while something severe stands. The last one, `retention`, deletes what is older than its age limit
(`privacy.keep`); its note says what went.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, TriggerRule, task
from behavior_dag_alarm import alarm
from behavior_dag_faults import RETRIES, explained, look_at
from behavior_dag_links import DayLink, ModelsLink, ReportLink, keep_pages, with_links
from behavior_dag_notes import begun, note, note_run, skip
from behavior_dag_stages import draw_stages
from behavior_dag_support import DRIFT, RUN, SERVED, ask_for, form, nightly, what_is_watched

from behavior_tasks import pipeline

GROUPS = {
    "data": ("simulate", "source", "ingest", "clean"),
    "moment": ("champions", "moment", "readiness"),
    "watch": ("watch",),
}


@task(inlets=[SERVED])
def start(dag_run: Any = None, params: Any = None) -> str:
    """Check all settings and open the run."""
    return begun(explained(lambda: pipeline.start_run(dag_run.run_id, **what_is_watched(dag_run, params))))


@task(trigger_rule=TriggerRule.ALL_DONE)
def keep(run: str) -> str:
    """Keep tables, plots, page and MLflow run of the day; red, with the reason, when it could not be watched."""
    day = explained(pipeline.conclude_watch, run).day.isoformat()
    keep_pages(pipeline.mlflow_pages(run))
    note_run(run)
    return day


@task(outlets=[DRIFT])
def ask_for_training(run: str) -> None:
    """Start a training when something severe stands that one would mend, at most once a day."""
    if why_not := explained(pipeline.ask_for_training, run):
        skip(why_not)


@task
def look(run: str) -> None:
    """Be red while something severe stands."""
    look_at(explained(pipeline.watched_problems, run))


@task(trigger_rule=TriggerRule.ALL_DONE)
def retention(run: str) -> None:
    """Delete what is older than its age limit, whatever the watch found, and say what went and what can't go."""
    note(explained(pipeline.retention_of, run))


with DAG(
    dag_id="behavior_monitoring",
    description="What was served and what then happened in, whether the champion is still right out.",
    doc_md=__doc__,
    schedule=nightly("monitoring"),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    dagrun_timeout=timedelta(hours=12),
    default_args={"owner": "behavior", "execution_timeout": timedelta(minutes=30), **RETRIES},
    on_failure_callback=alarm(what_is_watched),
    tags=["behavior", "monitoring"],
) as dag:
    started, kept = start(), with_links(keep(RUN), DayLink(), ReportLink(), ModelsLink())
    made = draw_stages(GROUPS, pipeline.WATCHING, pipeline.run_stage)
    started >> [made["simulate"], made["champions"]]
    [started, made["watch"]] >> kept >> [ask_for_training(RUN), look(RUN), retention(RUN)]
    ask_for(dag, form(only=pipeline.settings_of(pipeline.WATCHING), placed=True))
