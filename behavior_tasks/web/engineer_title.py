"""The title: the promotion ledger and the runs' folders in; who is champion since when, and everything before, out.

MLflow is not asked, so this can be shown while it is down. The one thing to know: a ledger that is not what was written
is said instead of shown, because nothing in it can be trusted then.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.pipeline import Run
from behavior_tasks.registry import ledger
from behavior_tasks.web.remember import remembered

SHOWN = 40
"""Lines of the timeline."""
KINDS_OF_BOOSTING = frozenset({"baseline_promotion"})
MEASURED = ("f1", "average_precision", "ece")


@dataclass(frozen=True, kw_only=True)
class Title:
    """One registered model."""

    model: str
    version: str | None
    """The champion's; None when there is none now."""
    since: str
    who: str
    why: str
    run_id: str | None
    trained: Mapping[str, Any]
    """What is still known of what it was trained on and how it did: see `trained_on`."""
    lines: Sequence[Mapping[str, Any]]
    """The ledger's lines, newest first."""
    earlier: Sequence[str]
    """Versions that were champion before, the last one first."""


def read_titles(home: Home) -> list[Title]:
    """Return every registered model that ever had a champion, by name.

    Raises:
        LedgerError: when the ledger is not what was written.
    """
    files = [ledger.ledger_path(home), home.runs]
    return remembered(("titles", str(home.root)), files, lambda: _read(home))


def trained_on(home: Home, run_id: str | None, *, boosting: bool) -> dict[str, Any]:
    """Return what a run's folder still knows; less where artifacts are gone.

    Holds some of `log`, `preset`, `day`, `unit`, `first`, `last`, `shoppers`, `events`, `examples`, `buyers`, and the
    test's `f1`, `average_precision`, `ece`.
    """
    found: dict[str, Any] = {}
    try:
        run = Run(home, str(run_id))
        record = run.record
        found |= {"log": run.log_name, "preset": record.preset, "day": record.day, "unit": record.config.examples.unit}
        cut = run.artifact("cutoffs")
        if cut is not None:
            span, train = cut.facts["span"], cut.facts["splits"]["train"]
            found |= {"first": span["first"][:10], "last": span["last"][:10], **cut.facts["log"]}
            found |= {"examples": train["examples"], "buyers": train["positives"]}
        evaluated = run.artifact("evaluate")
        if evaluated is not None:
            measured = json.loads((evaluated.path / "metrics.json").read_bytes())
            figures = measured["models"].get("boosting" if boosting else "candidate") or {}
            found |= {name: figures.get(name) for name in MEASURED}
    except (UserError, KeyError, OSError):
        return found
    return found


def _read(home: Home) -> list[Title]:
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for line in ledger.read(home):
        lines.setdefault(str(line.get("model", "behavior")), []).append(line)
    return [_title(home, model, mine) for model, mine in sorted(lines.items())]


def _title(home: Home, model: str, lines: Sequence[Mapping[str, Any]]) -> Title:
    last = lines[-1]
    version = None if last["version"] is None else str(last["version"])
    given = next((line for line in reversed(lines) if line["version"] == last["version"] and line["run_id"]), last)
    boosting = any(
        line.get("kind") in KINDS_OF_BOOSTING for line in lines if line["version"] == last["version"] and version
    )
    before = [str(line["from_version"]) for line in reversed(lines) if line["from_version"] is not None]
    return Title(
        model=model,
        version=version,
        since=str(last["when"]),
        who=str(last["who"]),
        why=str(last["why"]),
        run_id=given["run_id"],
        trained=trained_on(home, given["run_id"], boosting=boosting) if version else {},
        lines=list(reversed(lines))[:SHOWN],
        earlier=[one for one in dict.fromkeys(before) if one != version],
    )
