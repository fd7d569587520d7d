"""The training process: a work folder with a job in, a model bundle in the same folder out.

    accelerate launch -m behavior_tasks.model.train_process WORK_FOLDER

It stops after the step at hand on SIGTERM (exit code 75) and goes on from its last checkpoint when it is started
again, to the same bits as if it had never stopped (see `trainer`). It may be started as several processes: a stop
asked of one of them stops all at the same step, and how they ended stands in the folder.
"""

import argparse
import logging
import os
import signal
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

from filelock import FileLock

from behavior_tasks.base.errors import UserError
from behavior_tasks.model.trainer import Trainer
from behavior_tasks.model.validation import StopRequestedError
from behavior_tasks.model.work_folder import EXIT_REFUSED, EXIT_RESUME, SAID_FORMAT, Outcome, WorkFolder

LOCK_SECONDS = 60.0


class StopFlag:
    """Set by SIGTERM, and by the end of standard input when the starting stage holds the other end of it."""

    def __init__(self, *, follow_stdin: bool) -> None:
        self.requested = False
        signal.signal(signal.SIGTERM, self._on_signal)
        if follow_stdin:
            threading.Thread(target=self._wait_for_stdin, daemon=True).start()

    def _on_signal(self, _signum: int, _frame: object) -> None:
        self.requested = True

    def _wait_for_stdin(self) -> None:
        # However the stage ends, even by kill -9, its end of the pipe closes.
        while os.read(sys.stdin.fileno(), 1):
            pass
        self.requested = True


def train(work_folder: Path, *, follow_stdin: bool) -> int:
    """Train in a work folder, going on from its last checkpoint when there is one; return the exit code.

    Args:
        work_folder: holds `job.json`.
        follow_stdin: stop, as on SIGTERM, when standard input ends.
    """
    stop = StopFlag(follow_stdin=follow_stdin)
    work = WorkFolder(work_folder)
    # The first of several processes locks the folder for all. That of a killed stage may need a moment to stop.
    first = os.environ.get("RANK", "0") == "0"
    with FileLock(work.lock, timeout=LOCK_SECONDS) if first else nullcontext():
        if first:
            work.outcome.unlink(missing_ok=True)
        trainer = None
        try:
            trainer = Trainer(work, lambda: stop.requested)
            trainer.run()
            outcome, code = Outcome(status="done"), 0
        except StopRequestedError:
            outcome, code = Outcome(status="stopped"), EXIT_RESUME
        except UserError as error:
            outcome, code = _refused(error), EXIT_REFUSED
        if first or code == EXIT_REFUSED:
            work.finish(outcome)
        if trainer is not None and code != EXIT_REFUSED:
            # None may leave before all have come here: the launcher ends the others when one has left.
            trainer.accelerator.wait_for_everyone()
    return code


def _refused(error: UserError) -> Outcome:
    return Outcome(
        status="refused",
        problem=error.problem,
        found=error.found,
        expected=error.expected,
        next_step=error.next_step,
    )


def main() -> None:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(description="Train in a work folder.")
    parser.add_argument("work_folder", type=Path)
    parser.add_argument("--follow-stdin", action="store_true", help="stop when standard input ends")
    arguments = parser.parse_args()
    # In this format the stage knows these words from those of libraries and passes them on.
    # Of several processes the first speaks for all.
    level = logging.INFO if os.environ.get("RANK", "0") == "0" else logging.ERROR
    logging.basicConfig(level=level, format=SAID_FORMAT)
    sys.exit(train(arguments.work_folder, follow_stdin=arguments.follow_stdin))


if __name__ == "__main__":
    main()
