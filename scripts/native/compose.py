"""docker-compose.yaml and `.env` in; each service's command, variables, files and what it waits for out.

Only what the cluster uses of the format is read. One thing to know: `${NAME:?why}` without a value in `.env` is an
error here as it is for docker compose, and all that are missing are named at once.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values

from behavior_tasks.base.errors import UserError

OTHERS = 0o077
"""Permission bits of group and others."""
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<kind>:\?|:-|\?|-)(?P<rest>[^{}]*))?\}")


@dataclass(frozen=True, kw_only=True)
class Described:
    """A service as the compose file describes it, with every variable filled in."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    after: Mapping[str, str]
    """Service that it waits for → condition, e.g. `service_healthy`."""
    stop_signal: str
    files: Mapping[str, str]
    """Path inside the container → content, of the service's `configs`."""


def read_secrets(path: Path) -> dict[str, str]:
    """Return the values of an environment file.

    Raises:
        UserError: when it is missing, or others may read it.
    """
    if not path.is_file():
        raise UserError(f"There is no {path.name} with the cluster's secrets.", next_step="make secrets")
    if path.stat().st_mode & OTHERS:
        raise UserError(
            f"The secrets in {path.name} can be read by others.",
            found=f"mode {path.stat().st_mode & 0o777:o}",
            expected="mode 600",
            next_step=f"chmod 600 {path.name}",
        )
    return {name: value or "" for name, value in dotenv_values(path, interpolate=False).items()}


def read_services(path: Path, values: Mapping[str, str]) -> dict[str, Described]:
    """Return the services of a compose file.

    Args:
        path: the compose file.
        values: what `${NAME}` stands for.

    Raises:
        UserError: naming every variable that is required and has no value.
    """
    missing: list[str] = []
    content = _filled(yaml.safe_load(path.read_text(encoding="utf-8")), values, missing)
    if missing:
        raise UserError(
            f"{path.name} needs values that the environment file does not have.",
            found=", ".join(dict.fromkeys(missing)),
            next_step="make secrets (or add them by hand to one made by an earlier version)",
        )
    configs = {name: str(config.get("content", "")) for name, config in (content.get("configs") or {}).items()}
    return {name: _described(name, service, configs) for name, service in content["services"].items()}


def _described(name: str, service: Mapping[str, Any], configs: Mapping[str, str]) -> Described:
    waits = service.get("depends_on") or {}
    if isinstance(waits, list):
        waits = {one: {"condition": "service_started"} for one in waits}
    mounted = [{"source": c, "target": f"/{c}"} if isinstance(c, str) else c for c in service.get("configs") or []]
    return Described(
        name=name,
        command=tuple(str(word) for word in service.get("command") or ()),
        environment={key: _text(value) for key, value in (service.get("environment") or {}).items()},
        after={one: str(how["condition"]) for one, how in waits.items()},
        stop_signal=str(service.get("stop_signal", "SIGTERM")),
        files={str(one["target"]): configs[one["source"]] for one in mounted},
    )


def _text(value: object) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _filled(value: Any, values: Mapping[str, str], missing: list[str]) -> Any:
    """Return a parsed YAML value with its variables filled in; notes what is missing."""
    if isinstance(value, dict):
        return {key: _filled(part, values, missing) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, values, missing) for part in value]
    if not isinstance(value, str):
        return value
    # Two dollar signs are one that compose leaves alone.
    return "$".join(_fill(piece, values, missing) for piece in value.split("$$"))


def _fill(text: str, values: Mapping[str, str], missing: list[str]) -> str:
    def value_of(found: re.Match[str]) -> str:
        name, kind, rest = found["name"], found["kind"] or "", found["rest"] or ""
        value = values.get(name)
        if value or (value is not None and ":" not in kind):
            return value
        if kind.endswith("?"):
            missing.append(name)
        return rest if kind.endswith("-") else ""

    # The innermost first: a default may hold another variable.
    while (filled := VARIABLE.sub(value_of, text)) != text:
        text = filled
    return text
