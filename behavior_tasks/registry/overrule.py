"""Changes of the champion that a person makes: back to an earlier version, or a version past the gate.

In come a version, who asks and why; out comes a ledger line, and the title moved whole or not at all. The one thing to
know: a version becomes champion only when MLflow still holds its files and its model can be loaded from them.
"""

import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safetensors import SafetensorError

from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError, require_said
from behavior_tasks.base.home import Home
from behavior_tasks.registry import store, title
from behavior_tasks.registry.aliases import RETRAIN_TAG, all_versions, find_version, previous_of
from behavior_tasks.registry.package import MODEL_PLACE
from behavior_tasks.registry.title import Desk

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Who asks for a change, why, and when."""

    who: str
    why: str
    when: datetime

    def __post_init__(self) -> None:
        require_said(
            {"--who": self.who, "--reason": self.why},
            "the promotion ledger must say who changed the champion, and why",
            expected="a name, and a reason that somebody understands next year",
        )


def roll_back(home: Home, config: Config, asked: Asked, *, to: str | None = None) -> dict[str, Any]:
    """Make an earlier version the champion again.

    Args:
        home: the state folder.
        config: names the registered model.
        asked: who asks, and why.
        to: the version; None: the one that the alias `previous` names.

    Returns:
        The ledger line.

    Raises:
        UserError: when there is no such version, its files are gone, it can't be loaded, or it is champion already.
        ledger.LedgerError: when the ledger is not what was written.
    """
    with title.hold(home, config) as desk:
        if desk.aliases.champion is None and to is None:
            raise UserError(
                f"{desk.model} has no champion that could be rolled back.",
                next_step="`behavior history` shows what happened; name a version with --to",
            )
        return _appoint(desk, to if to is not None else _previous(desk), asked, kind="rollback")


def override(home: Home, config: Config, asked: Asked, *, version: str) -> dict[str, Any]:
    """Make a version the champion although the gate has not said so.

    Returns:
        The ledger line.

    Raises:
        UserError: when there is no such version, its files are gone, it can't be loaded, or it is champion already.
        ledger.LedgerError: when the ledger is not what was written.
    """
    with title.hold(home, config) as desk:
        return _appoint(desk, version, asked, kind="override")


def _appoint(desk: Desk, version: str, asked: Asked, *, kind: Literal["rollback", "override"]) -> dict[str, Any]:
    found = find_version(desk.client, desk.model, version)
    if found is None:
        there = ", ".join(str(known.version) for known in all_versions(desk.client, desk.model))
        raise UserError(
            f"There is no version {version} of {desk.model}.",
            expected=f"one of {there}" if there else "a registered version; there is none",
            next_step="`behavior history` lists those that were champion",
        )
    champion = desk.aliases.champion
    if champion == version:
        raise UserError(f"Version {version} is the champion already.", next_step="`behavior history` says since when")
    if kind == "rollback" and RETRAIN_TAG in found.tags:
        raise UserError(
            f"Version {version} of {desk.model} was trained with shoppers who are erased; nobody is rolled back to it.",
            found=f"{RETRAIN_TAG}: {found.tags[RETRAIN_TAG]}",
            expected="a version that was trained without them",
            next_step="train anew: behavior run; where that can't be waited for, somebody answers for it by name: "
            f'behavior promote --version {version} --who NAME --reason "…"',
        )
    _require_usable(desk, found)
    return title.move(
        desk,
        {
            "kind": kind,
            "model": desk.model,
            "when": asked.when.isoformat(timespec="seconds"),
            "who": asked.who.strip(),
            "why": asked.why.strip(),
            "verdict": found.tags.get("verdict"),
            "test_hash": found.tags.get("test_hash"),
            "from_version": champion,
            "version": version,
            "run_id": found.tags.get("run_id"),
        },
    )


def _previous(desk: Desk) -> str:
    told, named = previous_of(desk.client, desk.model, desk.lines), desk.aliases.previous
    if told is not None and named is not None and told != named:
        raise UserError(
            "The alias previous was moved in MLflow by hand; which version is meant is for you to say.",
            found=f"previous is version {named}",
            expected=f"version {told}, which was champion before, as the ledger says",
            next_step=f"behavior rollback --to {told} (or {named})",
        )
    version = told or named
    if version is None:
        raise UserError(
            f"There is no earlier champion of {desk.model} to go back to.",
            found="no version that was champion before and is still there",
            next_step="name a version with --to; `behavior history` and MLflow list them",
        )
    return version


def _require_usable(desk: Desk, found: "ModelVersion") -> None:
    """Raise a UserError unless MLflow holds the version's files and its model can be loaded from them."""
    problem = _loading_problem(desk, found)
    if problem is not None:
        raise UserError(
            f"Version {found.version} of {desk.model} can't serve: {problem}.",
            expected="a version whose files are in MLflow, whole",
            next_step="choose another version with --to (rollback) or --version (promote)",
        )


def _loading_problem(desk: Desk, found: "ModelVersion") -> str | None:
    from mlflow.artifacts import download_artifacts

    failure = store.failures()
    uri = store.tracking_uri(desk.home)
    with tempfile.TemporaryDirectory() as folder:
        try:
            place = desk.client.get_model_version_download_uri(desk.model, str(found.version))
            download_artifacts(artifact_uri=f"{place}/{MODEL_PLACE}", dst_path=folder, tracking_uri=uri)
        except (failure, OSError):
            return "its files are gone from MLflow, or it was not registered by this program"
        # Imported only now: what has no files is refused without it, and it takes seconds.
        from behavior_tasks.model.predict import open_scorer

        model = Path(folder) / Path(MODEL_PLACE).name
        try:
            open_scorer(model, device="cpu", threads=1)
        except (UserError, OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            told = error.problem if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            return f"its model can't be loaded ({told.replace(folder, '').rstrip('.')})"
    return None
