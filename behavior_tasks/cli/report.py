"""The closing page of a run: stages, metrics beside the baselines, the verdict, and what to type next."""

import json
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from behavior_tasks.cli.data_report import Kind, report_page
from behavior_tasks.cli.screen import count, figure, seconds
from behavior_tasks.cli.sync import waiting_line
from behavior_tasks.cli.verdict import verdict_lines
from behavior_tasks.pipeline import Run, StageRecord
from behavior_tasks.pipeline.publish import nothing_changed

MODEL_NAMES = {
    "candidate": "language model",
    "champion": "champion",
    "boosting": "boosting",
    "logistic": "logistic",
    "prior": "prior",
}
UNIT_NAMES = {"shopper": ("shoppers", "buyers"), "shopper_product": ("products of shoppers", "bought")}
METRIC_NAMES = {
    "f1": "F1",
    "precision": "precis.",
    "recall": "recall",
    "accuracy": "accur.",
    "average_precision": "AP",
    "roc_auc": "AUC",
    "log_loss": "logloss",
    "ece": "ECE",
}
CALIBRATION_NAMES = {"platt": "Platt scaling", "isotonic": "isotonic regression", "off": "none"}
HEAD_NAMES = {
    "purchase": "purchase",
    "amount": "amount (no purchase on train states one)",
    "next_token": "next token (the tokenizer has no mask token)",
}


def stage_line(run: Run, record: StageRecord) -> tuple[str, str, str]:
    """Return a stage's seconds, rows and removed rows for one line of a table."""
    rows = run.store.open(record.uri).manifest.rows
    time = "reused" if record.reused else seconds(record.seconds)
    same = rows.unit_in == rows.unit_out
    flow = f"{count(rows.rows_in)}{'' if same else f' {rows.unit_in}'} → {count(rows.rows_out)} {rows.unit_out}"
    removed = ", ".join(f"{reason} {count(n)}" for reason, n in sorted(rows.removed.items()) if n)
    return time, flow, removed


def closing_page(run: Run) -> RenderableType:
    """Return everything a person wants to know at the end of a run that reached its verdict."""
    evaluated, gate = run.artifact("evaluate"), run.artifact("gate")
    parts: list[RenderableType] = [_stage_table(run)]
    if evaluated is not None and gate is not None:
        measured = json.loads((evaluated.path / "metrics.json").read_bytes())
        verdict = json.loads((gate.path / "verdict.json").read_bytes())
        parts += [_metric_table(measured), about_model(measured), _verdict_panel(run, verdict)]
    waits = waiting_line(run.home)
    if waits:
        parts.append(Text(waits + "\n", style="yellow"))
    parts.append(_next_steps(run))
    return Group(*parts)


def _stage_table(run: Run) -> Table:
    table = Table(title=f"Run {run.record.name}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("stage", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("rows in → out", no_wrap=True)
    table.add_column("set aside")
    for record in run.stages():
        table.add_row(record.stage, *stage_line(run, record))
    return table


def _metric_table(measured: dict[str, Any]) -> Table:
    one, bought = UNIT_NAMES[measured["unit"]]
    title = f"Test: {count(measured['examples'])} {one}, {count(measured['buyers'])} {bought}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("model", no_wrap=True)
    for name in METRIC_NAMES.values():
        table.add_column(name, justify="right", no_wrap=True)
    for key, name in MODEL_NAMES.items():
        metrics = measured["models"].get(key)
        if metrics:
            table.add_row(
                name,
                *(figure(metrics.get(metric)) for metric in METRIC_NAMES),
                style="bold" if key == "candidate" else "",
            )
    best = measured.get("best_possible")
    if best:
        table.add_row("best possible", *(figure(best.get(metric)) for metric in METRIC_NAMES), style="dim")
    return table


def about_model(measured: dict[str, Any]) -> Text:
    """Say how sure the language model's figures are, where it is weakest, how it was calibrated, what it can't tell."""
    model, amount, ece = measured["candidate_model"], measured["amount"], measured["models"]["candidate"]["ece"]
    method = CALIBRATION_NAMES[model["calibration"]]
    reason = f" ({model['calibration_reason']})" if model["calibration_reason"] else ""
    lines = [*_about_figures(measured), f"Calibration: {method}{reason}; ECE on test {figure(ece)}"]
    told = (amount or {}).get("models", {}).get("candidate")
    if told and told["mae"] is not None:
        total = "" if told["total_ratio"] is None else f", all together {told['total_ratio']:.0%} of what was paid"
        lines.append(f"Expected amount: mean absolute error {told['mae']:,.2f}, Gini {figure(told['gini'])}{total}")
    lines += [f"Head off: {HEAD_NAMES[head]}" for head, on in model["heads"].items() if not on]
    return Text("\n".join(lines) + "\n")


def _about_figures(measured: dict[str, Any]) -> list[str]:
    """Return a line on the intervals, one on the worst slice and one on the largest gap, where there are any."""
    intervals, level = measured["intervals"]["candidate"], measured["resampling"]["confidence"]
    shown = [
        f"{METRIC_NAMES[name]} {figure(measured['models']['candidate'][name])} ({low:.3f} to {high:.3f})"
        for name in ("f1", "average_precision")
        if intervals.get(name)
        for low, high in [intervals[name]]
    ]
    lines = [f"Language model: {', '.join(shown)}; {100 * level:g} % intervals by shopper"] if shown else []
    judged = [entry for entry in measured["slices"] if entry["f1"] is not None]
    if judged:
        worst = min(judged, key=lambda entry: float(entry["f1"]))
        lines.append(
            f"Weakest slice: {_words(worst['slice'])} {worst['value']}, F1 {figure(worst['f1'])} "
            f"on {count(worst['examples'])} examples"
        )
    gaps = [gap for gap in measured["fairness"] if gap["gap"] is not None and gap["interval"]]
    if gaps:
        largest = max(gaps, key=lambda gap: float(gap["gap"]))
        low, high = largest["interval"]
        lines.append(
            f"Largest gap: {_words(largest['measure'])} of {_words(largest['attribute'])} {largest['highest']} is "
            f"{largest['gap']:.3f} ({low:.3f} to {high:.3f}) above {largest['lowest']}"
        )
    return lines


def _words(name: str) -> str:
    return name.replace("_", " ")


def _verdict_panel(run: Run, verdict: dict[str, Any]) -> Panel:
    promoted = verdict["decision"] == "promote"
    lines = verdict_lines(verdict)
    lines.append(_registered_line(run, promoted))
    if nothing_changed(run):
        lines.append("\nNothing changed since an earlier run: its model and results were reused.")
    return Panel(lines, title=f"Verdict: {verdict['decision']}", border_style="green" if promoted else "yellow")


def _registered_line(run: Run, promoted: bool) -> str:
    """Say which version the model has, and whether it is the champion or waits."""
    registered, promotion = run.noted("registered"), run.noted("promotion") or {}
    if not registered:
        return ""
    if not registered.get("packaged", True):
        return "The model is not registered: it could not be packaged."
    if registered["version"] is None:
        return "The model is not registered yet: it waits until MLflow takes it."
    again = " (the same model as before)" if registered["reused"] else ""
    line = f"Registered model: {run.record.config.registry.model_name} version {registered['version']}{again}"
    if promotion.get("waits"):
        return f"{line}; it waits to become champion, as MLflow did not take the promotion"
    if promoted and promotion.get("promoted", True):
        return f"{line}, champion"
    return line + (f"\n{promotion['reason']}" if promoted and promotion.get("reason") else "")


def _next_steps(run: Run) -> Text:
    data, model = report_page(run, Kind.DATA), report_page(run, Kind.MODEL)
    return Text.assemble(
        ("Next\n", "bold"),
        "  make up                                   this run in Airflow and MLflow\n",
        "  make status                               last runs, champion, what is running\n",
        "  make run INPUT=log.csv PRESET=canonical   the same with your own log\n",
        "  .venv/bin/behavior score                  audiences, recommendations, demand, risk\n",
        "  .venv/bin/behavior report                 where the data report is\n" if data else "",
        "  .venv/bin/behavior report --on model      where the model report is\n" if model else "",
        "  .venv/bin/behavior quarantine             rows set aside, and how to mend them\n",
        f"  run id: {run.record.run_id}",
    )
