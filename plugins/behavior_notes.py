"""What tasks say of themselves becomes Airflow's own notes, beside the task and the run on every page.

Airflow 3 gives a task no way to write its note: it talks to the api-server alone, which takes values (XComs). So the
tasks of the behavior DAGs hand their notes on as XComs, `note` and `run_note`, and where the api-server keeps one, this
plugin keeps the note in the same transaction. The one thing to know: what a person wrote there stays, above ours.
"""

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

OF = {"note": "task", "run_note": "run"}
"""Name of the XCom → what its note is about."""
PREFIX = "behavior_"
MOST_CHARACTERS = 1000
SEPARATOR = "\n\n— behavior —\n"
"""Between what a person wrote and what the run says of itself."""


def joined(there: str | None, written_by: str | None, text: str) -> str:
    """Return a note: the new text, below what a person wrote, in Airflow's 1,000 characters.

    >>> joined(None, None, "keep: F1 0.41")
    'keep: F1 0.41'
    >>> joined("Spring sale!", "ada", "keep: F1 0.41")
    'Spring sale!\\n\\n— behavior —\\nkeep: F1 0.41'
    >>> joined(_, "ada", "promoted as version 7")
    'Spring sale!\\n\\n— behavior —\\npromoted as version 7'
    """
    theirs = (there or "").partition(SEPARATOR)[0] if written_by else ""
    whole = f"{theirs}{SEPARATOR}{text}" if theirs else text
    return whole if len(whole) <= MOST_CHARACTERS else whole[: MOST_CHARACTERS - 1] + "…"


def keep_notes(session: "Session", *_: Any) -> None:
    """Before XComs are written: keep those that are notes as notes, too."""
    for value in [one for one in session.new if type(one).__name__ == "XComModel" and one.key in OF]:
        if value.dag_id.startswith(PREFIX):
            _keep(session, value)


def _keep(session: "Session", value: Any) -> None:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    if OF[value.key] == "run":
        about: Any = session.scalar(select(DagRun).where(DagRun.id == value.dag_run_id))
        held = about.dag_run_note if about is not None else None
    else:
        mine = (TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index)
        told = (value.dag_id, value.run_id, value.task_id, value.map_index)
        about = session.scalar(select(TaskInstance).where(*(a == b for a, b in zip(mine, told, strict=True))))
        held = about.task_instance_note if about is not None else None
    if about is None:
        return
    text = str(_plain(value.value))
    if held is None:
        about.note = joined(None, None, text)
    else:
        held.content = joined(held.content, held.user_id, text)


def _plain(value: Any) -> Any:
    """Return a text as the task said it; the api-server keeps it as JSON."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


class BehaviorNotes(AirflowPlugin):
    """Notes from tasks."""

    name = "behavior_notes"

    @classmethod
    def on_load(cls, *_: Any, **__: Any) -> None:
        """Listen wherever there is a database; a task's own process has none, and needs not load what speaks to one."""
        loaded: Iterable[str] = sys.modules
        if "sqlalchemy.orm" not in loaded:
            return
        from sqlalchemy import event
        from sqlalchemy.orm import Session

        if not event.contains(Session, "before_flush", keep_notes):
            event.listen(Session, "before_flush", keep_notes)
