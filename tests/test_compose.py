"""docker-compose.yaml: nothing has a default secret, nothing is open to the network, every option exists."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from behavior_tasks.base.home import Home
from behavior_tasks.cli.airflow import airflow_environment

PROJECT = Path(__file__).resolve().parents[1]
OWN = ("postgres", "init", "api-server", "scheduler", "dag-processor", "triggerer", "mlflow")
SECRET = re.compile(r"PASSWORD$|SECRET|_KEY$|CONN$|STORE_URI$")
REQUIRED = re.compile(r"\$\{[A-Z_]+:\?[^}]+\}")
PINNED = re.compile(r"^[a-z-]+:\d+\.\d+(\.\d+)?(-[a-z]+)*$")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((PROJECT / "docker-compose.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def airflow_options() -> set[str]:
    """Every option that Airflow knows, as the name of its environment variable, from Airflow's own list."""
    spec = importlib.util.find_spec("airflow")
    assert spec is not None
    assert spec.origin is not None
    listed = yaml.safe_load((Path(spec.origin).parent / "config_templates" / "config.yml").read_text(encoding="utf-8"))
    return {
        f"AIRFLOW__{section}__{option}".upper() for section, content in listed.items() for option in content["options"]
    }


def environment(service: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in service.get("environment", {}).items()}


def test_the_parts(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == set(OWN)
    assert set(compose["volumes"]) == {"postgres", "state", "mlflow"}


def test_every_image_is_pinned_and_ours_runs_without_root(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert PINNED.match(service["image"]), service["image"]
    dockerfile = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    bases = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert len(bases) == 1
    assert PINNED.match(bases[0])
    assert re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE) == ["behavior"]
    for copied in re.findall(r"^COPY (.+) \S+$", dockerfile, re.MULTILINE):
        assert all((PROJECT / name).exists() for name in copied.split()), copied


def test_what_the_image_copies_is_not_kept_out_of_it() -> None:
    dockerfile = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    allowed = {line[1:] for line in (PROJECT / ".dockerignore").read_text(encoding="utf-8").split() if line[0] == "!"}
    assert {n for copied in re.findall(r"^COPY (.+) \S+$", dockerfile, re.MULTILINE) for n in copied.split()} == allowed


def test_only_the_two_pages_are_published_and_only_on_this_machine(compose: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert set(ports) == {"api-server", "mlflow"}
    for published in ports.values():
        assert len(published) == 1
        assert published[0].startswith("127.0.0.1:${BEHAVIOR_")


def test_every_secret_is_required_and_none_has_a_default(compose: dict[str, Any]) -> None:
    found = set()
    for service in compose["services"].values():
        for name, value in environment(service).items():
            if SECRET.search(name):
                found.add(name)
                assert REQUIRED.search(value), f"{name} can be left out"
    assert {"POSTGRES_PASSWORD", "AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET"} <= found
    assert {"AIRFLOW__API__SECRET_KEY", "AIRFLOW_ADMIN_PASSWORD", "MLFLOW_BACKEND_STORE_URI"} <= found


def test_every_long_running_part_is_watched(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert ("healthcheck" in service) == (name != "init")
    assert compose["services"]["init"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    for name in ("api-server", "scheduler", "dag-processor", "triggerer"):
        assert compose["services"][name]["depends_on"]["init"]["condition"] == "service_completed_successfully"


def test_all_of_airflow_has_the_same_settings(compose: dict[str, Any]) -> None:
    names = ("api-server", "scheduler", "dag-processor", "triggerer")
    first, *others = (environment(compose["services"][name]) for name in names)
    assert all(other == first for other in others)
    assert environment(compose["services"]["init"]).items() >= first.items()


def test_every_airflow_setting_exists(compose: dict[str, Any], airflow_options: set[str], tmp_path: Path) -> None:
    named = {n for service in compose["services"].values() for n in environment(service)}
    embedded = set(airflow_environment(Home(tmp_path), PROJECT, base={}))
    used = {name for name in named | embedded if name.startswith("AIRFLOW__")}
    assert len(used) > 15
    assert used <= airflow_options


def test_every_flag_of_the_mlflow_server_exists(compose: dict[str, Any], tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "mlflow", "server", "--help"],
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    flags = {word.partition("=")[0] for word in compose["services"]["mlflow"]["command"] if word.startswith("--")}
    assert flags
    assert all(re.search(rf"{flag}\b", said) for flag in flags)
