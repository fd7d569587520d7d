"""The digest of a stage's code: part of its key, so that a changed line never serves an old result.

It covers the stage's module and every module of this package that it imports, directly or not. Comments,
docstrings and layout play no part. The ground that cannot change a result (errors, progress, folders, who runs the
buckets, the artifact store and the configuration model, whose values are in the key already) is left out.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = "behavior_tasks"
PACKAGE_FOLDER = Path(__file__).resolve().parents[1]
LEFT_OUT = frozenset(
    f"{PACKAGE}.base.{name}"
    for name in (
        "artifacts",
        "code",
        "config",
        "engine",
        "errors",
        "home",
        "in_use",
        "progress",
        "records",
        "spark",
        "stage",
    )
)


class ModuleCode(NamedTuple):
    """What counts of a module."""

    imports: tuple[str, ...]
    """Modules of this package that it imports."""
    code: str
    """Its code without comments, docstrings and layout."""


@cache
def code_digest(*modules: str) -> str:
    """Return a short hash of the modules' code, of all they import from this package, and of their data files.

    Args:
        modules: names below the package, e.g. `data.clean`.
    """
    digest = hashlib.sha256()
    names = sorted(_closure([f"{PACKAGE}.{module}" for module in modules]))
    for name in names:
        digest.update(look_at(name).code.encode())
    rooms = {path.parent for path in map(_path, names) if path is not None} - {PACKAGE_FOLDER}
    for file in sorted(file for room in rooms for kind in ("*.yaml", "*.html", "*.md") for file in room.rglob(kind)):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _closure(modules: list[str]) -> set[str]:
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in seen or name in LEFT_OUT:
            continue
        seen.add(name)
        waiting += look_at(name).imports
    return seen


@cache
def look_at(module: str) -> ModuleCode:
    """Return what counts of a module; it is parsed once, however many stages stand on it."""
    tree = ast.parse(_source(module))
    return ModuleCode(imports=tuple(_imports(tree)), code=_without_docstrings(tree))


def _imports(tree: ast.Module) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            candidates = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            candidates = [alias.name for alias in node.names if alias.name.startswith(PACKAGE)]
        else:
            continue
        names += [name for name in candidates if _path(name) is not None]
    return names


def _path(module: str) -> Path | None:
    base = PACKAGE_FOLDER.joinpath(*module.split(".")[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _source(module: str) -> str:
    path = _path(module)
    if path is None:
        raise ModuleNotFoundError(f"no module {module}")
    return path.read_text(encoding="utf-8")


def _without_docstrings(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [
                part for part in node.body if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
            ]
    return ast.dump(tree)
