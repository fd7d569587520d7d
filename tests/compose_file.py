"""Read docker-compose.yaml as `docker compose config` does: profiles, `${…}`, merges; for the tests, without docker."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[1]
COMPOSE = PROJECT / "docker-compose.yaml"
REFERENCE = re.compile(
    r"\$(?:(?P<escaped>\$)|\{(?P<braced>[A-Za-z_]\w*)(?:(?P<kind>:?[-?+])(?P<word>[^{}]*))?\}|(?P<bare>[A-Za-z_]\w*))"
)


class MissingError(Exception):
    """A required variable has no value; its text is what docker compose would say."""


def read(values: Mapping[str, str]) -> dict[str, Any]:
    """Return the whole file with every variable filled in.

    Raises:
        MissingError: where a `${NAME:?…}` has no value.
    """
    return {name: _filled(part, values) for name, part in _parsed().items()}


@cache
def _parsed() -> dict[str, Any]:
    return dict(yaml.load(COMPOSE.read_text(encoding="utf-8"), Unique))


def chosen(compose: Mapping[str, Any], profiles: set[str]) -> dict[str, dict[str, Any]]:
    """Return the services that start with these profiles."""
    return {
        name: service
        for name, service in compose["services"].items()
        if not service.get("profiles") or profiles & set(service["profiles"])
    }


def names() -> dict[str, set[str]]:
    """Return every variable that the file reads → the kinds of its references: `:?`, `:-`, …"""
    found: dict[str, set[str]] = {}
    lines = COMPOSE.read_text(encoding="utf-8").splitlines()
    for line in (line for line in lines if not line.lstrip().startswith("#")):
        for name, kind in re.findall(r"(?<!\$)\$\{?([A-Za-z_]\w*)(:?[-?+])?", line):
            found.setdefault(name, set()).add(kind)
    return found


class Unique(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping, as compose does and PyYAML does not."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.seen: set[int] = set()

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        own = [self.construct_object(key) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        # Before merges are spread out: what a mapping says itself may stand in what it takes over too.
        if id(node) not in self.seen:
            self.seen.add(id(node))
            assert len(own) == len(set(own)), f"a key twice, near line {node.start_mark.line + 1}: {own}"
        return super().construct_mapping(node, deep)


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(part, values) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, values) for part in value]
    return _fill(value, values) if isinstance(value, str) else value


def _fill(text: str, values: Mapping[str, str]) -> str:
    marked: list[str] = []

    def replaced(found: re.Match[str]) -> str:
        if found["escaped"]:
            marked.append("$")
            return f"\0{len(marked) - 1}\0"
        name, kind, word = found["braced"] or found["bare"], found["kind"] or "", found["word"] or ""
        value = values.get(name)
        empty = not value if kind.startswith(":") else value is None
        if kind.endswith("?") and empty:
            raise MissingError(f"required variable {name} is missing a value: {word}")
        if kind.endswith("+"):
            return "" if empty else word
        # What was filled in is not looked at again.
        marked.append(word if kind.endswith("-") and empty else value or "")
        return f"\0{len(marked) - 1}\0"

    # From the inside out: a default may name another variable.
    while (filled := REFERENCE.sub(replaced, text)) != text:
        text = filled
    while "\0" in text:
        text = re.sub("\0(\\d+)\0", lambda found: marked[int(found[1])], text)
    return text
