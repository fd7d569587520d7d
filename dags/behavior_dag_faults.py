"""What becomes of a task that fails: a user's mistake ended with its message, anything else tried again.

In comes the package's function that a task calls, out comes its answer. One thing to know: a user's mistake ends a
task with its message alone (no traceback, no second try); any other failure is tried again when that can help.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
from behavior_dag_notes import note, note_refusal

from behavior_tasks.base.addresses import shareable
from behavior_tasks.base.errors import UserError

Result = TypeVar("Result")
USER_MISTAKE = 2
"""Exit code of a task, and of the command line, after a user's mistake."""
NEEDS_A_LOOK = 3
"""Exit code of a task, and of `behavior score`, when everything was handed out but somebody should look at it."""
log = logging.getLogger("behavior")

RETRIES = {
    "retries": 2,
    "retry_delay": timedelta(minutes=1),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=15),
    "retry_policy": ExceptionRetryPolicy(
        rules=[
            RetryRule(
                exception=[SystemExit, KeyboardInterrupt],
                action=RetryAction.FAIL,
                reason="somebody has to mend this first",
            ),
            RetryRule(
                exception=[AssertionError, AttributeError, ImportError, LookupError, NameError, TypeError, ValueError],
                action=RetryAction.FAIL,
                reason="a fault of the program; a second try would end the same",
            ),
        ]
    ),
}
"""Disks, networks, databases and killed processes deserve another try; a mistake or a fault of the program does not."""


def explained(work: Callable[..., Result], *args: Any, **options: Any) -> Result:
    """Call `work`; after a user's mistake, log its message, keep it as the task's note, and end the task.

    Airflow logs a traceback with every exception, `AirflowFailException` included. Leaving with an exit code is
    the one end it logs without; the retry policy sees to it that there is no second try.
    """
    try:
        return work(*args, **options)
    except UserError as error:
        log.error("%s", error)
        note_refusal(error)
        sys.exit(USER_MISTAKE)


def look_at(problems: Sequence[str]) -> None:
    """Log problems, note them, and end the task as failed, without a second try; do nothing when there are none."""
    for problem in problems:
        log.error("%s", problem)
    if problems:
        note(shareable(" ".join(problems)))
        sys.exit(NEEDS_A_LOOK)
