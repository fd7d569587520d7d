"""Ingest of one file: an artifact of its own, so that tomorrow's file is read without reading the others again.

In comes one raw file; out come its events in `runs/` (each sorted by shopper), `quarantine.parquet`, and its counts.
The one thing to know: its key is the hash of the file's bytes with what is needed to read them, so a file is judged on
the day on which it is first read, and the same file under another name, or in another run, costs nothing.
"""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from behavior_tasks.base.artifacts import Artifact, ArtifactStore, Output, Rows
from behavior_tasks.base.code import code_digest
from behavior_tasks.base.config import EngineConfig, SourceConfig
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.schema import PARSED_COLUMNS
from behavior_tasks.base.tables import bucket_file
from behavior_tasks.data.buckets import connect_spilling, event_facts
from behavior_tasks.data.consent import load_consent
from behavior_tasks.data.consent_words import CONSENT
from behavior_tasks.data.ingest_piece import Held, PieceDone, PieceJob, ingest_piece
from behavior_tasks.data.inputs import RawFile, check_unchanged
from behavior_tasks.data.keys import fingerprint
from behavior_tasks.data.parquet_rows import writes_iso_times
from behavior_tasks.data.pieces import PIECE_BYTES, Piece, detect, plan_pieces
from behavior_tasks.data.quarantine import counted_only, write_quarantine
from behavior_tasks.data.side_tables import load_side_tables
from behavior_tasks.data.sources import layout_of
from behavior_tasks.data.tombstones import Tombstones

STAGE = "ingest-part"
JUDGED_LATER = ("max_bad_fraction", "expected_reasons", "query")
"""Settings of the source that change nothing in how a file is read."""
WORK = ".work"
FEW_PIECES, LEAST_PIECE_BYTES = 4, 16 << 20
"""A smaller file is still cut into so many pieces, so that several processes can read, but into none smaller."""
BYTES_A_ROW = 50
"""A low guess, to know whether a file is worth several processes."""


@dataclass(frozen=True, kw_only=True)
class PartJob:
    """One file's work."""

    file: RawFile
    config: SourceConfig
    engine: EngineConfig
    artifacts: Path
    """Root of the artifact store."""
    read_on: date
    side_tables: Mapping[str, RawFile]
    """Files of the side tables, by name."""
    key: bytes = field(repr=False)
    tombstones: Tombstones | None = None
    """Who was erased. They are in no key: a part that was read before has been rid of them in its place."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a file gave: its artifact, and whether it was there before."""

    uri: str
    reused: bool


def find_part(job: PartJob) -> Artifact | None:
    """Return the file's finished artifact, or None."""
    return _store(job).find_built(**_address(job))


def plan(job: PartJob) -> list[Piece]:
    """Return the pieces that the file is read in."""
    form, compression = detect(job.file.path, shown=job.file.shown, stated=job.config.format)
    return plan_pieces(
        job.file.path,
        job.file.shown,
        format=form,
        compression=compression,
        encoding=job.config.encoding,
        piece_bytes=min(PIECE_BYTES, max(LEAST_PIECE_BYTES, job.file.bytes // FEW_PIECES)),
    )


def build_part(job: PartJob) -> Part:
    """Read a file, unless it has been read already.

    Raises:
        UserError: when the file can't be read, lacks a column, or changes while it is read.
    """
    built = _store(job).build(**_address(job), work=lambda out, key: _work(job, out))
    return Part(uri=built.artifact.uri, reused=built.reused)


def _store(job: PartJob) -> ArtifactStore:
    return ArtifactStore(job.artifacts, min_free_disk_mb=job.engine.min_free_disk_mb)


def _address(job: PartJob) -> dict[str, Any]:
    settings = {k: v for k, v in job.config.model_dump(mode="json").items() if k not in JUDGED_LATER}
    hashes = {name: file.sha256 for name, file in job.side_tables.items()}
    for name in ("users", "products"):
        # Where a side table lies changes nothing; its bytes do.
        settings[name] = {k: v for k, v in settings[name].items() if k != "path"} if name in hashes else None
    # The words of consent are also those of a column of the log.
    settings[CONSENT].pop("path")
    return {
        "stage": STAGE,
        "code": code_digest("data.ingest_part"),
        "settings": settings,
        "inputs": {"file": job.file.sha256, "identity_key": fingerprint(job.key), **hashes},
    }


def _work(job: PartJob, out: Path) -> Output:
    work = out / WORK
    for folder in (work / "aside", out / "runs"):
        folder.mkdir(parents=True)
    jobs = _piece_jobs(job, out)
    done = run_buckets(ingest_piece, jobs, engine=job.engine, what=f"ingest {job.file.name}", rows=_guess_rows(job))
    done = _chain(jobs, done)
    check_unchanged(job.file)
    first_lines = [sum(part.end.lines for part in done[:number]) for number in range(len(done))]
    with connect_spilling(work / "spill", memory_mb=job.engine.memory_mb) as connection:
        aside = [(piece.aside, line) for piece, line in zip(jobs, first_lines, strict=True)]
        reasons = write_quarantine(connection, aside, out / "quarantine.parquet")
    counted: Counter[str] = sum((part.counted for part in done), Counter())
    reasons = [*counted_only(counted), *reasons]
    shutil.rmtree(work)
    set_missing: Counter[str] = sum((part.set_missing for part in done), Counter())
    rows_out = sum(part.held.events for part in done)
    rows_in, removed = sum(part.rows for part in done), {count.reason: count.rows for count in reasons}
    return Output(
        rows=Rows(unit_in="rows", unit_out="rows", rows_in=rows_in, rows_out=rows_out, removed=removed),
        facts={
            **_facts([part.held for part in done]),
            "lines": sum(part.end.lines for part in done),
            "read_on": job.read_on.isoformat(),
            "set_missing": {column: set_missing[column] for column in sorted(+set_missing)},
            "reasons": [count.as_fact() for count in reasons],
        },
    )


def _piece_jobs(job: PartJob, out: Path) -> list[PieceJob]:
    layout, pieces = layout_of(job.file, job.config), plan(job)
    tables = load_side_tables(job.side_tables, job.config)
    consent = load_consent(job.side_tables[CONSENT], job.config) if CONSENT in job.side_tables else None
    config = job.config
    if writes_iso_times(pieces[0], layout):
        # The type of the file's own column says more than a setting that is meant for text and numbers.
        config = config.model_copy(update={"time_format": "iso"})
    return [
        PieceJob(
            piece=piece,
            start=None,
            is_first=number == 0,
            layout=layout,
            tables=tables,
            consent=consent,
            config=config,
            read_on=job.read_on,
            events=bucket_file(out / "runs", number),
            aside=bucket_file(out / WORK / "aside", number),
            spill=out / WORK / f"spill-{number}",
            memory_mb=job.engine.memory_mb,
            key=job.key,
            tombstones=job.tombstones,
        )
        for number, piece in enumerate(pieces)
    ]


def _chain(jobs: list[PieceJob], done: Sequence[PieceDone]) -> list[PieceDone]:
    """Read again what began in the middle of a record that runs over the cut before it."""
    chained = list(done[:1])
    for job, part in zip(jobs[1:], done[1:], strict=True):
        start = chained[-1].end.next_start
        if part.end.start != start:
            job.events.unlink()
            job.aside.unlink()
            part = ingest_piece(replace(job, start=start))
        chained.append(part)
    return chained


def _guess_rows(job: PartJob) -> int:
    return job.file.bytes // BYTES_A_ROW


def _facts(parts: Sequence[Held]) -> dict[str, Any]:
    """Return first and last instant (ISO, naive UTC), actions, present columns and events by local day."""
    days: Counter[date] = sum((part.days for part in parts), Counter())
    return {**event_facts(parts, PARSED_COLUMNS), "days": {day.isoformat(): days[day] for day in sorted(days)}}
