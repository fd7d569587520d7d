"""Aliases: a registered model in; which versions are champion, previous and challenger out, and setting them.

`champion` is what serves and what the gate compares with; `previous` is where `behavior rollback` goes; `challenger` is
the newest version, unless it was champion. The one thing to know: the alias decides, and the ledger tells how it came.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from behavior_tasks.registry import store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"
NAMES: tuple[str, ...] = (PREVIOUS, CHALLENGER, CHAMPION)
"""In the order in which a promotion moves them: what serves comes last."""
SINCE_TAG = "champion_since"
"""Tag of a version that is or was champion."""
RETRAIN_TAG, RETRAIN_BY_TAG = "to_be_retrained", "retrain_by"
"""Tags of a version that was trained with somebody who is erased: why it must be trained anew, and by which day."""


class Aliases(BaseModel):
    """The versions that the aliases name, each None where nothing bears it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    champion: str | None = None
    previous: str | None = None
    challenger: str | None = None


def read_aliases(client: "MlflowClient", model: str) -> Aliases:
    """Return the aliases of a registered model; none at all when there is no such model."""
    if not is_registered(client, model):
        return Aliases()
    found = client.get_registered_model(model).aliases
    return Aliases(**{name: str(found[name]) for name in NAMES if name in found})


def set_alias(client: "MlflowClient", model: str, alias: str, version: str | None) -> None:
    """Give an alias to a version, or take it away. A version that is gone leaves the alias with nobody."""
    now = getattr(read_aliases(client, model), alias)
    wanted = version if version is not None and find_version(client, model, version) is not None else None
    if wanted == now:
        return
    if wanted is None:
        client.delete_registered_model_alias(model, alias)
    else:
        client.set_registered_model_alias(model, alias, wanted)


def is_registered(client: "MlflowClient", model: str) -> bool:
    """Whether there is a registered model of this name."""
    return bool(client.search_registered_models(f"name = '{model}'", max_results=1))


def find_version(client: "MlflowClient", model: str, version: str) -> "ModelVersion | None":
    """Return a version, or None when it was never there or is deleted."""
    failure = store.failures()
    try:
        return client.get_model_version(model, version)
    except failure as error:
        if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:  # type: ignore[attr-defined]
            raise
        return None


def all_versions(client: "MlflowClient", model: str) -> list["ModelVersion"]:
    """Return every version of a registered model, the newest first."""
    found: list[ModelVersion] = []
    token = None
    while True:
        page = client.search_model_versions(f"name = '{model}'", page_token=token)
        found += page
        token = page.token
        if not token:
            return sorted(found, key=lambda version: int(version.version), reverse=True)


def challenger_of(client: "MlflowClient", model: str, *, champion: str | None) -> str | None:
    """Return the newest version, unless it is or was champion."""
    newest = next(iter(all_versions(client, model)), None)
    if newest is None or str(newest.version) == champion or SINCE_TAG in newest.tags:
        return None
    return str(newest.version)


def holders(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return who held the title before whom, the present one last; who was rolled back is out.

    Args:
        lines: the ledger's lines about one registered model.

    >>> line = lambda kind, version: {"kind": kind, "version": version}
    >>> holders([line("promotion", "1"), line("promotion", "2"), line("promotion", "4")])
    ['1', '2', '4']
    >>> holders([line("promotion", "1"), line("promotion", "2"), line("rollback", "1")])
    ['1']
    """
    stack: list[str] = []
    for line in lines:
        version = line["version"]
        if version is None:
            continue
        if line.get("kind") == "rollback" and version in stack:
            del stack[len(stack) - stack[::-1].index(version) :]
        elif not stack or stack[-1] != version:
            stack.append(version)
    return stack


def previous_of(client: "MlflowClient", model: str, lines: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the version that held the title before the present one, is still there, and must not be trained anew."""
    held = holders(lines)
    for version in reversed(held[:-1]):
        found = find_version(client, model, version) if version != held[-1] else None
        if found is not None and RETRAIN_TAG in found.tags:
            continue
        # A version made anew under an old number, after its registered model was deleted, never held the title.
        if found is not None and (SINCE_TAG in found.tags or found.tags.get("verdict") == "promote"):
            return version
    return None
