"""Provenance: what a run says of itself in MLflow, so that somebody can see later what made it, and on what.

In comes a run; out come its tags, its settings as a file, the installed distributions, and each stage's seconds and
memory. The one thing to know: nothing here names a path, a person or a machine, because MLflow is read by many.
"""

import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import yaml

from behavior_tasks.base.addresses import scheme_of, shown_address
from behavior_tasks.base.config import Config, load_config
from behavior_tasks.pipeline.runs import Run, model_label

CHECKOUT = Path(__file__).resolve().parents[2]
DISTRIBUTION = "behavior-tasks"
GIT_SECONDS = 20.0
TEST_SET_DIGITS = 6
MOST_OWN_SETTINGS = 12
NOT_OWN = ("engine.", "registry.", "train.device", "train.threads")
"""Settings that say who does the work, and change no result."""
UNKNOWN = "unknown"


def start_tags(run: Run) -> dict[str, str]:
    """Return the tags that are known when a run starts."""
    record = run.record
    return {
        "trigger": record.trigger,
        "day": record.day.isoformat(),
        "preset": record.preset,
        "log": run.log_name,
        "unit": record.config.examples.unit,
        "horizon_days": str(record.config.examples.horizon_days),
        # What was asked for; what was spent stands there once the model is trained.
        "epsilon": f"{dp.epsilon:g} asked for" if (dp := record.config.privacy.dp) else "none",
        "git_sha": git_sha(CHECKOUT),
        "own_settings": own_settings(record.preset, record.config),
    }


def result_tags(run: Run, verdict: dict[str, Any], measured: dict[str, Any]) -> dict[str, str]:
    """Return the tags that a run's verdict and its data give.

    Args:
        run: with its finished stages.
        verdict: content of `verdict.json`.
        measured: content of `metrics.json`.
    """
    failed = [rule["name"] for rule in verdict["rules"] if not rule["passed"]]
    clean = run.artifact("clean")
    test_hash = str(measured["test_hash"])
    return {
        "gate": f"failed: {', '.join(failed)}" if failed else "passed",
        "verdict": str(verdict["decision"]),
        "reason": str(verdict["reason"]),
        "data_hash": (clean.manifest.content_hash if clean is not None else None) or UNKNOWN,
        "test_hash": test_hash,
        "test_set": name_test_set(test_hash),
        **privacy_tags(run),
    }


def privacy_tags(run: Run) -> dict[str, str]:
    """Return what a run's language model cost in privacy, and what its guarantee leaves out."""
    # Here, because a DAG that is only read must not wait for numpy.
    from behavior_tasks.model.outside_guarantee import outside_guarantee

    train = run.artifact("train")
    epsilon = train.facts.get("epsilon") if train is not None else None
    if train is None or epsilon is None:
        return {"epsilon": "none"}
    return {
        "epsilon": f"{epsilon:.4g}",
        "delta": f"{train.facts['delta']:g}",
        "privacy_unit": str(train.facts["privacy"]["unit"]),
        "outside_guarantee": ", ".join(one.name for one in outside_guarantee(run.record.config)),
    }


def privacy_metrics(run: Run) -> dict[str, float]:
    """Return a private run's ε, its δ, and the ε of all trainings on the same shoppers so far, as metrics."""
    from behavior_tasks.registry.budget import charges, population_of, spent

    train = run.artifact("train")
    if train is None or train.facts.get("epsilon") is None:
        return {}
    delta = run.record.config.privacy.budget_delta
    return {
        "privacy/epsilon": float(train.facts["epsilon"]),
        "privacy/delta": float(train.facts["delta"]),
        "privacy/epsilon_of_all_trainings": spent(charges(run.home), population_of(run.record.input), delta),
    }


def name_test_set(test_hash: str) -> str:
    """Return a test set's short name: runs that show different ones were measured on different examples.

    >>> name_test_set("1a2b3c4d5e6f")
    'test-1a2b3c'
    """
    return f"test-{test_hash[:TEST_SET_DIGITS]}"


def git_sha(folder: Path) -> str:
    """Return the commit of a checkout, with `+changes` when files differ from it; `unknown` where it is none."""
    git = shutil.which("git")
    if git is None or not (folder / ".git").exists():
        return UNKNOWN

    def ask(*words: str) -> str:
        command = [git, "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=GIT_SECONDS).stdout.strip()

    try:
        sha, changes = ask("rev-parse", "HEAD"), ask("status", "--porcelain", "--untracked-files=no")
    except (subprocess.SubprocessError, OSError):
        return UNKNOWN
    return sha + ("+changes" if changes else "")


def flat_settings(config: Config) -> dict[str, str]:
    """Return every setting under its dotted key. A local checkpoint shows its name, not where it lies."""
    dumped = config.model_dump(mode="json")
    flat = {f"{name}.{key}": _text(value) for name, section in dumped.items() for key, value in section.items()}
    # How a search for better settings goes says nothing about a model.
    flat = {key: value for key, value in flat.items() if not key.startswith("tuning.")}
    if config.model.checkpoint != "scratch":
        flat["model.checkpoint"] = model_label(config)
    return flat


def settings_file(config: Config) -> str:
    """Return all settings as YAML, values of any length; without passwords, and without folders of this machine."""
    dumped = _shown(config.model_dump(mode="json"))
    return yaml.safe_dump(dumped, sort_keys=False, allow_unicode=True)


def own_settings(preset: str, config: Config) -> str:
    """Return what differs from the preset, for a column of a table: `model.size=tiny train.epochs=1`."""
    usual = flat_settings(load_config(preset))
    flat = {key: value for key, value in flat_settings(config).items() if not key.startswith(NOT_OWN)}
    differing = [f"{key}={value}" for key, value in flat.items() if usual.get(key) != value]
    more = len(differing) - MOST_OWN_SETTINGS
    return " ".join(differing[:MOST_OWN_SETTINGS]) + (f" and {more} more" if more > 0 else "") or "none"


def environment_file() -> str:
    """Return the versions that a run was made with, in pip's format: this package's requirements, and what is below."""
    names = sorted({re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower() for line in requires(DISTRIBUTION) or []})
    system = f"# Python {platform.python_version()} on {platform.system()} {platform.machine()}, {_library()}"
    return "\n".join([system, f"# {DISTRIBUTION} {version(DISTRIBUTION)}", *filter(None, map(_pin, names))]) + "\n"


def stage_metrics(run: Run) -> dict[str, float]:
    """Return seconds and, of stages that were not reused, peak memory in MB, as metrics `stage/…`."""
    metrics: dict[str, float] = {}
    for record in run.stages():
        metrics[f"stage/{record.stage}_seconds"] = record.seconds
        if not record.reused:
            metrics[f"stage/{record.stage}_peak_memory_mb"] = run.store.open(record.uri).manifest.peak_memory_mb
    return metrics


def _pin(name: str) -> str | None:
    try:
        return f"{name}=={version(name)}"
    except PackageNotFoundError:
        return None


def _library() -> str:
    name, number = platform.libc_ver()
    return f"{name} {number}".strip() or "another C library"


def _text(value: object) -> str:
    return str(_shown(value))


def _shown(value: object) -> object:
    """Return a setting without passwords; of a path with folders, only the last part."""
    if isinstance(value, dict):
        return {key: _shown(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_shown(part) for part in value]
    if isinstance(value, str) and scheme_of(value) not in {"", "file"}:
        return shown_address(value)
    if isinstance(value, str) and value.startswith(("/", "~", "file:/")) and "\n" not in value:
        return Path(value).name
    return value
