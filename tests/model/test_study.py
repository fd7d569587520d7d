"""A study in a real database: no trial lost or doubled by stops, deaths, kills and other workers; hopeless ones end."""

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from behavior_tasks.base.config import Config, load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.base.tuning_config import PASSWORD_VARIABLE
from behavior_tasks.model.study import Study
from behavior_tasks.model.trials import Tried, best_of, finished
from tests.data.test_postgres import PASSWORD, server  # noqa: F401  # a fixture

RATE = {"train.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "train.epochs": {"low": 1, "high": 8}}
SETTINGS: dict[str, Any] = {"tuning.trials": 6, "tuning.warmup_trials": 2, "tuning.search": RATE}
WORKER = """
import sys, time
from pathlib import Path
from behavior_tasks.base.config import load_config
from behavior_tasks.base.home import Home
from behavior_tasks.model.study import Study
import json
study = Study(Home(Path(sys.argv[1])), load_config(overrides=json.loads(sys.argv[2])))
while True:
    with study.next_trial() as trial:
        if trial is None:
            break
        print("BEGUN", trial.number, flush=True)
        time.sleep(float(sys.argv[3]))
        trial.complete(trial.settings["train.learning_rate"])
"""


class Stop(BaseException):
    """What ends a worker by request, as SystemExit does."""


def config(**overrides: Any) -> Config:
    return load_config(overrides=SETTINGS | {f"tuning.{key}": value for key, value in overrides.items()})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def work(study: Study, endings: list[str]) -> None:
    """Begin a trial for each ending, and end it so."""
    for ending in endings:
        try:
            with study.next_trial() as trial:
                if trial is None:
                    return
                if ending == "complete":
                    trial.complete(trial.settings["train.learning_rate"])
                elif ending == "prune":
                    trial.prune()
                elif ending == "fail":
                    trial.fail("diverged")
                elif ending == "stop":
                    raise Stop
                else:
                    raise RuntimeError
        except (Stop, RuntimeError):
            continue


def finish(study: Study) -> list[Tried]:
    work(study, ["complete"] * 50)
    return study.trials()


def test_exactly_the_trials_that_are_asked_for_and_the_defaults_first(home: Home) -> None:
    study = Study(home, config())
    for _ in range(2):
        study.begin_with_defaults()
    trials = finish(study)
    assert [trial.state for trial in trials] == ["complete"] * 6
    assert trials[0].settings == {"train.learning_rate": 1e-3, "train.epochs": 3} == study.defaults
    assert len({trial.settings["train.learning_rate"] for trial in trials}) == 6
    assert study.left() == 0
    # More of them later go on from there; fewer change nothing.
    assert len(finish(Study(home, config(trials=8)))) == 8
    assert len(finish(Study(home, config(trials=3)))) == 8


def test_defaults_outside_of_the_search_are_no_trial(home: Home) -> None:
    study = Study(home, config(search={"train.epochs": {"low": 5, "high": 9}}))
    study.begin_with_defaults()
    assert study.trials() == []


def test_a_study_begun_again_draws_the_same_settings_as_one_that_never_stopped(tmp_path: Path) -> None:
    whole = Study(Home(tmp_path / "whole"), config())
    whole.begin_with_defaults()
    broken = Home(tmp_path / "broken")
    Study(broken, config()).begin_with_defaults()
    for endings in (["complete", "stop"], ["complete", "complete", "die"], ["complete"]):
        work(Study(broken, config()), endings)
    assert [t.settings for t in finished(finish(Study(broken, config())))] == [t.settings for t in finish(whole)]


def test_a_trial_that_dies_twice_has_failed_but_one_that_is_stopped_never_has(home: Home) -> None:
    study = Study(home, config())
    study.begin_with_defaults()
    work(study, ["stop", "stop", "stop", "die", "stop", "die"])
    states = [trial.state for trial in study.trials()]
    assert states == ["repeated"] * 5 + ["failed"]
    assert study.left() == 5
    trials = finish(study)
    assert Counter(trial.state for trial in trials) == {"repeated": 5, "failed": 1, "complete": 5}


@hypothesis_settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(["complete", "prune", "fail", "stop", "die"]), max_size=8))
def test_whatever_happens_each_trial_counts_once(endings: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        study = Study(Home(Path(folder)), config(trials=3, pruner="off"))
        study.begin_with_defaults()
        work(study, endings)
        trials = finish(study)
        assert len(finished(trials)) == 3
        assert Counter(t.state for t in trials)["repeated"] == len(trials) - 3
        # What was repeated is found again among those that count.
        kept = [dict(trial.settings) for trial in finished(trials)]
        assert all(dict(trial.settings) in kept for trial in trials)
        assert len({json.dumps(one) for one in kept}) == 3


def start_worker(home: Home, settings: dict[str, Any], seconds: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WORKER, str(home.root), json.dumps(settings), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_trial_is_repeated_once_by_whoever_comes_next(home: Home) -> None:
    study = Study(home, config())
    study.begin_with_defaults()
    work(study, ["complete"])
    with start_worker(home, SETTINGS, 600) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "BEGUN 1\n"
        # While it lives nobody takes its trial.
        work(study, ["complete"])
        assert [trial.state for trial in study.trials()] == ["complete", "running", "complete"]
        worker.send_signal(signal.SIGKILL)
        worker.wait(timeout=10)
    assert study.left() == 4
    trials = finish(Study(home, config()))
    assert [trial.state for trial in trials] == ["complete", "repeated", *["complete"] * 5]
    assert trials[3].settings == trials[1].settings
    assert len(finished(trials)) == 6


def test_two_workers_share_a_study(home: Home) -> None:
    settings = SETTINGS | {"tuning.trials": 10}
    Study(home, load_config(overrides=settings))
    workers = [start_worker(home, settings, 1) for _ in range(2)]
    said = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    begun = [line for out, _ in said for line in out.splitlines()]
    assert sorted(begun, key=lambda line: int(line.split()[1])) == [f"BEGUN {number}" for number in range(10)]
    assert all(out for out, _ in said)
    trials = Study(home, load_config(overrides=settings)).trials()
    assert [trial.state for trial in trials] == ["complete"] * 10
    assert len({trial.settings["train.learning_rate"] for trial in trials}) == 10


@pytest.mark.parametrize("pruner", ["median", "hyperband", "off"])
def test_hopeless_trials_are_given_up_and_good_ones_and_the_defaults_are_not(home: Home, pruner: str) -> None:
    study = Study(home, config(trials=12, pruner=pruner, warmup_trials=3))
    study.begin_with_defaults()

    def train(value: float) -> bool:
        with study.next_trial() as trial:
            assert trial is not None
            for epoch in range(1, 9):
                if not trial.worth_going_on(value, epoch):
                    trial.prune()
                    return False
            trial.complete(value)
            return True

    assert train(0.1)  # the defaults, however bad
    assert [train(0.5 + 0.01 * number) for number in range(4)].count(True) >= (1 if pruner == "hyperband" else 4)
    bad = [train(0.2) for _ in range(6)]
    assert all(bad) if pruner == "off" else not all(bad)
    best = best_of(study.trials())
    assert best is not None
    assert math.isclose(best.value or 0, 0.53) or pruner == "hyperband"


def test_trials_under_other_circumstances_are_refused(home: Home) -> None:
    Study(home, config()).agree({"examples.horizon_days": "7", "data": "abc"})
    Study(home, config()).agree({"data": "abc"})
    with pytest.raises(UserError) as refused:
        Study(home, config()).agree({"examples.horizon_days": "14", "data": "abc"})
    assert refused.value.found == "examples.horizon_days: '7', now '14'"
    assert Study(home, config()).look("artifact://train/1") == ["artifact://train/1"]
    assert Study(home, config()).look("artifact://train/1") == ["artifact://train/1"]


def test_a_study_in_postgres(home: Home, server: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    settings = SETTINGS | {"tuning.storage": f"postgresql://anna@{server}"}
    monkeypatch.setenv(PASSWORD_VARIABLE, "wrong")
    monkeypatch.delenv("PGPASSWORD", raising=False)
    with pytest.raises(UserError, match="does not answer") as refused:
        Study(home, load_config(overrides=settings))
    assert "wrong" not in str(refused.value)
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    study = Study(home, load_config(overrides=settings))
    study.begin_with_defaults()
    work(study, ["complete", "die"])
    worker = start_worker(home, settings, 0)
    _, said = worker.communicate(timeout=120)
    assert worker.returncode == 0, said
    assert Counter(trial.state for trial in study.trials()) == {"complete": 6, "repeated": 1}
    secrets = [file for file in home.root.rglob("*") if file.is_file() and PASSWORD.encode() in file.read_bytes()]
    assert secrets == []
    assert not (home.tuning / "studies.db").exists()
    assert PASSWORD not in study.config.model_dump_json()
    assert os.environ[PASSWORD_VARIABLE] == PASSWORD


def test_a_killed_worker_frees_its_claim_at_once(home: Home) -> None:
    study = Study(home, config())
    with start_worker(home, SETTINGS, 600) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        worker.send_signal(signal.SIGKILL)
        worker.wait(timeout=10)
    began = time.monotonic()
    with study.next_trial() as trial:
        assert trial is not None
        assert trial.number == 1
        trial.complete(0.5)
    assert time.monotonic() - began < 10
