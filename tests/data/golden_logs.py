"""What the real logs give, to the row: `python -m tests.data.golden_logs` writes it anew into `tests/data/golden/`.

In come the four real logs; out comes one small JSON file each: rows in and out by reason, period, actions, and hashes
of the clean events and of the features under a fixed identity key. The one thing to know: nobody's numbers change by
accident this way. When a change is meant, run the command, read the difference in version control line by line, and say
in the commit why each number is now the right one.
"""

import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from behavior_tasks.base.artifacts import Artifact, hash_file
from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.data.events import hash_events, open_events
from behavior_tasks.data.keys import KEY_VARIABLE
from behavior_tasks.pipeline import STAGES, open_run, run_stage, start_run
from tests.data.stages import REAL_DATA

FOLDER = Path(__file__).with_name("golden")
KEY = "7a" * 32
SETTINGS = {"engine.buckets": 2, "engine.workers": 1, "engine.min_free_disk_mb": 0}


@dataclass(frozen=True, kw_only=True)
class RealLog:
    """A real log and how it is read."""

    file: str
    preset: str
    learnable: bool
    """Whether it is long enough to have examples, and so features."""

    @property
    def golden(self) -> Path:
        """The file that says what it gives."""
        return FOLDER / f"{self.preset}.json"


LOGS = (
    RealLog(file="rees46_2019_oct_17k.csv.gz", preset="rees46", learnable=False),
    RealLog(file="retailrocket_sample_events.csv.gz", preset="retailrocket", learnable=False),
    RealLog(file="taobao_userbehavior_100k.csv.gz", preset="taobao", learnable=True),
    RealLog(file="uci_online_retail.csv.gz", preset="online_retail", learnable=True),
)


def measure(log: RealLog) -> dict[str, Any]:
    """Run the data stages on a log below BEHAVIOR_HOME and return what they gave, as JSON."""
    path = REAL_DATA / log.file
    run = start_run(
        log.preset,
        day=date(2026, 11, 23),
        trigger="inspection",
        input_path=str(path),
        preset=log.preset,
        overrides=SETTINGS,
    )
    uris: dict[str, str] = {}
    for name in ("source", "ingest", "clean", *(("cutoffs", "features") if log.learnable else ())):
        uris[name] = run_stage(name, run, *(uris.get(i.removesuffix("?")) for i in STAGES[name].inputs))
    made = {name: open_run(run).store.open(uri) for name, uri in uris.items()}
    clean = made["clean"]
    return {
        "file": log.file,
        "sha256": hash_file(path),
        "rows": {name: _rows(artifact) for name, artifact in made.items()},
        **{fact: clean.facts[fact] for fact in ("first", "last", "actions", "present", "replaced_amounts")},
        "events_hash": hash_events(open_events(clean)),
        **({"features_hash": made["features"].manifest.content_hash} if log.learnable else {}),
    }


def _rows(artifact: Artifact) -> dict[str, Any]:
    rows = artifact.manifest.rows
    return {"in": rows.rows_in, "out": rows.rows_out, "removed": rows.removed}


def write(logs: Iterable[RealLog]) -> None:
    """Measure logs and write what they give."""
    os.environ[KEY_VARIABLE] = KEY
    for log in logs:
        with tempfile.TemporaryDirectory() as home:
            os.environ[HOME_VARIABLE] = home
            log.golden.write_text(json.dumps(measure(log), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(LOGS)
