"""`make secrets`: every secret once, for its owner's eyes only, nothing overwritten; and MLflow's file of accounts."""

import base64
import configparser
import re
import stat
from pathlib import Path

import pytest

from scripts import make_secrets, mlflow_server
from scripts.make_secrets import SECRETS

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (".gitignore", ".dockerignore"):
        (tmp_path / name).write_bytes((PROJECT / name).read_bytes())
    return tmp_path


def run(folder: Path, *words: str) -> int:
    return make_secrets.main(["--folder", str(folder), *words])


def values(folder: Path) -> dict[str, str]:
    lines = (folder / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_every_secret_is_made_for_its_owner_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder) == 0
    made = values(folder)
    assert list(made) == list(SECRETS)
    assert len(set(made.values())) == len(made)
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    assert sorted(path.name for path in folder.iterdir()) == [".dockerignore", ".env", ".gitignore"]
    said = capsys.readouterr().out
    assert "AIRFLOW_ADMIN_PASSWORD in .env" in said
    assert not [name for name, value in made.items() if value in said]
    # They become parts of addresses and of shell words; MLflow asks for twelve characters.
    assert all(re.fullmatch(r"[0-9a-f]{48,}", value) for name, value in made.items() if "FERNET" not in name)
    assert len(base64.urlsafe_b64decode(made["AIRFLOW_FERNET_KEY"])) == 32
    assert len(bytes.fromhex(made["BEHAVIOR_IDENTITY_KEY"])) == 32


def test_what_is_there_is_never_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(folder)
    before = (folder / ".env").read_bytes()
    assert run(folder) == 1
    assert "nothing was changed" in capsys.readouterr().err
    assert (folder / ".env").read_bytes() == before


def test_an_older_file_gets_what_it_lacks(folder: Path) -> None:
    run(folder)
    path = folder / ".env"
    kept = [line for line in path.read_text().splitlines() if not line.startswith(("S3_", "SPARK_"))]
    path.write_text("\n".join([*kept, "S3_SECRET_KEY=", "BEHAVIOR_PRESET=taobao", ""]))
    before = values(folder)
    assert run(folder) == 0
    after = values(folder)
    assert {name: value for name, value in after.items() if before.get(name)} == {n: v for n, v in before.items() if v}
    assert len(after["S3_SECRET_KEY"]) == len(after["SPARK_AUTH_SECRET"]) == 48


def test_no_new_identity_is_made_up_beside_old_data(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(folder)
    path = folder / ".env"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "IDENTITY" not in line))
    before = path.read_bytes()
    assert run(folder) == 1
    assert "secrets/identity.key" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_one_secret_is_renewed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(folder)
    before = values(folder)
    assert run(folder, "--rotate", "AIRFLOW_ADMIN_PASSWORD") == 0
    after = values(folder)
    assert {name for name in before if before[name] != after[name]} == {"AIRFLOW_ADMIN_PASSWORD"}
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    assert after["AIRFLOW_ADMIN_PASSWORD"] not in capsys.readouterr().out


@pytest.mark.parametrize("name", [*make_secrets.KEPT, "NOTHING"])
def test_what_cannot_be_renewed_is_refused(folder: Path, name: str) -> None:
    run(folder)
    before = (folder / ".env").read_bytes()
    assert run(folder, "--rotate", name) == 1
    assert (folder / ".env").read_bytes() == before


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (".gitignore", "/var/\n"),
        (".gitignore", "/.env\n!.env\n"),
        (".dockerignore", "*.pyc\n"),
        (".dockerignore", None),
    ],
)
def test_it_is_not_made_where_it_could_be_given_away(
    folder: Path, file: str, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / file).unlink()
    if text is not None:
        (folder / file).write_text(text)
    assert run(folder) == 1
    assert f"{file} does not keep .env out" in capsys.readouterr().err
    assert not (folder / ".env").exists()


def test_one_that_others_may_read_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(folder)
    (folder / ".env").chmod(0o644)
    assert run(folder) == 1
    assert "mode 644" in capsys.readouterr().err
    (folder / ".env").rename(folder / "elsewhere")
    (folder / ".env").symlink_to("elsewhere")
    assert run(folder) == 1
    assert (folder / ".env").is_symlink()


def test_mlflow_finds_its_accounts_and_nobody_else_does(tmp_path: Path) -> None:
    address = "postgresql+psycopg2://mlflow:a%20b@postgres:5432/mlflow"
    for _ in range(2):  # a restart
        path = mlflow_server.write_accounts(tmp_path, address)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    read = configparser.ConfigParser()  # as MLflow reads it
    read.read(path)
    assert read["mlflow"]["database_uri"] == address
    assert "admin_password" not in read["mlflow"]


def test_mlflow_answers_under_its_public_name() -> None:
    given = mlflow_server.let_in("https://mlflow.example.com:8443/", "mlflow:5000,localhost:*")
    assert given == {
        "MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow:5000,localhost:*,mlflow.example.com:8443",
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "https://mlflow.example.com:8443",
    }
    assert mlflow_server.let_in("", "localhost:*") == {}
