"""A tuning on a tiny shop: real trainings, a real kill -9 in the middle of one, and no trial more or less after it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from behavior_tasks.base.config import changed, load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.model.trials import finished
from behavior_tasks.pipeline import STAGES, last_runs, open_run, prepare_tuning, start_run, start_tuning, work_off
from behavior_tasks.pipeline.stages import needed_for
from behavior_tasks.pipeline.tuning import open_study, trials_of
from behavior_tasks.registry import store
from tests.shop import TINY

SEARCH = {
    "train.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
    "train.epochs": {"low": 1, "high": 3},
    "text.last_events": [6, 16],
}
ASKED: dict[str, Any] = TINY | {
    "tuning.study": "tiny",
    "tuning.trials": 3,
    "tuning.pruner": "off",
    "tuning.search": SEARCH,
    "train.threads": 1,
}
DAY = date(2026, 11, 27)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.delenv(store.URI_VARIABLE, raising=False)
    return Home(tmp_path / "home")


def test_what_a_stage_needs_is_all_before_it_and_nothing_else() -> None:
    assert {"source", "clean", "features", "encode", "doctor", "baselines", "train"} <= needed_for("train")
    assert not needed_for("train") & {"report", "champion", "evaluate", "gate"}
    assert needed_for("train") < needed_for("evaluate") < set(STAGES)


def test_a_study_is_begun_once_and_goes_on_only_with_the_same_settings(home: Home) -> None:
    uri = start_tuning(day=DAY, overrides=ASKED)
    assert uri == "run://tuning-tiny"
    # More trials, another pruner or fewer workers are no other circumstances.
    assert start_tuning(day=DAY, overrides=ASKED | {"tuning.trials": 9, "tuning.pruner": "median"}) == uri
    assert [trial.state for trial in trials_of(uri)] == ["waiting"]
    with pytest.raises(UserError) as refused:
        start_tuning(day=DAY, overrides=ASKED | {"examples.horizon_days": 14, "model.dropout": 0.1})
    assert "examples.horizon_days: '7', now '14'" in str(refused.value)
    assert "model.dropout" in str(refused.value)
    with pytest.raises(UserError, match="other circumstances"):
        start_tuning(day=DAY, overrides=ASKED | {"tuning.search": {"train.epochs": [1, 2]}})
    assert last_runs(home, most=5) == []


def test_a_log_that_cannot_be_learned_from_is_refused_before_any_trial(home: Home, tmp_path: Path) -> None:
    log = tmp_path / "five.csv"
    log.write_text("user_id,action,product_id,timestamp\n1,browse,1001,1628751662\n", encoding="utf-8")
    uri = start_tuning(day=DAY, input_path=str(log), overrides=ASKED)
    with pytest.raises(UserError):
        prepare_tuning(uri)
    assert [trial.state for trial in trials_of(uri)] == ["waiting"]


def test_no_trial_begins_when_the_time_is_over(home: Home) -> None:
    uri = start_tuning(day=DAY, overrides=ASKED | {"tuning.minutes": 1})
    instants = iter([0.0, 61.0])
    assert work_off(uri, clock=lambda: next(instants)) == 0


@contextmanager
def tune(home: Home) -> "Iterator[subprocess.Popen[str]]":
    """Type `behavior tune` in a session of its own; whatever still runs of it at the end of the block is killed."""
    settings = [word for key, value in ASKED.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    command = [sys.executable, "-m", "behavior_tasks.cli.main", "tune", *settings]
    environment = {**os.environ, HOME_VARIABLE: str(home.root), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A test run in the background ignores Ctrl-C, and what it starts would too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            yield process
        finally:
            kill(process)


def kill(process: "subprocess.Popen[str]") -> None:
    """End a command and all that it started by kill -9, at once."""
    if process.poll() is None:
        for member in family(process):
            member.kill()


def wait_for_training(home: Home, process: "subprocess.Popen[str]", heartbeats: int) -> None:
    """Wait until a training beats for the n-th different work folder."""
    seen: set[str] = set()
    limit = time.monotonic() + 900
    while time.monotonic() < limit and process.poll() is None:
        seen |= {file.parent.name for file in home.work.glob("train/*/heartbeat.json")}
        if len(seen) >= heartbeats:
            return
        time.sleep(0.05)
    raise AssertionError("no training")


def family(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    leader = psutil.Process(process.pid)
    return [leader, *leader.children(recursive=True)]


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_kill_minus_nine_loses_no_trial_and_doubles_none(home: Home) -> None:
    with tune(home) as process:
        wait_for_training(home, process, 2)
        kill(process)
        process.communicate(timeout=60)
    config = load_config(overrides=ASKED)
    before = open_study(home, config).trials()
    assert Counter(trial.state for trial in before)["running"] == 1

    with tune(home) as again:
        out, said = again.communicate(timeout=1200)
    assert again.returncode == 0, said
    trials = open_study(home, config).trials()
    assert len(finished(trials)) == 3
    assert Counter(trial.state for trial in trials) == {"complete": 3, "repeated": 1}
    killed = next(trial for trial in trials if trial.state == "repeated")
    assert any(t.settings == killed.settings for t in finished(trials))
    assert len({json.dumps(dict(t.settings), sort_keys=True) for t in finished(trials)}) == 3
    assert list((home.work / "train").iterdir()) == []
    assert "Test, which no trial has seen" in out
    check_what_is_left(home, config)


def check_what_is_left(home: Home, config: Any) -> None:
    """The preset is the best trial's whole configuration; MLflow holds a parent with its trials, none running."""
    figures = json.loads((home.tuning / "tiny" / "study.json").read_bytes())
    best = figures["best"]
    tuned = load_config("tuned/tiny")
    expected = changed(config, best["settings"])
    assert tuned.model_dump(exclude={"tuning"}) == expected.model_dump(exclude={"tuning"})
    head = (home.tuned / "tiny.yaml").read_text(encoding="utf-8").splitlines()
    facts = yaml.safe_load("\n".join(line[2:] for line in head[1:] if line.startswith("# ")))
    assert facts["trial"] == best["trial"]
    assert facts["validation_average_precision"] == best["validation_average_precision"]
    assert facts["data"] == figures["data"]
    with store.connect(home) as client:
        runs = client.search_runs([store.experiment_id(client, home, config)])
        parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        assert len(parents) == 1
        files = {file.path for file in client.list_artifacts(parents[0].info.run_id)}
    children = [run for run in runs if run not in parents]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    states = Counter(run.data.tags["state"] for run in children if run.info.status == "FINISHED")
    assert states == {"complete": 3}
    assert {"plots", "report.html", "study.json", "tiny.yaml"} <= files
    # The training DAG and `behavior run` take it by name.
    assert open_run(start_run("mine", day=DAY, trigger="manual", preset="tuned/tiny")).record.config == tuned


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ctrl_c_keeps_the_study_and_says_how_to_go_on(home: Home) -> None:
    with tune(home) as process:
        wait_for_training(home, process, 1)
        began = family(process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=200)
    assert process.returncode == 130
    assert "the same command goes on from there" in said
    _, alive = psutil.wait_procs(began, timeout=10)
    assert alive == []
    states = [trial.state for trial in open_study(home, load_config(overrides=ASKED)).trials()]
    assert Counter(states) == {"repeated": 1, "waiting": 1}
