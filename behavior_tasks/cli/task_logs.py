"""Task logs: the output of `airflow dags test`, cut into one file a task, where Airflow's web page looks for them.

In comes the log of the whole process (JSON lines); out come files below Airflow's log folder. `dags test` itself
writes none, so without this step the page would show its runs without a word.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from behavior_tasks.base.home import make_folder

FIRST = re.compile(r"\[DAG TEST\] starting task_id=(\S+)")
LAST = re.compile(r"\[DAG TEST\] end task ")
# Airflow's own server and scheduler speak in the same process; a task's log is about the task.
OTHERS = (
    "airflow.api_fastapi",
    "airflow.models",
    "airflow.sdk.api.client",
    "airflow.sdk.definitions.dag",
    "airflow.serialization",
)


def keep_task_logs(log: Path, folder: Path, dag_id: str) -> None:
    """Cut a log of `dags test` into `dag_id=…/run_id=…/task_id=…/attempt=….log` below Airflow's log folder."""
    task: str | None = None
    run_id = None
    stamp = ""
    attempts: Counter[str] = Counter()
    lines: dict[str, list[str]] = {}
    for text in log.read_text(encoding="utf-8", errors="replace").splitlines():
        line = _parsed(text, stamp)
        stamp = str(line["timestamp"])
        event = str(line["event"])
        if event == "creating dag run":
            run_id = line.get("run_id")
        elif found := FIRST.match(event):
            task = found[1]
            attempts[task] += 1
        elif LAST.match(event):
            task = None
        elif task is not None and not str(line.get("logger", "")).startswith(OTHERS):
            lines.setdefault(f"task_id={task}/attempt={attempts[task]}.log", []).append(json.dumps(line))
    for name, content in lines.items():
        file = folder / f"dag_id={dag_id}" / f"run_id={run_id}" / name
        make_folder(file.parent)
        file.write_text("\n".join(content) + "\n", encoding="utf-8")


def _parsed(text: str, stamp: str) -> dict[str, Any]:
    """Return a log line as a record; what a library printed gets the time of the line before it."""
    try:
        line = json.loads(text)
    except ValueError:
        line = None
    if isinstance(line, dict) and "event" in line:
        return {"timestamp": stamp, **line}
    return {"timestamp": stamp, "level": "info", "event": text, "logger": "output"}
