"""The data stages as one process that can be killed: `python -m tests.data.walk LOG LAST WORKERS`.

In come a log and the last stage to run; out come artifacts below BEHAVIOR_HOME. The one thing to know: it is the
pipeline's own walk; only the number of rows that is worth a process is lowered, so that a small log keeps several busy.
"""

import sys
from datetime import date

from behavior_tasks.base import engine
from behavior_tasks.pipeline import STAGES, run_stage, start_run

RUN_ID = "walk"
WALK = ("source", "ingest", "clean", "cutoffs", "features")


def walk(log: str, last: str, workers: int) -> None:
    """Run the stages up to and including `last`, and say so before each."""
    engine.ROWS_PER_WORKER = 20_000
    settings = {"engine.workers": workers, "engine.min_free_disk_mb": 0, "engine.buckets": 3}
    run = start_run(RUN_ID, day=date(2026, 11, 23), trigger="inspection", input_path=log, overrides={**settings})
    uris: dict[str, str] = {}
    for name in WALK:
        sys.stdout.write(f"{name}\n")
        sys.stdout.flush()
        uris[name] = run_stage(name, run, *(uris.get(i.removesuffix("?")) for i in STAGES[name].inputs))
        if name == last:
            break
    sys.stdout.write("done\n")


if __name__ == "__main__":
    walk(sys.argv[1], sys.argv[2], int(sys.argv[3]))
