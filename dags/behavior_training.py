"""
Reads a behaviour log, takes the identities out, writes each shopper's history as text, fine-tunes a language model
to say who buys next, and measures it on days it has never seen. The **gate** decides: the new model becomes the
champion, or the champion is kept and `promote` is *skipped* with the reason. A kept champion is a green run.

**Trigger** it with *Log* and *Preset*, or leave both for a simulated shop. Every other field is a setting: empty
means "as the preset has it". Tasks hand on URIs only; what is finished already is never computed again.

**When a task fails**, its log says what was found and what to do next. A mistake in the log or the settings is not
tried again; trouble with disks, databases or killed processes is, twice.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, TaskGroup, TriggerRule, task
from behavior_dag_alarm import alarm
from behavior_dag_approval import Approval
from behavior_dag_faults import RETRIES, explained
from behavior_dag_links import OPENED, MlflowRunLink, ModelsLink, ReportLink, VersionLink, keep_pages, with_links
from behavior_dag_notes import begun, note, note_run, skip
from behavior_dag_stages import draw_stages
from behavior_dag_support import CHAMPION, DRIFT, RUN, ask_for, form, nightly_or, what_is_asked

from behavior_tasks import pipeline
from behavior_tasks.base.config import SERVING_SECTIONS

GROUPS = {
    "data": ("simulate", "source", "ingest", "clean", "report"),
    "examples": ("cutoffs", "doctor", "features"),
    "text": ("verbalize", "encode"),
    "model": ("baselines", "train"),
    "verdict": ("champion", "audit", "evaluate", "package", "gate", "model_report"),
}


@task
def start(dag_run: Any = None, params: Any = None) -> str:
    """Check all settings and open the run."""
    return begun(explained(pipeline.start_run, dag_run.run_id, **what_is_asked(dag_run, params)))


@task(task_id=OPENED)
def open_tracking(run: str) -> str:
    """Start the run in MLflow, or find it again."""
    return explained(pipeline.open_tracking, run)


@task
def register(run: str, gate_uri: str, evaluate_uri: str, train_uri: str) -> str:
    """Keep parameters, metrics, plots and the verdict in MLflow, and register the model."""
    version = explained(pipeline.register, run, gate_uri, evaluate_uri, train_uri)
    keep_pages(pipeline.mlflow_pages(run))
    note(f"version {version} registered" if version else "nothing registered: MLflow did not take it, or see the log")
    return version


@task(trigger_rule=TriggerRule.NONE_FAILED, outlets=[CHAMPION])  # a skipped approval is not asked for
def promote(run: str, version: str, gate_uri: str) -> None:
    """Make the new version the champion, when the gate says so."""
    kept = explained(pipeline.promote, run, version, gate_uri, "airflow")
    note_run(run)
    if kept:
        skip(kept)


@task
def close_tracking(run: str) -> str:
    """End the run in MLflow: FINISHED or FAILED, whatever happened above."""
    ended = explained(pipeline.close_tracking, run)
    note_run(run, broken=ended == "FAILED")
    return ended


with DAG(
    dag_id="behavior_training",
    description="A behaviour log in, a language model that earns its promotion out.",
    doc_md=__doc__,
    schedule=nightly_or(DRIFT, "training"),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    dagrun_timeout=timedelta(hours=38),  # of which a person may take 18 to answer
    default_args={"owner": "behavior", "execution_timeout": timedelta(minutes=30), **RETRIES},
    on_failure_callback=alarm(what_is_asked),
    tags=["behavior", "training"],
) as dag:
    started, opened, closed = start(), with_links(open_tracking(RUN), MlflowRunLink()), close_tracking(RUN)
    made = draw_stages(GROUPS, pipeline.STAGES, pipeline.run_stage)
    with TaskGroup("registry"):
        registered = register(RUN, made["gate"], made["evaluate"], made["train"])
        version = with_links(registered, MlflowRunLink(), ReportLink(), VersionLink())
        asked = Approval(task_id="approval", run=RUN, gate_uri=made["gate"], doc_md=Approval.__doc__)
        [made["report"], made["model_report"]] >> version
        promoted = with_links(promote(RUN, version, made["gate"]), MlflowRunLink(), ModelsLink())
        version >> asked >> promoted >> closed.as_teardown(setups=opened)
    started >> opened >> [made["simulate"], made["champion"]]
    ask_for(dag, form(without=("tuning", *SERVING_SECTIONS)))
