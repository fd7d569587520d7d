"""The pipeline: every stage in one table, the run that leads through them, and the registry steps at its end.

The DAG and the command line both call `start_run` once and then `run_stage` by name with the URIs of the
finished inputs; what comes back is the URI of the new artifact. The one thing to know: a name's module is loaded when
the name is first used, so a DAG file, which is read again for every task, loads what it draws with and no more.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from behavior_tasks.pipeline.approval import Question, answer, ask
    from behavior_tasks.pipeline.erasing import ask_for_retraining, erase_waiting
    from behavior_tasks.pipeline.execute import run_stage, run_stages
    from behavior_tasks.pipeline.failure import Failure, why_it_failed
    from behavior_tasks.pipeline.notes import refusal_note, run_note, stage_note
    from behavior_tasks.pipeline.publish import (
        at_work,
        close_tracking,
        mlflow_pages,
        open_tracking,
        promote,
        register,
        runs_page,
    )
    from behavior_tasks.pipeline.runs import Run, StageRecord, check_settings, last_runs, open_run, start_run
    from behavior_tasks.pipeline.serving import conclude_scoring, serve_stage, serve_stages
    from behavior_tasks.pipeline.stages import SERVING, STAGES, WATCHING, settings_of
    from behavior_tasks.pipeline.syncing import Synced, close_dead_runs, sync, waiting
    from behavior_tasks.pipeline.tuning import prepare_tuning, start_tuning, work_off
    from behavior_tasks.pipeline.tuning_end import close_tuning_tracking, conclude_tuning, open_tuning_tracking
    from behavior_tasks.pipeline.watching import (
        ask_for_training,
        conclude_watch,
        retention_of,
        watch_stages,
        watched_problems,
    )

__all__ = [
    "SERVING",
    "STAGES",
    "WATCHING",
    "Failure",
    "Question",
    "Run",
    "StageRecord",
    "Synced",
    "answer",
    "ask",
    "ask_for_retraining",
    "ask_for_training",
    "at_work",
    "check_settings",
    "close_dead_runs",
    "close_tracking",
    "close_tuning_tracking",
    "conclude_scoring",
    "conclude_tuning",
    "conclude_watch",
    "erase_waiting",
    "last_runs",
    "mlflow_pages",
    "open_run",
    "open_tracking",
    "open_tuning_tracking",
    "prepare_tuning",
    "promote",
    "refusal_note",
    "register",
    "retention_of",
    "run_note",
    "run_stage",
    "run_stages",
    "runs_page",
    "serve_stage",
    "serve_stages",
    "settings_of",
    "stage_note",
    "start_run",
    "start_tuning",
    "sync",
    "waiting",
    "watch_stages",
    "watched_problems",
    "why_it_failed",
    "work_off",
]

_NAMES: dict[str, tuple[str, ...]] = {
    "erasing": (
        "ask_for_retraining",
        "erase_waiting",
    ),
    "approval": (
        "Question",
        "answer",
        "ask",
    ),
    "execute": (
        "run_stage",
        "run_stages",
    ),
    "failure": (
        "Failure",
        "why_it_failed",
    ),
    "notes": (
        "refusal_note",
        "run_note",
        "stage_note",
    ),
    "publish": (
        "at_work",
        "close_tracking",
        "mlflow_pages",
        "open_tracking",
        "promote",
        "register",
        "runs_page",
    ),
    "runs": (
        "Run",
        "StageRecord",
        "check_settings",
        "last_runs",
        "open_run",
        "start_run",
    ),
    "serving": (
        "conclude_scoring",
        "serve_stage",
        "serve_stages",
    ),
    "stages": (
        "SERVING",
        "STAGES",
        "WATCHING",
        "settings_of",
    ),
    "syncing": (
        "Synced",
        "close_dead_runs",
        "sync",
        "waiting",
    ),
    "tuning": (
        "prepare_tuning",
        "start_tuning",
        "work_off",
    ),
    "tuning_end": (
        "close_tuning_tracking",
        "conclude_tuning",
        "open_tuning_tracking",
    ),
    "watching": (
        "ask_for_training",
        "conclude_watch",
        "retention_of",
        "watch_stages",
        "watched_problems",
    ),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load the module of a name that is used for the first time (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found
