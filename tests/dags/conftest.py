"""The DAG files as Airflow reads them: once for all tests, in a process in which every heavy library is blocked."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
HEAVY = ["accelerate", "duckdb", "matplotlib", "mlflow", "numpy", "pandas", "pyarrow", "pyspark", "sklearn", "torch"]
HEAVY += ["optuna", "transformers"]
# Airflow is imported in a process of its own: it sets up logging, a database address and warnings for all.
LOAD = """
import json, sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise ImportError(f"{name} is imported while the DAG is read")

HEAVY = set(sys.argv[2].split(","))
sys.meta_path.insert(0, Blocked())
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.sdk.exceptions import AirflowTaskTimeout
from airflow.serialization.serialized_objects import DagSerialization
from behavior_tasks.model.supervise import TrainingStoppedError
from pathlib import Path

bag = BundleDagBag(Path(sys.argv[1]), bundle_path=Path(sys.argv[1]), bundle_name="dags-folder")
dags = {}
for name, dag in bag.dags.items():
    tasks = {
        t.task_id: {
            "upstream": sorted(t.upstream_task_ids),
            "rule": str(t.trigger_rule.value),
            "setup": t.is_setup,
            "teardown": t.is_teardown,
            "fails_run": t.on_failure_fail_dagrun,
            "retries": t.retries,
            "minutes": t.execution_timeout.total_seconds() / 60,
            "owner": t.owner,
            "links": [link.name for link in t.operator_extra_links],
            "says": bool(t.doc_md),
            "place": [t.pool, t.queue],
            "mapped": t.is_mapped,
            "inlets": [asset.name for asset in t.inlets],
            "outlets": [asset.name for asset in t.outlets],
            "retry": {
                kind: t.retry_policy.evaluate(error, 1, 2).action.value
                for kind, error in {
                    "user": SystemExit(2), "stopped": KeyboardInterrupt(), "bug": KeyError("x"), "disk": OSError(5),
                    "resume": TrainingStoppedError("stalled"), "late": AirflowTaskTimeout()
                }.items()
            },
        }
        for t in dag.tasks
    }
    dags[name] = {
        "tasks": tasks,
        "catchup": dag.catchup,
        "alarms": bool(dag.on_failure_callback),
        "active": dag.max_active_runs,
        "tags": sorted(dag.tags),
        "doc": dag.doc_md,
        "cron": dag.timetable.serialize() if hasattr(dag.timetable, "serialize") else None,
        "summary": DagSerialization.to_dict(dag)["dag"]["timetable"],
        "params": {key: dag.params.get_param(key).serialize() for key in dag.params},
    }
sys.path.insert(0, sys.argv[3])
import behavior_form, behavior_notes
form = {name: behavior_form.mistakes(*asked) for name, asked in json.loads(sys.argv[4]).items()}
first = behavior_notes.joined("Spring sale!", "ada", "keep: F1 0.41")
notes = [
    behavior_notes.joined(None, None, "keep: F1 0.41"),
    behavior_notes.joined("older", None, "keep: F1 0.41"),
    first,
    behavior_notes.joined(first, "ada", "promoted"),
    behavior_notes.joined(None, None, "x" * 2000),
]
print("RESULT" + json.dumps({"errors": bag.import_errors, "dags": dags, "form": form, "notes": notes}, default=str))
"""
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "untouched": ("behavior_training", {"input": None, "preset": "canonical", "train.epochs": None}),
    "three": ("behavior_training", {"train.epochs": 0, "gate.min_f1": 7, "train.epoch": 1}),
    "contradiction": ("behavior_training", {"decision.policy": "precision", "preset": "taobao"}),
    "day": ("behavior_scoring", {"as_of": "yesterday", "serve.keep_days": 0}),
    "good day": ("behavior_monitoring", {"as_of": "2026-11-23"}),
    "own file": ("behavior_training", {"config_file": "/etc/passwd", "train.epochs": 0}),
}
"""Filled-in forms that the plugin is asked about."""


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("airflow")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "BEHAVIOR"))}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            LOAD,
            str(PROJECT / "dags"),
            ",".join(HEAVY),
            str(PROJECT / "plugins"),
            json.dumps(FORMS),
        ],
        env={
            **clean,
            "BEHAVIOR_TRAIN_QUEUE": "gpu",
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.rpartition("RESULT")[2]))
