"""What the model report tells of models, settings and data, as plain values.

In come metrics, artifacts and the configuration; out come rows for tables. The one thing to know: a path of a setting
is told by its last part only, so that the report can be shown to others.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import Config
from behavior_tasks.model.decision import Decision
from behavior_tasks.model.formats import BOOSTING_FORMAT, read_content
from behavior_tasks.model.outside_guarantee import Outside, outside_guarantee

NAMES: Mapping[str, str] = {
    "candidate": "language model",
    "champion": "champion",
    "boosting": "gradient boosting",
    "logistic": "logistic regression",
    "prior": "prior",
}
"""Model → how people call it, in the order of tables."""
CALIBRATIONS = {"platt": "Platt scaling", "isotonic": "isotonic regression", "off": "none"}
HEADS = {"purchase": "purchase", "amount": "amount", "next_token": "next token"}


def model_rows(measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row a model that was measured: `key`, `name`, `metrics`, `intervals`; last what is best possible."""
    intervals = measured.get("intervals") or {}
    rows = [
        {"key": key, "name": name, "metrics": measured["models"][key], "intervals": intervals.get(key) or {}}
        for key, name in NAMES.items()
        if measured["models"].get(key)
    ]
    best = measured.get("best_possible")
    if best:
        rows.append({"key": "best_possible", "name": "best possible", "metrics": best, "intervals": {}})
    return rows


def describe_models(inputs: Mapping[str, Artifact]) -> dict[str, dict[str, str]]:
    """Return what the language model and, where it is kept as a model folder, gradient boosting are, in words."""
    described = {"language_model": _language_model(inputs["train"])}
    boosting = inputs["baselines"].path / "model"
    if read_content(boosting).get("format") == BOOSTING_FORMAT:
        described["boosting"] = _boosting(boosting)
    return described


def _language_model(train: Artifact) -> dict[str, str]:
    folder, settings, facts = train.path / "model", train.manifest.settings["model"], train.facts
    content = read_content(folder)
    numbers = content.get("numbers") or {}
    heads = content.get("heads") or []
    checkpoint = str(settings["checkpoint"])
    scratch = checkpoint == "scratch"
    # A local checkpoint shows its name, not where it lies.
    start = f"from scratch, {settings['size']}" if scratch else f"fine-tuned from {_short(checkpoint)}"
    architecture = f", {settings['architecture']}" if scratch else ""
    weights = (folder / "model.safetensors").stat().st_size if (folder / "model.safetensors").is_file() else 0
    off = [words for head, words in HEADS.items() if head not in heads]
    return {
        "Kind": f"language model, {start}{architecture}",
        "Reads": f"the last {content.get('max_tokens', '?')} tokens of a shopper's text, and "
        f"{len(numbers.get('names') or [])} features as numbers",
        "Answers": ", ".join(HEADS[head] for head in HEADS if head in heads)
        + (f"; off: {', '.join(off)}" if off else ""),
        "Trained": f"{facts['epochs']} epochs, epoch {facts['best_epoch']} kept "
        f"(average precision {facts['validation_average_precision']:.3f} on validation)",
        **_decision(folder),
        "Weights": f"{weights / 1e6:.1f} MB, {content.get('format', 'unknown format')}",
        "Artifact": train.uri,
    }


def describe_privacy(train: Artifact, config: Config) -> dict[str, Any] | None:
    """Return what a private training cost, `words`, and what its guarantee leaves `outside`; None without one."""
    facts = train.facts
    if facts.get("epsilon") is None:
        return None
    told = facts["privacy"]
    words = (
        f"Trained with differential privacy: ε = {facts['epsilon']:.3g} at δ = {facts['delta']:g} for each "
        f"shopper with all that they did. DP-SGD over {told['steps']:,} steps; each draws every one of "
        f"{told['shoppers']:,} shoppers by a chance of {told['sample_rate']:.3g}, with at most "
        f"{told['examples_per_shopper']} examples of each, clips their gradient to "
        f"{told['max_grad_norm']:g} and adds noise of {told['noise_multiplier']:.3g} times that."
    )
    outside: list[Outside] = outside_guarantee(config)
    return {"words": words, "outside": [one._asdict() for one in outside]}


def _boosting(folder: Path) -> dict[str, str]:
    content = read_content(folder)
    return {
        "Kind": "gradient boosting of decision trees over the features (no language model)",
        "Reads": f"{len(content['numbers'])} features as numbers, {len(content['words'])} as words; no text",
        "Answers": "purchase; no amount, no next token",
        "Trained": f"{content['rounds']} trees, stopped on validation",
        **_decision(folder),
        "Weights": f"{sum(file.stat().st_size for file in folder.iterdir()) / 1e6:.1f} MB, {content['format']}",
    }


def _decision(folder: Path) -> dict[str, str]:
    decision = Decision.load(folder)
    why = f" ({decision.reason})" if decision.reason else ""
    return {
        "Threshold": f"{decision.threshold:.3f}, chosen on {decision.chosen_on} for {decision.objective}",
        "Calibration": CALIBRATIONS.get(decision.calibration, decision.calibration) + why,
    }


def settings_that_differ(config: Config) -> list[dict[str, str]]:
    """Return the settings that are not at their default: `key`, `value` and `default`; the engine's are left out."""
    chosen, usual = config.model_dump(mode="json"), Config().model_dump(mode="json")
    return [
        {"key": f"{section}.{key}", "value": _short(value), "default": _short(usual[section][key])}
        for section, keys in chosen.items()
        if section != "engine"
        for key, value in keys.items()
        if value != usual[section][key]
    ]


def _short(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_short(inner)}" for key, inner in value.items()) + "}"
    text = "none" if value is None else str(value)
    return Path(text).name if "/" in text and Path(text).is_absolute() else text


def data_hashes(inputs: Mapping[str, Artifact], test_hash: str) -> list[dict[str, str]]:
    """Return what says on exactly which data a run stands: `what`, `rows` and `hash`."""
    named = {"clean events": "clean", "examples": "cutoffs", "features": "features", "texts": "verbalize"}
    made = {what: inputs[stage].manifest for what, stage in named.items()}
    rows = [
        {"what": what, "rows": f"{manifest.rows.rows_out:,}", "hash": manifest.content_hash or "–"}
        for what, manifest in made.items()
    ]
    return [*rows, {"what": "test examples with their labels", "rows": "", "hash": test_hash}]
