"""Sources: the log's files are found, their heads checked, and each named by the hash of its bytes.

In comes what the user typed (or the simulated shop's log); out come the files' hashes, sizes and columns as facts.
The one thing to know: whatever is wrong with a file as a whole is said here, on one screen, before any row is read.
"""

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from behavior_tasks.base.artifacts import Output, Rows
from behavior_tasks.base.config import Config, SourceConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.base.stage import Job
from behavior_tasks.data.consent import load_consent
from behavior_tasks.data.consent_words import CONSENT
from behavior_tasks.data.filehashes import changed_meanwhile
from behavior_tasks.data.formats import read_head
from behavior_tasks.data.headscan import check_encoding, scan_head, text_lines
from behavior_tasks.data.inputs import Inputs, RawFile, find_inputs, say_left_out
from behavior_tasks.data.json_block import object_keys
from behavior_tasks.data.layout import (
    Layout,
    MissingColumnsError,
    check_settings,
    check_together,
    layout_of_names,
    read_layout,
)
from behavior_tasks.data.pieces import Format, parquet_schema
from behavior_tasks.data.raw_erase import erase_raw_rows
from behavior_tasks.data.rawfile import check_file
from behavior_tasks.data.rawstore import remember, remembered
from behavior_tasks.data.side_tables import check_side_tables, side_files
from behavior_tasks.data.tombstones import Tombstones

log = logging.getLogger("behavior")


def hash_raw_files(raw: str | Path | None, config: Config, home: Home) -> dict[str, str]:
    """Return file name → SHA-256 of its bytes, side tables included; nothing when the simulated shop stands in.

    Raises:
        UserError: when there is no file, or one is missing, empty or unreadable.
    """
    if raw is None:
        return {}
    inputs = _find(str(raw), config, home)
    say_left_out(inputs)
    tables = {f"{name}: {file.name}": file.sha256 for name, file in side_files(str(raw), config, home).items()}
    return {**{file.name: file.sha256 for file in inputs.files}, **tables}


def source_stage(job: Job) -> Output:
    """Check the settings, the head of every file and the side tables, and write `source.json`.

    Raises:
        UserError: saying what is wrong with a file or with the source's settings, and what to type.
    """
    config = job.config.source
    check_settings(config)
    inputs = _fixed_inputs(job)
    formats, layouts = look_at_heads(inputs.files, config)
    described = [
        {**_described(file), "format": formats[file.name], "columns": list(layouts[file.name].names)}
        for file in inputs.files
    ]
    facts: dict[str, Any] = {
        "files": [{key: value for key, value in file.items() if key != "columns"} for file in described],
        "read_on": job.today.isoformat(),
        "columns": list(layouts[inputs.files[0].name].names),
        "repeated": dict(inputs.repeated),
        "empty": list(inputs.empty),
        "side_tables": _check_beside(job) if job.raw else {},
    }
    text = json.dumps({**facts, "files": described}, indent=2, ensure_ascii=False)
    (job.out / "source.json").write_text(text + "\n", encoding="utf-8")
    log.info("source: %d files, %d bytes", len(inputs.files), sum(file.bytes for file in inputs.files))
    removed = {"repeated": len(inputs.repeated), "empty": len(inputs.empty)}
    kept = len(inputs.files)
    rows = Rows(
        unit_in="files",
        unit_out="files",
        rows_in=kept + sum(removed.values()),
        rows_out=kept,
        removed={reason: number for reason, number in removed.items() if number},
    )
    return Output(rows=rows, facts=facts)


def _check_beside(job: Job) -> dict[str, dict[str, int | bool]]:
    """Read the side tables and that of consent, and return what was found, by table."""
    files = side_files(str(job.raw), job.config, job.home)
    facts = check_side_tables(files, job.config.source)
    if CONSENT in files:
        facts[CONSENT] = dict(load_consent(files[CONSENT], job.config.source).facts)
        log.info("source: side table %s: %s", CONSENT, ", ".join(f"{k} {v}" for k, v in facts[CONSENT].items()))
    return facts


def source_files(job: Job) -> tuple[RawFile, ...]:
    """Return exactly the files that the stage `source` checked, in its order; later arrivals are not looked at.

    Raises:
        UserError: when one of them is gone or has changed since.
    """
    wanted = {file["name"]: file["sha256"] for file in job.inputs["source"].facts["files"]}
    if job.raw is None:
        return _simulated(job).files
    inputs = _find(job.raw, job.config, job.home, known=wanted, only=wanted)
    _same(inputs, wanted, job.raw)
    return inputs.files


def look_at_heads(files: tuple[RawFile, ...], config: SourceConfig) -> tuple[dict[str, Format], dict[str, Layout]]:
    """Return each file's format and layout by its name, from no more than its head.

    Raises:
        UserError: for a file of another kind, another encoding, columns that don't fit, or files that disagree.
    """
    formats: dict[str, Format] = {}
    found: dict[str, Layout | MissingColumnsError] = {}
    for file in files:
        try:
            formats[file.name], found[file.shown] = _look_at(file, config, alone=len(files) == 1)
        except MissingColumnsError as error:
            found[file.shown] = error
    check_together(found, config)
    return formats, {file.name: layout for file in files if isinstance(layout := found[file.shown], Layout)}


def layout_of(file: RawFile, config: SourceConfig) -> Layout:
    """Return where the canonical columns stand in a file that `source` has checked."""
    return _look_at(file, config, alone=False)[1]


def shown_input(job: Job) -> str:
    """Return the log's name for messages."""
    return _simulated(job).files[0].shown if job.raw is None else job.raw


def _look_at(file: RawFile, config: SourceConfig, *, alone: bool) -> tuple[Format, Layout]:
    check_file(file.path, file.shown)
    head = read_head(file.path, shown=file.shown, stated=config.format)
    if head.format == "parquet":
        return head.format, layout_of_names(parquet_schema(file.path, file.shown).names, config, shown=file.shown)
    scan = scan_head(head, encoding=config.encoding, shown=file.shown)
    if not scan.opening:
        raise UserError(
            f"The file {file.shown} holds only blank lines.",
            expected="a header line and rows",
            next_step="check the export that wrote it",
        )
    check_encoding(scan, config, shown=file.shown)
    if head.format == "jsonl":
        keys = object_keys(text_lines(head, encoding=config.encoding, shown=file.shown), shown=file.shown)
        return head.format, layout_of_names(keys, config, shown=file.shown)
    layout = read_layout(scan.opening[0], config, shown=file.shown)
    # A day without an event is no mistake among other days.
    if alone and head.complete and layout.has_header and len(scan.opening) == 1:
        raise UserError(
            f"{file.shown} holds a header but no rows.",
            found=f"columns {', '.join(layout.names)}",
            expected="one row an event below the header",
            next_step="check the export that wrote it",
        )
    return head.format, layout


def _find(
    text: str,
    config: Config,
    home: Home,
    *,
    known: Mapping[str, str] | None = None,
    only: Collection[str] | None = None,
) -> Inputs:
    """Return what `find_inputs` finds; a copy that came from elsewhere is rid of the rows of erased shoppers first."""
    inputs = find_inputs(text, config, home, known=known, only=only)
    copies = [file for file in inputs.files if file.path.parent == home.raw]
    tombstones = Tombstones.load(home) if copies else None
    if tombstones is None:
        return inputs
    clean = {file.name: _without_erased(file, config, home, tombstones) for file in copies}
    return replace(inputs, files=tuple(clean.get(file.name, file) for file in inputs.files))


def _without_erased(file: RawFile, config: Config, home: Home, tombstones: Tombstones) -> RawFile:
    """Take erased shoppers out of a copy, unless that was done; its name and hash stay those of what was copied."""
    held = file.path.stat()
    seen = {"stones": tombstones.digest, "bytes": held.st_size, "mtime_ns": held.st_mtime_ns}
    note = f"erased {file.path.name}"
    if remembered(home, note) == seen:
        return file
    rows = erase_raw_rows(file.path, layout_of(file, config.source), config.source, tombstones, shown=file.shown)
    held = file.path.stat()
    remember(home, note, {**seen, "bytes": held.st_size, "mtime_ns": held.st_mtime_ns})
    if rows:
        log.info("source: %d rows of erased shoppers are taken out of the copy of %s", rows, file.shown)
    return replace(file, bytes=held.st_size, mtime_ns=held.st_mtime_ns)


def _fixed_inputs(job: Job) -> Inputs:
    """Return the inputs, and check that they are still those in the stage's key."""
    if job.raw is None:
        return _simulated(job)
    inputs = _find(job.raw, job.config, job.home, known=job.outside)
    if job.outside:
        names = {
            name: digest
            for name, digest in job.outside.items()
            if not name.startswith(("users: ", "products: ", "consent: "))
        }
        _same(inputs, names, job.raw)
    return inputs


def _same(inputs: Inputs, wanted: Mapping[str, str], shown: str) -> None:
    held = {file.name: file for file in inputs.files}
    for name, digest in wanted.items():
        if name not in held or held[name].sha256 != digest:
            raise changed_meanwhile(held[name].shown if name in held else f"{name} of {shown}")
    if len(held) > len(wanted):
        raise changed_meanwhile(next(file.shown for name, file in held.items() if name not in wanted))


def _simulated(job: Job) -> Inputs:
    artifact = job.inputs["simulate"]
    path = artifact.path / "events.csv"
    held = path.stat()
    file = RawFile(
        path=path,
        shown="events.csv of the simulated shop",
        name=path.name,
        bytes=held.st_size,
        sha256=artifact.manifest.files[path.name].sha256,
        mtime_ns=held.st_mtime_ns,
    )
    return Inputs(files=(file,), repeated={}, empty=())


def _described(file: RawFile) -> dict[str, Any]:
    return {"name": file.name, "bytes": file.bytes, "sha256": file.sha256}
