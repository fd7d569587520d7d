"""The embedded Airflow's environment: no default secret, nothing beyond this machine, the user's settings stand."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.cli.airflow import PROJECT, airflow_environment, password_file, port_of, run_dag

SECRETS = ("AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API__SECRET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET")


def test_secrets_are_made_once_for_their_owner_and_differ_between_homes(tmp_path: Path) -> None:
    first = airflow_environment(Home(tmp_path / "a"), PROJECT, base={})
    again = airflow_environment(Home(tmp_path / "a"), PROJECT, base={})
    other = airflow_environment(Home(tmp_path / "b"), PROJECT, base={})
    assert first == again
    values = [first[name] for name in SECRETS] + [other[name] for name in SECRETS]
    assert len(set(values)) == len(values)
    assert min(map(len, values)) >= 44
    kept = [file for file in (tmp_path / "a" / "secrets").iterdir() if file.suffix != ".lock"]
    assert len(kept) == 4
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in kept)
    assert (tmp_path / "a" / "secrets").stat().st_mode & 0o777 == 0o700


def test_the_password_is_in_its_file_alone(tmp_path: Path) -> None:
    environment = airflow_environment(Home(tmp_path), PROJECT, base={})
    password = json.loads(password_file(Home(tmp_path)).read_text())["admin"]
    assert len(password) >= 12
    assert not any(password in value for value in environment.values())


def test_it_stays_on_this_machine_and_in_the_state_folder(tmp_path: Path) -> None:
    environment = airflow_environment(Home(tmp_path), PROJECT, base={"BEHAVIOR_AIRFLOW_PORT": "18081"})
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert environment["AIRFLOW__API__PORT"] == "18081"
    assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:18081/execution/"
    for name in ("AIRFLOW_HOME", "AIRFLOW__LOGGING__BASE_LOG_FOLDER", "BEHAVIOR_HOME"):
        assert Path(environment[name]).is_relative_to(tmp_path)
    assert str(tmp_path) in environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]


def test_what_the_user_has_set_stands(tmp_path: Path) -> None:
    base = {"AIRFLOW__CORE__PARALLELISM": "7", "AIRFLOW_HOME": "/elsewhere", "PATH": "/bin"}
    environment = airflow_environment(Home(tmp_path), PROJECT, base=base)
    assert environment["AIRFLOW__CORE__PARALLELISM"] == "7"
    assert environment["PATH"] == "/bin"
    # Another Airflow of the same user keeps its own folder.
    assert environment["AIRFLOW_HOME"] == str(tmp_path / "airflow")


@pytest.mark.parametrize("text", ["web", "0", "65536", "-1", "80.5"])
def test_a_port_that_is_none_is_named(text: str) -> None:
    with pytest.raises(UserError, match="BEHAVIOR_MLFLOW_PORT is not a port"):
        port_of("BEHAVIOR_MLFLOW_PORT", {"BEHAVIOR_MLFLOW_PORT": text})
    assert port_of("BEHAVIOR_MLFLOW_PORT", {"BEHAVIOR_MLFLOW_PORT": "65535"}) == 65535


def test_wrong_settings_are_all_named_before_anything_starts(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    conf = {"train.epochs": 0, "gate.min_f1": 7, "examples.horizon": 3}
    with pytest.raises(UserError) as refused:
        run_dag(home, PROJECT, conf, logical_date=datetime(2026, 11, 23, 2, tzinfo=UTC))
    assert all(key in str(refused.value) for key in conf)
    assert not home.root.exists()
