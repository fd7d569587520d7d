"""The parts that run natively are those of docker-compose.yaml: only addresses, ports and folders differ."""

from pathlib import Path

import pytest

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from scripts.native import parts
from scripts.native.compose import read_secrets, read_services
from scripts.native.parts import Places, make_parts
from tests.cluster.native import PROJECT, secrets_in

COMPOSE = PROJECT / "docker-compose.yaml"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(home=Home(tmp_path / "state"), postgres=61, redis=62, mlflow=63, airflow=64)


def test_only_addresses_ports_and_folders_differ(tmp_path: Path, places: Places) -> None:
    described = read_services(COMPOSE, read_secrets(secrets_in(tmp_path)))
    made = make_parts(described, places, overrides={}, schedulers=1)
    for name, part in made.items():
        if name in (parts.POSTGRES, parts.REDIS):
            continue
        for variable, value in described[name].environment.items():
            here = part.environment[variable]
            assert here == places.here(value)
            for inside in ("@postgres", "@redis", "mlflow:5000", "api-server:8080", "0.0.0.0"):
                assert inside not in here, variable
            assert not here.startswith(("/state", "/mlflow", "/opt/behavior")), variable
    airflow = made[parts.API_SERVER]
    assert airflow.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].endswith("@127.0.0.1:61/airflow")
    assert airflow.environment["AIRFLOW__CELERY__BROKER_URL"].endswith("@127.0.0.1:62/0")
    assert airflow.environment["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:63"
    assert airflow.environment["BEHAVIOR_HOME"] == str(tmp_path / "state")
    assert airflow.command[airflow.command.index("--port") + 1] == "64"
    assert airflow.command[airflow.command.index("--host") + 1] == "127.0.0.1"
    assert "--port=63" in made[parts.MLFLOW].command
    assert "--queues" in made[parts.GPU_WORKER].command


def test_no_secret_stands_in_a_command(tmp_path: Path, places: Places) -> None:
    values = read_secrets(secrets_in(tmp_path))
    made = make_parts(read_services(COMPOSE, values), places, overrides={}, schedulers=2)
    words = " ".join(word for part in made.values() for word in part.command)
    assert parts.SECOND in made
    assert not [name for name, value in values.items() if value in words]


def test_whatever_this_shell_has_set_stays_outside(
    tmp_path: Path, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "somebody's")
    described = read_services(COMPOSE, read_secrets(secrets_in(tmp_path)))
    part = make_parts(described, places, overrides={"AIRFLOW__CORE__PARALLELISM": "3"}, schedulers=1)[parts.WORKER]
    assert part.environment["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    assert part.environment["AIRFLOW__CORE__PARALLELISM"] == "3"
    assert "MLFLOW_TRACKING_TOKEN" not in part.environment


def test_every_missing_secret_is_named_at_once() -> None:
    with pytest.raises(UserError, match="needs values") as caught:
        read_services(COMPOSE, {})
    assert "POSTGRES_PASSWORD" in str(caught.value)
    assert "MLFLOW_BEHAVIOR_PASSWORD" in str(caught.value)


def test_secrets_that_others_may_read_or_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="make secrets"):
        read_secrets(tmp_path / ".env")
    path = secrets_in(tmp_path)
    path.chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        read_secrets(path)


@pytest.mark.parametrize(
    ("text", "values", "filled"),
    [
        ("${A:-x}", {}, "x"),
        ("${A:-x}", {"A": ""}, "x"),
        ("${A-x}", {"A": ""}, ""),
        ("${A:-http://h:${B:-80}}/", {"B": "81"}, "http://h:81/"),
        ("$$A ${A:?why}", {"A": "a"}, "$A a"),
    ],
)
def test_variables_are_filled_in_as_compose_does(
    tmp_path: Path, text: str, values: dict[str, str], filled: str
) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text(f'services: {{one: {{command: ["{text}"]}}}}')
    assert read_services(path, values)["one"].command == (filled,)
