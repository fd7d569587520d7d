"""`behavior doctor`: whether a log can be learned from, what a machine can train with, whether a deployment is well."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from behavior_tasks.base.config import DEFAULT_PRESET, Config, load_config
from behavior_tasks.cli.airflow import current_deployment
from behavior_tasks.cli.inspection import start_inspection
from behavior_tasks.cli.options import ConfigFile, Input, Preset, Settings, parse_settings
from behavior_tasks.cli.screen import console
from behavior_tasks.pipeline import Run, open_run, run_stage

if TYPE_CHECKING:
    from behavior_tasks.pipeline.deployment import Finding

MARKS = {"ok": "[green]ok[/]", "warn": "[yellow]warning[/]", "fail": "[red]missing[/]"}
DEPLOYMENT_MARKS = {**MARKS, "unseen": "[dim]not seen[/]"}
DEVICE_MARKS = {"ok": "[green]ok[/]", "none": "[dim]none[/]", "fail": "[red]missing[/]"}


def doctor(
    input: Input = None,
    preset: Preset = DEFAULT_PRESET,
    config: ConfigFile = None,
    set: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    device: Annotated[
        bool, typer.Option("--device", help="Look at this machine instead of a log: what a training would run on.")
    ] = False,
    deployment: Annotated[
        bool,
        typer.Option("--deployment", help="Look at the services instead of a log: database, broker, MLflow, disks, …"),
    ] = False,
) -> None:
    """Say whether a log can be learned from; every finding with a number and what to do.

    Exit code 0: yes. 1: yes, with warnings. 2: no. With --device, 0 when the settings can be trained with here, else 2.
    With --deployment, 0 when nothing is wrong with the services, 1 with warnings, 2 when something is.

    Examples:

        behavior doctor --input log.csv

        behavior doctor --input log.csv.gz --preset taobao --json

        behavior doctor --device --set train.device=cuda

        behavior doctor --deployment
    """
    if deployment:
        raise typer.Exit(_look_at_services(as_json))
    if device:
        raise typer.Exit(_look_at_machine(load_config(preset, file=config, overrides=parse_settings(set)), as_json))
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


def _look_at_services(as_json: bool) -> int:
    """Show what is well and what is not with the services of this environment; return the exit code."""
    from behavior_tasks.pipeline.deployment import look_at_deployment, worst

    findings = look_at_deployment(current_deployment())
    if as_json:
        console.print_json(json.dumps([asdict(finding) for finding in findings]))
        return worst(findings)
    console.print("Is this deployment well?", style="bold")
    console.print(_table_of(findings))
    console.print(("Yes.", "Yes, with the warnings above.", "No: see what is missing.")[worst(findings)])
    return worst(findings)


def _table_of(findings: "Sequence[Finding]") -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in findings:
        table.add_row(DEPLOYMENT_MARKS[finding.level], escape(finding.what), escape(finding.found))
        if finding.advice:
            table.add_row("", "", f"[dim]→ {escape(finding.advice)}[/]")
    return table


def _look_at_machine(config: Config, as_json: bool) -> int:
    """Show what a training would run on and why not on more; return the exit code."""
    from behavior_tasks.model.hardware import look_at_hardware

    findings = look_at_hardware(config.train)
    trainable = all(finding.level != "fail" for finding in findings)
    if as_json:
        console.print_json(json.dumps([finding.model_dump() for finding in findings]))
        return 0 if trainable else 2
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in findings:
        table.add_row(DEVICE_MARKS[finding.level], escape(finding.what), escape(finding.found))
        if finding.why:
            table.add_row("", "", f"[dim]→ {escape(finding.why)}[/]")
    console.print("What would a training run on?", style="bold")
    console.print(table)
    console.print("Trainable." if trainable else "Not trainable with these settings: see what is missing.")
    return 0 if trainable else 2


def _read(uri: str) -> Run:
    run = open_run(uri)
    simulated = None if run.record.input else run_stage("simulate", uri)
    source = run_stage("source", uri, simulated)
    ingested = run_stage("ingest", uri, source, simulated)
    run_stage("clean", uri, ingested)
    return run
