"""What a run says of itself: the commit, the settings that are its own, and nothing that should stay here."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from behavior_tasks.base.config import load_config
from behavior_tasks.base.home import Home
from behavior_tasks.pipeline import provenance
from behavior_tasks.registry.budget import reserve
from tests.registry.test_budget import asked, cost


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    command = ["git", "-C", str(folder), *who, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    assert provenance.git_sha(tmp_path) == "unknown"
    git(tmp_path, "init", "-q")
    assert provenance.git_sha(tmp_path) == "unknown"
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "first")
    sha = git(tmp_path, "rev-parse", "HEAD")
    assert provenance.git_sha(tmp_path) == sha
    (tmp_path / "a").write_text("2")
    assert provenance.git_sha(tmp_path) == f"{sha}+changes"


def test_a_runs_own_settings_are_what_differs_from_its_preset_and_can_change_a_result() -> None:
    assert provenance.own_settings("taobao", load_config("taobao")) == "none"
    config = load_config("taobao", overrides={"train.epochs": "9", "engine.workers": "1", "train.threads": "1"})
    assert provenance.own_settings("taobao", config) == "train.epochs=9"


def test_settings_show_neither_folders_nor_passwords() -> None:
    overrides = {
        "source.users": {"path": "https://ann:s3cr3t@files.example/users.csv?sig=s3cr3t"},
        "model.checkpoint": "/home/ann/models/gpt2-mine",
    }
    config = load_config(overrides=overrides)
    told = provenance.settings_file(config) + str(provenance.flat_settings(config))
    assert "s3cr3t" not in told
    assert "/home/ann" not in told
    assert yaml.safe_load(provenance.settings_file(config))["model"]["checkpoint"] == "gpt2-mine"


def test_the_environment_pins_what_is_installed_and_names_no_machine() -> None:
    lines = provenance.environment_file().splitlines()
    assert any(line.startswith("mlflow==") for line in lines)
    assert lines[0].startswith("# Python 3.")
    assert all("==" in line or line.startswith("#") for line in lines)


def test_a_private_run_says_what_it_cost_and_what_the_guarantee_leaves_out(tmp_path: Path) -> None:
    home, config = Home(tmp_path), load_config(overrides={"privacy.dp.epsilon": 3})
    facts = {"epsilon": 2.987654, "delta": 1e-6, "privacy": {"unit": "shopper"}}
    record = SimpleNamespace(config=config, input="log.csv")
    run = SimpleNamespace(record=record, home=home, artifact=lambda _stage: SimpleNamespace(facts=facts))
    tags = provenance.privacy_tags(run)
    assert (tags["epsilon"], tags["delta"], tags["privacy_unit"]) == ("2.988", "1e-06", "shopper")
    assert {"tokenizer", "threshold", "market"} <= set(tags["outside_guarantee"].split(", "))
    assert provenance.privacy_metrics(run) == {
        "privacy/epsilon": 2.987654,
        "privacy/delta": 1e-6,
        "privacy/epsilon_of_all_trainings": 0.0,
    }
    reserve(home, asked("a"))
    assert provenance.privacy_metrics(run)["privacy/epsilon_of_all_trainings"] == pytest.approx(cost(1))
    plain = SimpleNamespace(record=record, home=home, artifact=lambda _stage: SimpleNamespace(facts={}))
    assert (provenance.privacy_tags(plain), provenance.privacy_metrics(plain)) == ({"epsilon": "none"}, {})
