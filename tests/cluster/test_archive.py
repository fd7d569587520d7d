"""A backup's folder: whole or refused, for the right keys only, and never over something that is there."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE
from scripts import archive
from scripts.backup import make_backup
from scripts.restore import restore_backup

KEYS = {"BEHAVIOR_IDENTITY_KEY": "ab" * 32, "AIRFLOW__CORE__FERNET_KEY": "one"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A backup of one file."""
    (tmp_path / "log.csv").write_text("1,2\n")
    folder = tmp_path / "backup"
    digest = archive.copy_hashed(tmp_path / "log.csv", folder / "state" / "raw" / "log.csv")
    when = datetime(2026, 11, 27, tzinfo=UTC)
    files, keys = {"state/raw/log.csv": digest}, archive.key_fingerprints(KEYS)
    archive.write_manifest(folder, archive.Manifest(made_at=when, versions={}, keys=keys, files=files))
    return folder


def test_a_backup_without_its_manifest_or_with_a_changed_file_is_refused(folder: Path) -> None:
    assert list(archive.read_manifest(folder).files) == ["state/raw/log.csv"]
    (folder / "state" / "raw" / "log.csv").write_text("1,3\n")
    with pytest.raises(UserError, match="1 of the 1 files") as caught:
        archive.read_manifest(folder)
    assert "state/raw/log.csv" in str(caught.value)
    (folder / archive.MANIFEST).unlink()
    with pytest.raises(UserError, match="not a whole backup"):
        archive.read_manifest(folder)


def test_another_env_is_refused_by_name_and_its_keys_stay_secret(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="This is not the") as caught:
        restore_backup(folder, tmp_path / "files", {**KEYS, "BEHAVIOR_IDENTITY_KEY": "cd" * 32})
    assert "another BEHAVIOR_IDENTITY_KEY" in str(caught.value)
    assert "AIRFLOW_FERNET_KEY" not in str(caught.value)
    text = (folder / archive.MANIFEST).read_text() + str(caught.value)
    assert not any(value in text for value in (*KEYS.values(), "cd" * 32) if len(value) > 3)


def test_nothing_is_overwritten(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    (tmp_path / "home" / "runs").mkdir(parents=True)
    (tmp_path / "home" / "runs" / "one").write_text("")
    with pytest.raises(UserError, match="something in the folder home already"):
        restore_backup(folder, tmp_path / "files", KEYS)
    with pytest.raises(UserError, match="backup is there already"):
        make_backup(folder, tmp_path / "files", KEYS)


def test_what_is_left_out_is_left_out_and_links_are_not_followed(tmp_path: Path) -> None:
    for name in ("secrets/identity.key", "airflow/airflow.cfg", "airflow/logs/a.log", "runs/one"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "secrets" / "identity.key")
    found = archive.files_below(tmp_path, without=frozenset({"secrets", "airflow/airflow.cfg"}))
    assert [path.as_posix() for path in found] == ["airflow/logs/a.log", "runs/one"]
