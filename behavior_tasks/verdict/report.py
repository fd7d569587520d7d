"""The model report: everything that a careful person wants to know of a run's model, on one page and in one card.

In come the artifacts of the verdict and what they stand on; out come `report.html`, which opens without a network, and
`model_card.md`. The one thing to know: nothing is measured here; a figure that an artifact lacks is told as missing.
"""

import base64
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from behavior_tasks.base.artifacts import Artifact, Output, Rows
from behavior_tasks.base.page import render_page, render_text
from behavior_tasks.base.stage import Job
from behavior_tasks.verdict.report_facts import data_hashes, describe_models, model_rows, settings_that_differ
from behavior_tasks.verdict.slices import shown_slices

PAGE, CARD = (Path(__file__).with_name(name) for name in ("report.html", "model_card.md"))
CAPTIONS: Mapping[str, tuple[str, str]] = {
    "precision_recall": (
        "Precision and recall",
        "Further up and to the right is better. A marker stands at the threshold that was chosen on validation.",
    ),
    "gains": (
        "Gains",
        "Who is asked first? At 10 % of the shoppers, read off what share of all buyers is among them.",
    ),
    "reliability": (
        "Reliability",
        "On the grey line a probability means what it says. Below it the model promises too much, above it too little.",
    ),
    "f1_threshold": (
        "F1 against the threshold",
        "A marker far below its curve's top says that validation and test disagree on the best threshold.",
    ),
    "scores": (
        "Probabilities of both classes",
        "The further buyers stand to the right of the others, the better the model parts them.",
    ),
    "confusion": (
        "Decisions",
        "Each row is what was true, each column what was called; the shares of a row add up to 100 %.",
    ),
    "roc": ("ROC", "Further up and to the left is better; with few buyers, trust precision and recall more."),
    "champion_difference": (
        "Champion − candidate",
        "Left of zero the candidate is better. An interval that holds zero may be chance.",
    ),
    "slices": ("Groups of shoppers", "A group whose whole interval lies left of the dashed line is served worse."),
    "loss": ("Losses of the training", "Validation that rises while train falls says that the model learns by heart."),
    "learning_curve": (
        "Learning curve",
        "Average precision on validation; the epoch at the dotted line was kept. Still rising? Train longer.",
    ),
}
"""Plot → its title, and how to read it, in the order of the page."""
MEASURES: Mapping[str, str] = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "accuracy",
    "average_precision": "AP",
    "roc_auc": "AUC",
    "log_loss": "log-loss",
    "brier": "Brier",
    "ece": "ECE",
    "lift_10": "lift 10 %",
    "gain_10": "gain 10 %",
}
"""Figure of a model → its column."""
log = logging.getLogger("behavior")


def report_stage(job: Job) -> Output:
    """Write `report.html` and `model_card.md`."""
    values = values_of(job)
    (job.out / PAGE.name).write_text(render_page(PAGE, values), encoding="utf-8")
    (job.out / CARD.name).write_text(render_text(CARD, values), encoding="utf-8")
    return Output(
        rows=Rows(unit_in="examples", unit_out="reports", rows_in=values["measured"]["examples"], rows_out=1),
        facts={"decision": values["verdict"]["decision"]},
    )


def values_of(job: Job) -> dict[str, Any]:
    """Return what page and card are made of."""
    inputs = job.inputs
    measured = json.loads((inputs["evaluate"].path / "metrics.json").read_bytes())
    verdict = json.loads((inputs["gate"].path / "verdict.json").read_bytes())
    cutoffs = inputs["cutoffs"].facts
    amount = measured.get("amount") or {}
    return {
        "measured": measured,
        "verdict": {"model": "language_model", "advice": None, "boosting_rules": None, "approval": None} | verdict,
        "reason": str(verdict["reason"]).removeprefix("keep: ").removeprefix("promote: "),
        "measures": MEASURES,
        "models": model_rows(measured),
        "described": describe_models(inputs),
        "amounts": amount.get("models") or {},
        "amount_intervals": amount.get("intervals") or {},
        "slices": shown_slices(measured.get("slices") or [], job.config.privacy.min_group),
        "fairness": measured.get("fairness") or [],
        "behaviour": measured.get("behaviour") or {},
        "undefined": measured.get("undefined") or {},
        "windows": cutoffs["windows"],
        "splits": cutoffs["splits"],
        "counts": cutoffs["log"],
        "horizon_days": job.config.examples.horizon_days,
        "lookback_days": job.config.examples.lookback_days,
        "timezone": job.config.source.timezone,
        "clean": inputs["clean"].facts,
        "simulated": "simulate" in inputs["evaluate"].manifest.inputs,
        "warned": inputs["doctor"].facts.get("warned", []),
        "settings": settings_that_differ(job.config),
        "hashes": data_hashes(inputs, str(measured["test_hash"])),
        "versions": inputs["train"].manifest.versions,
        "day": job.today.isoformat(),
        "plots": _plots(inputs["evaluate"], inputs["train"]),
        "captions": CAPTIONS,
    }


def _plots(*artifacts: Artifact) -> dict[str, str]:
    """Return the plots that are there, base64, in the order of the page."""
    files = {file.stem: file for artifact in artifacts for file in (artifact.path / "plots").glob("*.png")}
    return {name: base64.b64encode(files[name].read_bytes()).decode("ascii") for name in CAPTIONS if name in files}
