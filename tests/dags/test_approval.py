"""The DAG's question to a person, with Airflow's own operator: it waits, and each answer ends where it should."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from behavior_tasks.base.home import HOME_VARIABLE
from tests.pipeline.test_approval import BETTER, judged

PROJECT = Path(__file__).resolve().parents[2]
# Airflow is imported in a process of its own: it sets up logging, a database address and warnings for all.
ANSWER = """
import json, sys
from datetime import UTC, datetime
from types import SimpleNamespace
from airflow.providers.standard.operators import hitl
from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput

sys.path.insert(0, sys.argv[1])
from behavior_dag_approval import Approval
from behavior_tasks import pipeline

asked, told = [], {}
hitl.upsert_hitl_detail = lambda **question: asked.append(question)
for name, (run, gate) in json.loads(sys.argv[2]).items():
    task = Approval(task_id=name, run=run, gate_uri=gate)
    context = {"task_instance": SimpleNamespace(id="1")}
    try:
        task.execute(context)
    except TaskAwaitingInput as waits:
        told[name] = {"waits": waits.timeout.total_seconds(), "then": waits.method_name}
    except AirflowSkipException as skipped:
        told[name] = {"skipped": str(skipped)}
        continue
    # What Airflow hands back: on a time-out the defaults, and nobody who responded.
    question, person = asked[-1], {"id": "7", "name": "Ada"}
    answers = {"approve": (["Approve"], person), "reject": (["Reject"], person), "late": (question["defaults"], None)}
    chosen, by = answers[name]
    event = {"chosen_options": chosen, "params_input": {"why": "seen"} if by else {}, "responded_by_user": by}
    event |= {"responded_at": datetime.now(UTC), "timedout": not by}
    told[name]["says"] = task.execute_complete(context, event)
    told[name]["asked"] = {key: question[key] for key in ("subject", "options", "body")}
    told[name]["kept"] = pipeline.open_run(run).noted("approval")
print("RESULT" + json.dumps(told))
"""


def test_each_answer_ends_where_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    cases = {name: judged(tmp_path, mistakes=BETTER, name=name) for name in ("approve", "reject", "late")}
    cases["off"] = judged(tmp_path, mistakes=BETTER, approval="off", name="off")
    given = {name: (run.uri, gate) for name, (run, gate) in cases.items()}
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "BEHAVIOR"))}
    done = subprocess.run(
        [sys.executable, "-c", ANSWER, str(PROJECT / "dags"), json.dumps(given)],
        env={**clean, HOME_VARIABLE: str(tmp_path), "AIRFLOW_HOME": str(tmp_path / "airflow")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.rpartition("RESULT")[2])
    assert "gate.approval is off" in told["off"]["skipped"]
    for name in ("approve", "reject", "late"):
        assert (told[name]["waits"], told[name]["then"]) == (3 * 3600, "execute_complete")
        assert told[name]["asked"]["options"] == ["Approve", "Reject"]
        assert "| F1 | 0.700 | 0.800 |" in told[name]["asked"]["body"]
    kept = {name: told[name]["kept"] for name in ("approve", "reject", "late")}
    assert {name: (one["approved"], one["who"], one["why"]) for name, one in kept.items()} == {
        "approve": (True, "Ada", "seen"),
        "reject": (False, "Ada", "seen"),
        "late": (False, None, ""),
    }
    assert all(kept[name]["verdict"] == given[name][1] for name in kept)
    assert told["late"]["says"] == "nobody answered in time"
