"""Sources: the log is found, checked from end to end, and named by the hash of its bytes.

In comes the user's file (or the simulated shop's); out come its hash, size and columns as facts. The one thing
to know: whatever is wrong with the file as a whole is said here, on one screen, before any row is read.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from behavior_tasks.base.artifacts import Output, Rows, hash_file
from behavior_tasks.base.config import SourceConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.stage import Job
from behavior_tasks.data.layout import Layout, check_settings, read_layout
from behavior_tasks.data.rawfile import SURROGATE, Scan, likely_encoding

MANY_BAD_LINES, MANY_BAD_SHARE = 10, 0.001
"""So many undecodable lines, being most of the lines beyond ASCII, are no accident but another encoding."""
SHOWN_BYTES = 4
log = logging.getLogger("behavior")


@dataclass(frozen=True, kw_only=True)
class RawLog:
    """The file that a run reads."""

    path: Path
    shown: str
    """Its name for messages: what the user typed."""

    @property
    def name(self) -> str:
        """The file's bare name, for tables and facts."""
        return self.path.name


def hash_raw_files(raw, config, home):
    from behavior_tasks.data.inputs import find_inputs
    if raw is None: return {}
    return {f.name: f.sha256 for f in find_inputs(raw, config, home).files}


def source_stage(job):
    from behavior_tasks.data.inputs import find_inputs
    from behavior_tasks.data.layout import layout_of
    check_settings(job.config.source)
    if job.raw is None:
        p = job.inputs["simulate"].path/"events.csv"
        files=[{"name":p.name,"bytes":p.stat().st_size,"sha256":hash_file(p)}]
    else:
        found=find_inputs(job.raw, job.config, job.home).files
        for f in found: layout_of(f, job.config.source)
        files=[{"name":f.name,"bytes":f.bytes,"sha256":f.sha256} for f in found]
    return Output(rows=Rows(unit_in="files", unit_out="files", rows_in=len(files), rows_out=len(files)), facts={"files": files})


def find_log(job: Job) -> RawLog:
    """Return the file that this job reads: the user's, else the simulated shop's."""
    if job.raw is not None:
        return RawLog(path=job.raw, shown=str(job.raw))
    return RawLog(path=job.inputs["simulate"].path / "events.csv", shown="events.csv of the simulated shop")


def check_scan(scan: Scan, config: SourceConfig, *, shown: str) -> Layout:
    """Check what a look over the file has shown, and return its layout.

    Raises:
        UserError: for another encoding, a header without rows, or columns that don't fit.
    """
    if not scan.opening:
        raise UserError(
            f"The file {shown} holds only blank lines.",
            expected="a header line and rows",
            next_step="check the export that wrote it",
        )
    _check_encoding(scan, config, shown)
    layout = read_layout(scan.opening[0], config, shown=shown)
    if layout.has_header and len(scan.opening) == 1:
        raise UserError(
            f"{shown} holds a header but no rows.",
            found=f"columns {', '.join(layout.names)}",
            expected="one row an event below the header",
            next_step="check the export that wrote it",
        )
    return layout


def _check_encoding(scan: Scan, config: SourceConfig, shown: str) -> None:
    share = scan.undecodable / scan.lines
    mostly = scan.undecodable >= MANY_BAD_LINES and 2 * scan.undecodable >= scan.non_ascii and share > MANY_BAD_SHARE
    if not (SURROGATE.search(scan.opening[0]) or share > config.max_bad_fraction or mostly):
        return
    likely = likely_encoding(scan.sample, config.encoding)
    first = next(n for n, byte in enumerate(scan.sample[0]) if byte > 0x7F)
    held = scan.sample[0][first : first + SHOWN_BYTES].hex(" ")
    raise UserError(
        f"The file {shown} is not written in {config.encoding}.",
        found=f"line {scan.first_undecodable[0]} holds the bytes {held}; "
        f"{scan.undecodable:,} of {scan.lines:,} lines can't be read",
        expected=f"text in source.encoding = {config.encoding}",
        next_step=f"--set source.encoding={likely}" if likely else "set source.encoding to what the export used",
    )


def find_files(job):
    from behavior_tasks.data.inputs import RawFile, find_inputs
    facts = job.inputs["source"].facts["files"]
    if job.raw is None:
        path = job.inputs["simulate"].path / "events.csv"
        held = path.stat()
        return (RawFile(path=path, shown="events.csv of the simulated shop", name=path.name, bytes=held.st_size, sha256=facts[0]["sha256"], mtime_ns=held.st_mtime_ns),)
    known = {entry["name"]: entry["sha256"] for entry in facts}
    files = find_inputs(job.raw, job.config, job.home, known=known).files
    return files


def shown_input(job):
    return "events.csv of the simulated shop" if job.raw is None else str(job.raw)
