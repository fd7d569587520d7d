"""What a look at a deployment finds: one line a check, with what to do about it.

In comes what a check saw, out comes a `Finding`. The one thing to know: what can't be seen from here is `unseen`, which
is neither good nor bad and never hides behind an `ok`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "unseen", "warn", "fail"]
EXIT_CODES: dict[Level, int] = {"ok": 0, "unseen": 0, "warn": 1, "fail": 2}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the doctor."""

    level: Level
    what: str
    """The check's name; docs/operations.md has a heading for each."""
    found: str
    advice: str = ""
    """What to do next; nothing when all is well."""
    passing: bool = False
    """Whether it may mend itself, as a server does that is still starting."""


class UnseenError(Exception):
    """A check can't be made from here; the text says why and where it can."""


def worst(findings: Iterable[Finding]) -> int:
    """Return the exit code: 0 when nothing is wrong, 1 with warnings, 2 when something is.

    >>> worst([Finding(level="unseen", what="Disk", found="another machine's")])
    0
    """
    return max((EXIT_CODES[finding.level] for finding in findings), default=0)


def ok(what: str, found: str) -> Finding:
    """Return a finding that needs nothing."""
    return Finding(level="ok", what=what, found=found)


def unseen(what: str, found: str) -> Finding:
    """Return a finding that says where the thing can be seen."""
    return Finding(level="unseen", what=what, found=found)


def warn(what: str, found: str, advice: str) -> Finding:
    """Return a finding that should be mended before it becomes a fault."""
    return Finding(level="warn", what=what, found=found, advice=advice)


def fail(what: str, found: str, advice: str, *, passing: bool = False) -> Finding:
    """Return a finding that has to be mended; `passing` when time may do that."""
    return Finding(level="fail", what=what, found=found, advice=advice, passing=passing)
