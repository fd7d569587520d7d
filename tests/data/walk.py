"""The data stages as one process that can be killed: `python -m tests.data.walk LOG LAST WORKERS`.

In come a log and the last stage to run; out come artifacts below BEHAVIOR_HOME. The one thing to know: it is the
pipeline's own walk; only the number of rows that is worth a process is lowered, so that a small log keeps several busy.
"""

import sys
from datetime import date

from behavior_tasks.base import engine
from behavior_tasks.pipeline import STAGES, Run, open_run, run_stage, start_run

RUN_ID = "walk"
WALK = ("source", "ingest", "clean", "cutoffs", "features")


def walk(log: str, last: str, workers: int) -> Run:
    """Run the stages up to and including `last`, and say so before each."""
    settings = {"engine.workers": workers, "engine.min_free_disk_mb": 0, "engine.buckets": 3}
    run = start_run(RUN_ID, day=date(2026, 11, 23), trigger="inspection", input_path=log, overrides=settings)
    uris: dict[str, str] = {}
    for name in WALK:
        sys.stdout.write(f"{name}\n")
        sys.stdout.flush()
        uris[name] = run_stage(name, run, *(uris.get(i.removesuffix("?")) for i in STAGES[name].inputs))
        if name == last:
            break
    return open_run(run)


if __name__ == "__main__":
    engine.ROWS_PER_WORKER = 20_000
    walk(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    sys.stdout.write("done\n")
