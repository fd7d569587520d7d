"""The output of a whole DAG run is cut into one log a task and try."""

import json
from pathlib import Path

from behavior_tasks.cli.task_logs import keep_task_logs


def line(event: str, logger: str = "behavior", **more: str) -> str:
    return json.dumps({"timestamp": "2026-11-23T02:00:00Z", "level": "info", "event": event, "logger": logger, **more})


def test_each_task_gets_its_own_words_and_each_try_its_own_file(tmp_path: Path) -> None:
    log = tmp_path / "whole.log"
    log.write_text(
        "\n".join(
            [
                line("before any task"),
                line("creating dag run", run_id="manual__1"),
                line("[DAG TEST] starting task_id=data.ingest map_index=-1", "airflow.sdk.definitions.dag"),
                line("state updated", "airflow.api_fastapi.execution_api"),
                line("disk trouble"),
                line("[DAG TEST] end task task_id=data.ingest map_index=-1", "airflow.sdk.definitions.dag"),
                line("between tasks"),
                line("[DAG TEST] starting task_id=data.ingest map_index=-1", "airflow.sdk.definitions.dag"),
                "a library printed this",
                line("[DAG TEST] end task task_id=data.ingest map_index=-1", "airflow.sdk.definitions.dag"),
                line("[DAG TEST] starting task_id=data.clean map_index=-1", "airflow.sdk.definitions.dag"),
                line("killed on its way"),
            ]
        )
    )
    keep_task_logs(log, tmp_path / "logs", "some_dag")
    kept = {str(f.relative_to(tmp_path / "logs")): f.read_text() for f in (tmp_path / "logs").rglob("*.log")}
    run = "dag_id=some_dag/run_id=manual__1"
    events = {name: [json.loads(one)["event"] for one in text.splitlines()] for name, text in kept.items()}
    assert events == {
        f"{run}/task_id=data.ingest/attempt=1.log": ["disk trouble"],
        f"{run}/task_id=data.ingest/attempt=2.log": ["a library printed this"],
        f"{run}/task_id=data.clean/attempt=1.log": ["killed on its way"],
    }
    assert json.loads(kept[f"{run}/task_id=data.ingest/attempt=2.log"])["timestamp"] == "2026-11-23T02:00:00Z"
