"""Cleaning one file: an artifact of its own, made again only when the file, the rules or its neighbours change.

In come a part of `ingest` and the other parts with events on the same days; out come `events/` in total order, cut into
ranges of shoppers, `sales/` and `apart/`. The one thing to know: nothing that is fitted on the whole log is applied
here (`data.events` applies it on reading), so a new night leaves the files of all other nights as they are.
"""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from behavior_tasks.base.artifacts import ArtifactStore, Output, Rows
from behavior_tasks.base.code import code_digest
from behavior_tasks.base.config import EngineConfig
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.schema import SHOPPER_COLUMNS
from behavior_tasks.base.tables import bucket_file, bucket_files, combine_hashes
from behavior_tasks.data.buckets import event_facts
from behavior_tasks.data.clean_range import Neighbour, RangeJob, Rules, clean_range
from behavior_tasks.data.parts import LogPart, Shared
from behavior_tasks.data.ranges import split_ranges

STAGE = "clean-part"
ROWS_PER_RANGE = 1_000_000
"""Rows that one range holds at most, about: what a process sorts in its memory at a time."""
FEW_RANGES, LEAST_ROWS = 4, 250_000
"""A smaller part is still cut into so many ranges, so that several processes can work, but into none smaller."""
FOLDERS = ("events", "sales", "apart")


@dataclass(frozen=True, kw_only=True)
class PartJob:
    """One part's work."""

    part: LogPart
    shared: Sequence[Shared]
    rules: Rules
    engine: EngineConfig
    artifacts: Path
    """Root of the artifact store."""


def build_part(job: PartJob) -> str:
    """Clean a part, unless that was done already, and return its artifact's URI."""
    return _store(job).build(**_address(job), work=lambda out, key: _work(job, out)).artifact.uri


def find_part(job: PartJob) -> str | None:
    """Return the URI of the finished artifact, or None."""
    found = _store(job).find_built(**_address(job))
    return found.uri if found else None


def count_ranges(rows: int) -> int:
    """Return into how many ranges so many rows are cut.

    >>> count_ranges(100_000), count_ranges(1_000_000), count_ranges(20_000_000)
    (1, 4, 20)
    """
    return max(1, round(rows / ROWS_PER_RANGE), min(FEW_RANGES, rows // LEAST_ROWS))


def _store(job: PartJob) -> ArtifactStore:
    return ArtifactStore(job.artifacts, min_free_disk_mb=job.engine.min_free_disk_mb)


def _address(job: PartJob) -> dict[str, Any]:
    neighbours = {shared.part.uri: [*shared.days, shared.comes_before] for shared in _heard(job)}
    return {
        "stage": STAGE,
        "code": code_digest("data.clean_part"),
        "settings": {**_plain_rules(job.rules), "neighbours": neighbours},
        "inputs": {"ingest": job.part.uri, **{f"neighbour {n}": uri for n, uri in enumerate(sorted(neighbours))}},
    }


def _plain_rules(rules: Rules) -> dict[str, Any]:
    constants = {column: rule.model_dump(mode="json") for column, rule in rules.constants.items()}
    coarsening = rules.coarsening.model_dump(mode="json")
    return {**asdict(rules), "constants": constants, "drops": list(rules.drops), "coarsening": coarsening}


def _heard(job: PartJob) -> list[Shared]:
    """The neighbours that can change something: those before it, and all when an event's day or instant counts."""
    if job.rules.bot_events_per_day or job.rules.double_click_seconds:
        return list(job.shared)
    return [shared for shared in job.shared if shared.comes_before]


def _work(job: PartJob, out: Path) -> Output:
    store = _store(job)
    for name in FOLDERS:
        (out / name).mkdir()
    work = out / ".work"
    runs = _runs(store, job.part.uri)
    neighbours = tuple(
        Neighbour(runs=_runs(store, shared.part.uri), days=shared.days, comes_before=shared.comes_before)
        for shared in _heard(job)
    )
    jobs = [
        RangeJob(
            range=chosen,
            runs=runs,
            neighbours=neighbours,
            rules=job.rules,
            events=bucket_file(out / "events", number),
            sales=bucket_file(out / "sales", number),
            apart=bucket_file(out / "apart", number),
            spill=work / f"spill-{number}",
            memory_mb=job.engine.memory_mb,
        )
        for number, chosen in enumerate(split_ranges(count_ranges(job.part.rows)))
    ]
    done = run_buckets(clean_range, jobs, engine=job.engine, what=f"clean {job.part.file}", rows=job.part.rows)
    shutil.rmtree(work, ignore_errors=True)
    summaries = [part.summary for part in done]
    removed: Counter[str] = sum((part.removed for part in done), Counter())
    filled: Counter[str] = sum((part.filled for part in done), Counter())
    return Output(
        rows=Rows(
            unit_in="rows",
            unit_out="rows",
            rows_in=sum(part.rows_in for part in done),
            rows_out=sum(summary.rows for summary in summaries),
            removed={reason: removed[reason] for reason in sorted(removed)},
        ),
        content_hash=combine_hashes(summary.content_hash for summary in summaries),
        facts={**event_facts(summaries, SHOPPER_COLUMNS), "filled": {how: filled[how] for how in sorted(filled)}},
    )


def _runs(store: ArtifactStore, uri: str) -> tuple[Path, ...]:
    return tuple(bucket_files(store.open(uri).path / "runs"))
