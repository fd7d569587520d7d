"""A worker of a tuning as a process: the tuning's URI in, trained trials out.

    python -m behavior_tasks.pipeline.tune_worker run://tuning-study

It ends when there is nothing left to begin, on SIGTERM, and when its standard input ends: then whoever started it is
gone. The one thing to know: a trial that it has to leave keeps its checkpoint, and the next worker goes on from there.
"""

import logging
import os
import signal
import sys
import threading
from types import FrameType

from behavior_tasks.base.errors import UserError
from behavior_tasks.pipeline.runs import open_run
from behavior_tasks.pipeline.tuning import work_off

EXIT_REFUSED = 2
EXIT_STOPPED = 128 + signal.SIGTERM


def main() -> None:
    """Entry point of the process."""
    (uri,) = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("behavior").setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_follow_stdin, daemon=True).start()
    try:
        work_off(uri)
    except UserError as error:
        open_run(uri).note("error", {"stage": "trials", "message": str(error)})
        sys.exit(EXIT_REFUSED)


def _stop(_signum: int, _frame: FrameType | None) -> None:
    # An exception, so that the trial at hand is given back on the way out.
    sys.exit(EXIT_STOPPED)


def _follow_stdin() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
