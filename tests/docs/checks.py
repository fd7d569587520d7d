"""What is wrong with a command of the documentation: a command in, problems in words out.

Nothing is run: the command line's own parser reads the words, the configuration judges the settings, `make` plans its
targets, and the source of a benchmark says which options it knows. The one thing to know: an ellipsis stands for
what a reader fills in, so nothing is said of what is missing there.
"""

import ast
import dataclasses
import functools
import itertools
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
import yaml
from typer._click.exceptions import ClickException, MissingParameter

from behavior_tasks.base.config import load_config, setting_keys
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.form import read_as_of
from behavior_tasks.cli.main import app
from behavior_tasks.cli.options import parse_settings
from behavior_tasks.cli.score import chosen_stages
from tests.docs.commands import ELLIPSIS, PROJECT, Command

STAND_FOR: Mapping[str, str] = {"DATE": "2026-11-24", "name": "canonical", "NAME": "canonical", "LOG": "log.csv"}
"""What a reader puts in → what stands for it here."""
OUR_MODULES = ("behavior_tasks.", "benchmarks.", "scripts.", "tests.")
TUNED = "tuned/"
"""Presets that a study writes; they are there once it has run."""
MAKE_VARIABLE = re.compile(r"^(?:export )?([A-Z_]+) \?=", re.MULTILINE)


def problems_of(command: Command) -> Iterator[str]:
    """Yield what is wrong with a command, in words."""
    check = CHECKS.get(command.program)
    if check is None:
        yield f"{command}: nobody checks the program {command.program}"
        return
    for problem in check(command):
        yield f"{command}: {problem}"


def parse(words: list[str]) -> tuple[str, dict[str, Any]]:
    """Return the name of a subcommand of `behavior` and its parameters, read by the real command line.

    Raises:
        ClickException: for an unknown command or option, or a value of the wrong kind.
    """
    group = _group()
    with group.make_context("behavior", ["status"]) as parent:
        name, command, rest = group.resolve_command(parent, list(words))
        with command.make_context(name, rest, parent=parent) as context:
            return str(name), dict(context.params)


@functools.cache
def _group() -> Any:
    return typer.main.get_command(app)


def _filled(words: tuple[str, ...]) -> Iterator[str]:
    """Yield the words with something for an option's value that is left open, and without other ellipses."""
    for before, word in zip(("", *words), words, strict=False):
        if word != ELLIPSIS:
            yield STAND_FOR.get(word, word)
        elif before.startswith("-"):
            yield "1"


def _behavior(command: Command) -> Iterator[str]:
    words = list(_filled(command.words[1:]))
    try:
        name, given = parse(words)
    except MissingParameter as error:
        # `behavior rollback` in a sentence names the command; with more words it is one to type.
        if not command.is_cut and len(words) > 1:
            yield error.format_message()
        return
    except ClickException as error:
        yield error.format_message()
        return
    try:
        read_as_of(given["as_of"]) if isinstance(given.get("as_of"), str) else None
        chosen_stages(given.get("only") or ()) if name == "score" else None
    except UserError as error:
        yield str(error)
    preset = given.get("preset") or "canonical"
    yield from _settings(given.get("set") or [], "canonical" if preset.startswith(TUNED) else preset)


def _settings(pairs: list[str], preset: str = "canonical") -> Iterator[str]:
    """Judge settings by the configuration itself; of one whose value is left open, by its key."""
    whole = [pair for pair in pairs if ELLIPSIS not in pair]
    for pair in set(pairs) - set(whole):
        if (key := pair.partition("=")[0]) not in setting_keys():
            yield f"{key} is no setting"
    try:
        load_config(preset, overrides=parse_settings(whole))
    except UserError as error:
        yield str(error)


def _make(command: Command) -> Iterator[str]:
    words = [word for word in command.words[1:] if word != ELLIPSIS]
    known = MAKE_VARIABLE.findall((PROJECT / "Makefile").read_text(encoding="utf-8"))
    for name in (word.partition("=")[0] for word in words if "=" in word):
        if name not in known:
            yield f"the Makefile reads no {name}"
    recipe = _planned(tuple(words))
    if recipe is None:
        yield f"the Makefile can't make {' '.join(words)}"
        return
    for line in recipe:
        if " run --airflow" in line:
            typed = ("behavior", *shlex.split(line)[1:])
            yield from _behavior(dataclasses.replace(command, words=typed))


@functools.cache
def _planned(words: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the lines that `make` would run, or None where it can't; what is to be installed counts as installed."""
    asked = ["make", "-n", "-o", ".venv/.installed", *words]
    done = subprocess.run(asked, cwd=PROJECT, capture_output=True, text=True, timeout=20, check=False)
    return tuple(done.stdout.splitlines()) if done.returncode == 0 else None


def _python(command: Command) -> Iterator[str]:
    script, *rest = command.words[1:]
    if script == "-m":
        module = rest[0]
        if module.startswith(OUR_MODULES) and not _module(module):
            yield f"there is no module {module}"
        return
    path = PROJECT / script
    if not script.startswith(("benchmarks/", "scripts/")) or not path.is_file():
        yield f"there is no {script}"
        return
    known = _options(path)
    given = [word.partition("=")[0] for word in rest if word.startswith("--")]
    yield from (f"{script} knows no {option}; it knows {', '.join(sorted(known))}" for option in set(given) - known)
    pairs = [value for option, value in itertools.pairwise(rest) if option == "--set"]
    yield from _settings(pairs)


def _module(name: str) -> bool:
    place = PROJECT.joinpath(*name.split("."))
    return place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()


@functools.cache
def _options(path: Path) -> frozenset[str]:
    """Return the options in the calls of `add_argument` of a script and of the scripts beside it that it imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            found |= {str(each.value) for each in node.args if isinstance(each, ast.Constant)}
        elif isinstance(node, ast.ImportFrom) and (beside := path.with_name(f"{node.module}.py")).is_file():
            found |= _options(beside)
    return frozenset(option for option in found if option.startswith("--"))


def _docker(command: Command) -> Iterator[str]:
    """Judge `docker compose` by the file itself: its services and profiles."""
    compose, *words = command.words[1:]
    known = yaml.safe_load((PROJECT / "docker-compose.yaml").read_text(encoding="utf-8"))
    profiles = {profile for service in known["services"].values() for profile in service.get("profiles", ())}
    values = dict(itertools.pairwise(words))
    if compose != "compose":
        yield "only docker compose is used here"
    if (profile := values.get("--profile", "")) and profile not in profiles:
        yield f"there is no profile {profile}"
    verb = next((n for n, word in enumerate(words) if word in COMPOSE_VERBS), None)
    if verb is None:
        yield f"no verb among {', '.join(sorted(COMPOSE_VERBS))}"
    elif words[verb] in ("exec", "run") and not known["services"].keys() & set(words[verb + 1 :]):
        yield f"there is no service among {' '.join(words[verb + 1 :])}"


COMPOSE_VERBS = frozenset(
    {"up", "down", "cp", "ps", "logs", "exec", "run", "build", "pull", "config", "stop", "restart"}
)


def _curl(command: Command) -> Iterator[str]:
    here = ("localhost:", "http://localhost:", "http://127.0.0.1:", "$", '"$', "https://behavior.example")
    if not any(word.startswith(here) for word in command.words):
        yield "it asks no address of this machine"


def _nothing(command: Command) -> Iterator[str]:
    yield from ()


CHECKS: Mapping[str, Callable[[Command], Iterator[str]]] = {
    "behavior": _behavior,
    "make": _make,
    "python": _python,
    "docker": _docker,
    "curl": _curl,
    # Of other people's programs, only that somebody has thought of them; those of Airflow are asked by a slow test.
    **dict.fromkeys(("airflow", "mlflow", "pip", "export", "git", "cd"), _nothing),
}
