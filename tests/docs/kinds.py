"""Every kind of alert, banner, finding and reason: the package's source in, their codes out.

The codes are read from the calls that make them, so that a new one is in the list as soon as it is in the code. The
one thing to know: a code that is put together (`other_{what}`) comes as a pattern.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from behavior_tasks.data.reasons import REASONS
from tests.docs.commands import PROJECT

PACKAGE = PROJECT / "behavior_tasks"
HELPERS = frozenset({"_banner", "_notice", "_finding", "_share", "_enough"})
"""Functions of a module that make one from its first argument."""


def alerts() -> set[str]:
    """Return the codes of what the watch finds."""
    return {*_made(PACKAGE / "watch", "code"), *_made(PACKAGE / "pipeline" / "privacy", "code")}


def banners() -> set[str]:
    """Return the codes of what stands above an output."""
    return set(_made(PACKAGE / "serve", "code"))


def doctor_findings() -> set[str]:
    """Return what the doctor asks, each in its own words."""
    return set(_made(PACKAGE / "examples", "what"))


def reasons() -> set[str]:
    """Return why a row stands aside in quarantine."""
    return set(REASONS)


def gate_rules() -> set[str]:
    """Return the names of the gate's rules."""
    files = (PACKAGE / "verdict").glob("gate*.py")
    return {name for path in files for name in _named(path, "name", ("Rule", "Outcome")) if name.isidentifier()}


def _made(folder: Path, keyword: str) -> Iterator[str]:
    for path in sorted(folder.glob("*.py")):
        yield from _named(path, keyword, ("Finding", "Banner"))


def _named(path: Path, keyword: str, makers: tuple[str, ...]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and [getattr(each, "id", "") for each in node.targets] == [keyword]:
            yield from texts(node.value)
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", "")
        given = [each.value for each in node.keywords if each.arg == keyword] if name in makers else []
        if name in HELPERS and keyword != "name":
            given = node.args[:1]
        yield from (text for value in given for text in texts(value))


def texts(value: ast.expr) -> Iterator[str]:
    """Yield a constant text; of one that is put together its pattern; of anything else nothing."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
    elif isinstance(value, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else ".+" for part in value.values)


def is_named(code: str, words: set[str]) -> bool:
    """Whether a code, or something that fits its pattern, is among the words."""
    return any(re.fullmatch(code if ".+" in code else re.escape(code), word) for word in words)
