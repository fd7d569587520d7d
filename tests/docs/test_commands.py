"""Every command in the documentation is one that can be typed: it parses, its settings hold, what it names is there."""

import re
from pathlib import Path

import pytest

from behavior_tasks.base.config import SECTIONS, load_config, setting_keys
from tests.docs.checks import problems_of
from tests.docs.commands import PAGES, PROJECT, Command, every_command, yaml_in

SPAN = re.compile(r"`([^`\n]+)`")
FILE_ENDINGS = "json|jsonl|csv|parquet|html|py|yaml|md|safetensors"
SETTING = re.compile(rf"((?:{'|'.join(SECTIONS)})\.(?!(?:{FILE_ENDINGS})\b)[a-z][a-z0-9_]*)")
VARIABLE = re.compile(r"BEHAVIOR_[A-Z_]*[A-Z]")
PLACE = re.compile(r"(?:behavior_tasks|benchmarks|conf|dags|deploy|docs|plugins|scripts|tests)/[\w./*-]+")

PACKAGE = PROJECT / "behavior_tasks"


def test_every_command_can_be_typed() -> None:
    commands = every_command()
    assert len(commands) > 150
    assert {command.program for command in commands} >= {"behavior", "make", "python", "mlflow", "curl"}
    assert [problem for command in commands for problem in problems_of(command)] == []


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("behavior scores", "No such command"),
        ("behavior score --as-off 2026-11-01", "No such option"),
        ("behavior score --as-of yesterday", "yesterday"),
        ("behavior score --only audience", "audiences"),
        ("behavior run --preset canonicle", "canonical"),
        ("behavior run --set train.epoch=1", "train.epochs"),
        ("behavior run --set train.epochs=none", "train.epochs"),
        ("behavior run --set model.architecture=bert2", "model.architecture"),
        ("behavior run --set text.sty=…", "text.sty"),
        ("behavior report --on models", "models"),
        ("behavior show --top 3", "--shopper"),
        ("make runs", "can't make"),
        ("make run INPUTS=log.csv", "INPUTS"),
        ("make run SET=gate.margins=1", "gate.margin"),
        ("python benchmarks/nothing.py", "there is no"),
        ("python benchmarks/score.py --bucket 4", "--buckets"),
        ("python -m tests.docs.nothing", "no module"),
        ("docker compose exec nobody ls", "nobody"),
        ("docker compose --profile gpus up", "gpus"),
        ("curl https://elsewhere.example", "this machine"),
        ("fly away", "nobody checks"),
    ],
)
def test_a_wrong_command_is_found(typed: str, said: str) -> None:
    command = Command(page="page.md", line=1, words=tuple(typed.split()))
    assert said in "\n".join(problems_of(command))


@pytest.mark.parametrize("page", [page for page in PAGES if page.exists()], ids=lambda page: page.name)
def test_settings_and_files_that_a_page_names_exist(page: Path) -> None:
    spans = [span for span in SPAN.findall(page.read_text(encoding="utf-8")) if " " not in span]
    settings = {found[1] for span in spans if (found := SETTING.match(span))}
    modules = {name for name in settings if (PACKAGE / f"{name.replace('.', '/')}.py").is_file()}
    parts = {key.rpartition(".")[0] for key in setting_keys()}
    assert sorted(settings - modules - parts - set(setting_keys())) == []
    files = {found[0] for span in spans if (found := PLACE.fullmatch(span))}
    assert [file for file in sorted(files) if not list(PROJECT.glob(file.rstrip("/")))] == []


def test_every_block_of_settings_is_a_configuration(tmp_path: Path) -> None:
    blocks = [block for page in PAGES if page.exists() for block in yaml_in(page)]
    assert len(blocks) >= 3
    for block in blocks:
        (tmp_path / "mine.yaml").write_text(block, encoding="utf-8")
        load_config(file=tmp_path / "mine.yaml")


def test_every_variable_that_a_page_names_is_read_somewhere() -> None:
    named = {name for page in PAGES if page.exists() for name in VARIABLE.findall(page.read_text(encoding="utf-8"))}
    read = "\n".join(path.read_text(encoding="utf-8") for path in _code())
    assert len(named) > 4
    assert [name for name in sorted(named) if name not in read] == []


def _code() -> list[Path]:
    folders = [*PACKAGE.rglob("*.py"), *(PROJECT / "dags").glob("*.py"), *(PROJECT / "plugins").rglob("*.py")]
    return [*folders, *(PROJECT / "scripts").rglob("*.py"), PROJECT / "docker-compose.yaml", PROJECT / "Makefile"]
