"""`behavior doctor`: whether a log can be learned from, before anything is trained."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from behavior_tasks.base.config import DEFAULT_PRESET
from behavior_tasks.cli.inspection import start_inspection
from behavior_tasks.cli.options import ConfigFile, Input, Preset, Settings, parse_settings
from behavior_tasks.cli.screen import console
from behavior_tasks.pipeline import Run, open_run, run_stage

MARKS = {"ok": "[green]ok[/]", "warn": "[yellow]warning[/]", "fail": "[red]missing[/]"}


def doctor(
    input: Input = None,
    preset: Preset = DEFAULT_PRESET,
    config: ConfigFile = None,
    set: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say whether a log can be learned from; every finding with a number and what to do.

    Exit code 0: yes. 1: yes, with warnings. 2: no.

    Examples:

        behavior doctor --input log.csv

        behavior doctor --input log.csv.gz --preset taobao --json
    """
    from behavior_tasks.examples.diagnosis import diagnose
    from behavior_tasks.examples.doctor import worst

    overrides = parse_settings(set)
    uri = start_inspection("doctor", input_path=input, preset=preset, config=config, overrides=overrides)
    run = _read(uri)
    ingested, cleaned = run.artifact("ingest"), run.artifact("clean")
    assert ingested is not None
    assert cleaned is not None
    findings = diagnose(cleaned, run.record.config, read=ingested.manifest.rows)
    if as_json:
        console.print_json(json.dumps([asdict(finding) for finding in findings]))
    else:
        console.print(f"Can {input or 'the simulated shop'} be learned from?", style="bold", highlight=False)
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for finding in findings:
            table.add_row(MARKS[finding.level], finding.what, f"{finding.number}  (needed: {finding.needed})")
            if finding.advice:
                table.add_row("", "", f"[dim]→ {escape(finding.advice)}[/]")
        console.print(table)
        console.print(("Yes.", "Yes, with the warnings above.", "No: see what is missing.")[worst(findings)])
    raise typer.Exit(worst(findings))


def _read(uri: str) -> Run:
    run = open_run(uri)
    simulated = None if run.record.input else run_stage("simulate", uri)
    source = run_stage("source", uri, simulated)
    ingested = run_stage("ingest", uri, source, simulated)
    run_stage("clean", uri, ingested)
    return run
