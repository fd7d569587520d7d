"""Banners: what a person must know before they use an output.

Every application writes the banners of its inputs, and its own, on top of its page and into its facts. The one thing
to know: a banner of the level `warning` or `severe` makes `behavior score` end with exit code 3.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from behavior_tasks.base.artifacts import Artifact

EXIT_CODE = 3
Level = Literal["notice", "warning", "severe"]
GRAVEST_FIRST: tuple[Level, ...] = ("severe", "warning", "notice")


class Banner(BaseModel):
    """One sentence that stands above an output, and what to do about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    """E.g. `stale_champion`."""
    level: Level
    words: str
    """One sentence, with its figures and its full stop."""
    next_step: str
    """What to type, or to do."""


def banners_of(facts: Mapping[str, Any]) -> list[Banner]:
    """Return the banners in an artifact's facts."""
    return [Banner.model_validate(banner) for banner in facts.get("banners", [])]


def banner_facts(banners: Iterable[Banner], *inputs: Artifact) -> list[dict[str, str]]:
    """Return an application's own banners and those of its inputs, as JSON facts, each once, the gravest first."""
    every = dict.fromkeys([*banners, *(banner for artifact in inputs for banner in banners_of(artifact.facts))])
    return [banner.model_dump() for banner in sorted(every, key=lambda banner: GRAVEST_FIRST.index(banner.level))]


def needs_a_look(banners: Iterable[Banner]) -> bool:
    """Whether any of them is more than a notice."""
    return any(banner.level != "notice" for banner in banners)
