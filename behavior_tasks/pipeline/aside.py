"""Rows that stand aside, as they are in the log: a run and some lines in; their original text, read again, out.

The one thing to know: the state folder holds none of it, so this works for whoever can read the log, as long as it is
byte for byte the one that the run read.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

from behavior_tasks.base.errors import UserError
from behavior_tasks.data.inputs import RawFile, find_inputs
from behavior_tasks.data.quarantine_text import Place, read_texts
from behavior_tasks.pipeline.runs import Run

WITHOUT = "without --show-text all else is shown"


def original_texts(run: Run, wanted: Mapping[str, Collection[int]], input_path: str | None = None) -> dict[Place, str]:
    """Return the original text of rows of a run's log.

    Args:
        run: the run that set them aside.
        wanted: name of the file → lines, from 1.
        input_path: where the log lies now; None: where the run found it.

    Raises:
        UserError: when the log is gone or has changed since.
    """
    hashes = {file["name"]: file["sha256"] for file in run.need("source").facts["files"]}
    try:
        held = {file.sha256: file for file in _files(run, input_path, hashes)}
    except UserError as error:
        raise UserError(
            "The original rows can't be shown: they stand in the log alone, and that can't be read any more.",
            found=error.problem,
            expected=f"{run.log_name}, as the run {run.record.run_id} read it",
            next_step=f"--input with its place now; {WITHOUT}",
        ) from None
    gone = [name for name in wanted if hashes.get(name) not in held]
    if gone:
        raise UserError(
            "The original rows can't be shown: the log has changed since it was read, so its lines are others.",
            found=f"{gone[0]} is gone or has other bytes" + (f", and {len(gone) - 1} more" if len(gone) > 1 else ""),
            expected=f"{gone[0]}, as the run {run.record.run_id} read it",
            next_step=f"--input with a copy of that day; {WITHOUT}",
        )
    files = [replace(held[hashes[name]], name=name) for name in wanted]
    return read_texts(files, wanted, run.record.config.source)


def _files(run: Run, input_path: str | None, hashes: Mapping[str, str]) -> tuple[RawFile, ...]:
    where = run.record.input if input_path is None else input_path
    if where is not None:
        only = hashes if input_path is None else None
        return find_inputs(where, run.record.config, run.home, known=hashes, only=only).files
    made = run.artifact("simulate")
    if made is None:
        raise UserError("The simulated log of that run is gone.")
    return find_inputs(str(made.path / "events.csv"), run.record.config, run.home).files
