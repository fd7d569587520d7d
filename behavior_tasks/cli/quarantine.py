"""`behavior quarantine`: which rows of a log stand aside, why, where, and how to mend them."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from behavior_tasks.base.config import SourceConfig
from behavior_tasks.base.errors import UserError, nearest
from behavior_tasks.base.home import current_home
from behavior_tasks.cli.screen import console, count
from behavior_tasks.pipeline import Run, last_runs, open_run

if TYPE_CHECKING:
    from behavior_tasks.data.quarantine_view import ReasonView

LATEST = "latest"
MOST_FILES = 5
MOST = 0.5
SETTINGS = {
    "bad_encoding": "source.encoding=gb18030",
    "wrong_column_count": "source.delimiter=;",
    "bad_timestamp": "source.time_format=%Y-%m-%d %H:%M:%S",
    "milliseconds_for_seconds": "source.time_format=unix_milliseconds",
    "seconds_for_milliseconds": "source.time_format=unix_seconds",
    "timestamp_in_future": "source.timezone=Asia/Shanghai",
}
"""Reason → the setting that mends it, with a value to replace by the log's own."""


def quarantine(
    run: Annotated[str, typer.Argument(help="A run's id (`behavior status` lists them), or latest.")] = LATEST,
    reason: Annotated[str | None, typer.Option(help="Only this reason.")] = None,
    *,
    limit: Annotated[int, typer.Option(min=0, max=1000, help="Samples of each reason.")] = 5,
    csv: Annotated[Path | None, typer.Option(help="Also write every row (file, line, reason, found) here.")] = None,
    show_text: Annotated[
        bool,
        typer.Option(
            "--show-text",
            help="Also show the original rows, read in the log again. They may hold raw ids: share with care.",
        ),
    ] = False,
    log: Annotated[
        str | None, typer.Option("--input", "-i", help="With --show-text: where the log lies now, if elsewhere.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show the rows that could not become events: counts by reason and file, samples, and how to mend each.

    Works on a run that refused its log, too. What was found wrong is shown as a word, a day or a shape; the rows
    themselves stand in the log alone, and --show-text reads them there.

    Examples:

        behavior quarantine

        behavior quarantine latest --reason bad_timestamp --limit 20

        behavior quarantine --csv aside.csv

        behavior quarantine --reason bad_timestamp --show-text
    """
    from behavior_tasks.data.quarantine_view import lines_of, view_quarantine, with_texts, write_csv

    asked = _find(run)
    path, rows_in = _table(asked)
    views = view_quarantine(path, limit=limit)
    if reason is not None:
        _check_reason(reason, [view.reason for view in views])
        views = [view for view in views if view.reason == reason]
    if log is not None and not show_text:
        raise UserError("--input belongs to --show-text.", next_step="behavior quarantine --show-text --input log.csv")
    wanted = _lines_shown(views) if csv is None else lines_of(path, reason=reason)
    texts = _texts(asked, wanted, log) if show_text else None
    views = with_texts(views, texts or {})
    whole = rows_in or sum(view.rows for view in views)
    reasons = [{**asdict(v), "share": v.rows / whole, **_how_to_mend(v, v.rows / whole, asked)} for v in views]
    if csv is not None:
        if not csv.parent.is_dir():
            raise UserError(f"There is no folder {csv.parent}.", next_step=f"mkdir -p {shlex.quote(str(csv.parent))}")
        written = write_csv(path, csv, reason=reason, texts=texts)
    if as_json:
        found = {"run": asked.record.run_id, "rows_in": rows_in, "refused": rows_in is None, "reasons": reasons}
        console.print_json(json.dumps({**found, "counted_only": _counted_only(asked)}))
        return
    _show(asked, reasons, rows_in=rows_in)
    _say_counted(_counted_only(asked))
    if csv is not None:
        console.print(f"{count(written)} rows in {csv}", markup=False, highlight=False, soft_wrap=True)


def _find(name: str) -> Run:
    """Return a run by its id, or the newest that has a quarantine."""
    if name != LATEST:
        return open_run(name)
    runs = last_runs(current_home(), most=100, inspections=True)
    for run in runs:
        if run.rejects.is_file() or run.artifact("ingest") is not None:
            return run
    raise UserError("No run has read a log yet.", next_step="behavior doctor --input log.csv")


def _table(run: Run) -> tuple[Path, int | None]:
    """Return the quarantine of a run, and how many rows its log had; None: the run refused the log."""
    if run.rejects.is_file():
        return run.rejects, None
    ingested = run.artifact("ingest")
    if ingested is None:
        raise UserError(
            f"The run {run.record.run_id} has read no rows, so nothing stands aside.",
            found=(run.noted("error") or {}).get("message"),
            next_step="behavior status",
        )
    return ingested.path / "quarantine.parquet", ingested.manifest.rows.rows_in


def _lines_shown(views: "list[ReasonView]") -> dict[str, list[int]]:
    """Return the lines of each file that the samples stand on."""
    lines: dict[str, list[int]] = {}
    for sample in (sample for view in views for sample in view.samples):
        lines.setdefault(sample.file, []).append(sample.line)
    return lines


def _texts(run: Run, lines: dict[str, list[int]], log: str | None) -> dict[tuple[str, int], str]:
    from behavior_tasks.pipeline.aside import original_texts

    return original_texts(run, lines, log)


def _say_counted(counted: dict[str, int]) -> None:
    if counted:
        each = ", ".join(f"{count(rows)} {name}" for name, rows in counted.items())
        console.print(f"Nothing is kept but the number of: {each}", markup=False, highlight=False, soft_wrap=True)


def _counted_only(run: Run) -> dict[str, int]:
    """Return the reasons of which no row is kept, with their rows; nothing of a run that refused its log."""
    from behavior_tasks.data.reasons import COUNTED_ONLY

    ingested = run.artifact("ingest")
    removed = ingested.manifest.rows.removed if ingested is not None else {}
    return {reason: rows for reason, rows in removed.items() if reason in COUNTED_ONLY}


def _check_reason(reason: str, held: list[str]) -> None:
    if reason in held:
        return
    close = nearest(reason, held)
    raise UserError(
        f'No row stands aside for the reason "{reason}".',
        expected=", ".join(held) or "no reason at all: the quarantine is empty",
        next_step=f"--reason {close}" if close else "behavior quarantine",
    )


def _how_to_mend(view: "ReasonView", share: float, run: Run) -> dict[str, Any]:
    """Return whether the reason is expected, what to do, and the command with the setting that does it."""
    from behavior_tasks.data.reasons import REASONS

    source = run.record.config.source
    reason = view.reason
    # A few rows of another width are damaged; with most of them the delimiter is wrong.
    damaged = reason == "wrong_column_count" and share < MOST
    setting = None if damaged else _setting(reason, view.words, source)
    asked = ["--preset", run.record.preset]
    if run.record.input:
        asked = ["--input", str(run.record.input), *asked]
    command = shlex.join(["behavior", "run", *asked, "--set", setting]) if setting else None
    return {
        "expected": reason in source.reasons_that_are_not_bad,
        "advice": REASONS.get(reason, ""),
        "command": command,
    }


def _setting(reason: str, words: tuple[str, ...], source: SourceConfig) -> str | None:
    if reason == "unknown_action" and words:
        # A table that is set replaces the preset's, so what stands there already is kept.
        named = {**source.actions, **dict.fromkeys(words, "browse")}
        return "source.actions=" + json.dumps(named, ensure_ascii=False)
    if reason == "absurd_amount":
        return f"source.max_amount={source.max_amount * 10:g}"
    if reason in {"missing_user_id", "outside_period"} and reason not in source.expected_reasons:
        return f"source.expected_reasons=[{', '.join([*source.expected_reasons, reason])}]"
    return SETTINGS.get(reason)


def _show(run: Run, reasons: list[dict[str, Any]], *, rows_in: int | None) -> None:
    held = sum(one["rows"] for one in reasons)
    of = f" of {count(rows_in)} rows ({held / rows_in:.1%})" if rows_in else " rows, in a log that was refused"
    console.print(f"Quarantine of the run {run.record.run_id}: {count(held)}{of}", style="bold", highlight=False)
    if not reasons:
        console.print("Every row became an event.")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("reason", "rows", "share", "file"):
        table.add_column(name, justify="right" if name in {"rows", "share"} else "left", overflow="fold")
    for one in reasons:
        name = one["reason"] + (" (expected)" if one["expected"] else "")
        files = one["files"]
        if len(files) > 1:
            table.add_row(name, count(one["rows"]), f"{one['share']:.1%}", f"{len(files)} files")
            name = ""
        for file in files[:MOST_FILES]:
            share = one["share"] * file["rows"] / one["rows"]
            table.add_row(name, count(file["rows"]), f"{share:.1%}", escape(file["file"]))
            name = ""
        if len(files) > MOST_FILES:
            table.add_row("", "", "", f"and {len(files) - MOST_FILES} more files")
    console.print(table)
    for one in reasons:
        console.print(f"\n{one['reason']}", style="bold")
        for sample in one["samples"]:
            found = f"  found {sample['found']!r}" if sample["found"] is not None else ""
            console.print(f"  {sample['file']}:{sample['line']}{found}", markup=False, highlight=False, soft_wrap=True)
            if sample["text"] is not None:
                console.print(f"    {sample['text']!r}", markup=False, highlight=False, soft_wrap=True)
        console.print(f"  → {one['advice']}", markup=False, highlight=False, soft_wrap=True)
        if one["command"]:
            console.print(f"    {one['command']}", markup=False, highlight=False, soft_wrap=True)
