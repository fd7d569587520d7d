"""Ingest: every row of the raw log becomes an event of a pseudonymous shopper, or stands in quarantine with its reason.

In come the files that `sources` checked; out come `parts.json` (which artifact each file gave) and
`quarantine.parquet`. The one thing to know: rows in = events + quarantined rows, to the row, and a file that was read
once, on whatever night, is not read again.
"""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from behavior_tasks.base.artifacts import Artifact, ArtifactStore, Output, Rows
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.schema import PARSED_COLUMNS
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_files, full_disk
from behavior_tasks.data.buckets import connect_spilling, merge_facts
from behavior_tasks.data.consent import count_unknown, load_consent
from behavior_tasks.data.consent_words import CONSENT
from behavior_tasks.data.ingest_part import BYTES_A_ROW, PartJob, build_part, find_part, plan
from behavior_tasks.data.key_history import check_key
from behavior_tasks.data.keys import fingerprint, identity_key
from behavior_tasks.data.parts import PARTS_FILE, LogPart
from behavior_tasks.data.quarantine import join_quarantines, merge_reasons
from behavior_tasks.data.reasons import ReasonCount, refuse_if_bad
from behavior_tasks.data.side_tables import side_files
from behavior_tasks.data.sources import shown_input, source_files
from behavior_tasks.data.tombstones import Tombstones

VERY_LARGE_BYTES = 1 << 30
SEE = "\n`behavior quarantine` shows these rows"
log = logging.getLogger("behavior")


@full_disk()
def ingest_stage(job: Job) -> Output:
    """Read the files that were not read before; write `parts.json` and `quarantine.parquet`.

    Raises:
        UserError: when a file can't be read, too many rows are bad, or none is left.
    """
    jobs = _part_jobs(job)
    reused = _read_new(jobs, job)
    store = ArtifactStore(job.home.artifacts)
    found = {one.file.name: store.open(uri) for one, uri in zip(jobs, reused, strict=True)}
    parts = sorted((_log_part(name, artifact) for name, artifact in found.items()), key=lambda part: part.order)
    counts = {name: [ReasonCount(**fact) for fact in a.facts["reasons"]] for name, a in found.items()}
    reasons = merge_reasons(counts)
    work = job.out / ".work"
    with connect_spilling(work, memory_mb=job.config.engine.memory_mb) as connection:
        quarantine = job.out / "quarantine.parquet"
        join_quarantines(connection, {name: a.path / "quarantine.parquet" for name, a in found.items()}, quarantine)
    rows_in = sum(part.rows_in for part in parts)
    _leave_rejects(quarantine, job)
    refuse_if_bad(reasons, rows_in=rows_in, config=job.config.source, shown=shown_input(job), see=SEE)
    _forget_rejects(job)
    (job.out / PARTS_FILE).write_text(
        json.dumps([p.model_dump(mode="json") for p in parts], indent=2), encoding="utf-8"
    )
    removed = {count.reason: count.rows for count in reasons}
    rows = Rows(unit_in="rows", unit_out="rows", rows_in=rows_in, rows_out=sum(p.rows for p in parts), removed=removed)
    log.info("ingest: %d rows of %d files, %d events, quarantined: %s", rows_in, len(parts), rows.rows_out, removed)
    facts = {**_facts(parts, found), **_unknown(job, parts), "key_fingerprint": fingerprint(identity_key(job.home))}
    return Output(rows=rows, facts=facts)


def _leave_rejects(quarantine: Path, job: Job) -> None:
    """Keep the table where it is found when the log is refused; an accepted log has it in its artifact."""
    if job.rejects is not None:
        shutil.copyfile(quarantine, job.rejects)


def _forget_rejects(job: Job) -> None:
    if job.rejects is not None:
        job.rejects.unlink(missing_ok=True)


def _part_jobs(job: Job) -> list[PartJob]:
    side_tables = side_files(job.raw, job.config, job.home) if job.raw else {}
    key, tombstones = identity_key(job.home), Tombstones.load(job.home)
    check_key(job.home, fingerprint(key))
    if job.outside.get("identity_key", fingerprint(key)) != fingerprint(key):
        raise UserError(
            "The identity key has changed while the run was going on.",
            found=f"a key with the fingerprint {fingerprint(key)}",
            expected=job.outside["identity_key"],
            next_step="bring that key back, then run again",
        )
    return [
        PartJob(
            file=file,
            config=job.config.source,
            engine=job.config.engine,
            artifacts=job.home.artifacts,
            read_on=job.today,
            side_tables=side_tables,
            key=key,
            tombstones=tombstones,
        )
        for file in source_files(job)
    ]


def _read_new(jobs: Sequence[PartJob], job: Job) -> list[str]:
    """Return each file's artifact, reading those that have none: small files side by side, large ones in pieces."""
    uris = {number: artifact.uri for number, one in enumerate(jobs) if (artifact := find_part(one)) is not None}
    new = [number for number in range(len(jobs)) if number not in uris]
    # Where there are files enough to keep everybody busy, each is read by one process, unless it is very large.
    least = VERY_LARGE_BYTES if len(new) >= 2 * job.config.engine.workers else 0
    large = [n for n in new if jobs[n].file.bytes > least and len(plan(jobs[n])) > 1]
    small = [number for number in new if number not in large]
    if new:
        log.info("ingest: %d of %d files are new", len(new), len(jobs))
    alone = job.config.engine.model_copy(update={"workers": 1, "runner": "local"})
    rows = sum(jobs[number].file.bytes for number in small) // BYTES_A_ROW
    one_each = [replace(jobs[number], engine=alone) for number in small]
    built = run_buckets(build_part, one_each, engine=job.config.engine, what="ingest files", rows=rows)
    uris |= {number: part.uri for number, part in zip(small, built, strict=True)}
    uris |= {number: build_part(jobs[number]).uri for number in large}
    return [uris[number] for number in range(len(jobs))]


def _log_part(name: str, artifact: Artifact) -> LogPart:
    facts, rows = artifact.facts, artifact.manifest.rows
    return LogPart(
        file=name,
        uri=artifact.uri,
        rows_in=rows.rows_in,
        rows=rows.rows_out,
        first=facts["first"],
        last=facts["last"],
        days=facts["days"],
        present=facts["present"],
    )


def _unknown(job: Job, parts: Sequence[LogPart]) -> dict[str, int]:
    """Return how many of those who consent have no event in this log, where a side table says who does."""
    files = side_files(job.raw, job.config, job.home) if job.raw else {}
    if CONSENT not in files:
        return {}
    store, consent = ArtifactStore(job.home.artifacts), load_consent(files[CONSENT], job.config.source)
    runs = [file for part in parts for file in bucket_files(store.open(part.uri).path / "runs")]
    unknown = count_unknown(consent, identity_key(job.home), runs)
    if unknown:
        listed = consent.facts["consenting"]
        log.warning("ingest: %d of %d ids that consent (source.consent) have no event in the log", unknown, listed)
    return {"consent_unknown": unknown}


def _facts(parts: Sequence[LogPart], found: dict[str, Artifact]) -> dict[str, Any]:
    set_missing: Counter[str] = sum((Counter(a.facts["set_missing"]) for a in found.values()), Counter())
    return {
        "files": {part.file: {"rows": part.rows_in, "events": part.rows} for part in parts},
        **merge_facts([artifact.facts for artifact in found.values()], PARSED_COLUMNS),
        "set_missing": {column: set_missing[column] for column in sorted(set_missing)},
    }
