"""Live metrics on a real embedded store: there while the work runs, none doubled, and never in its way."""

import logging
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home
from behavior_tasks.base.stage import Job
from behavior_tasks.model import live
from behavior_tasks.model.train import train_stage
from behavior_tasks.model.work_folder import WorkFolder
from behavior_tasks.registry import store, tracking
from behavior_tasks.registry.live import LiveMetrics
from tests.model.toy import MODEL, TRAIN, make_artifact, make_job, make_toy

CONFIG = Config()


def start(home: Home) -> str:
    return tracking.start_tracking(home, CONFIG, run_id="night-1", name="n", tags={})


def curve(home: Home, run: str, key: str) -> list[tuple[int, float]]:
    client = MlflowClient(tracking_uri=tracking.tracking_uri(home))
    return sorted((point.step, point.value) for point in client.get_metric_history(run, key))


def test_points_are_there_at_once(home: Home) -> None:
    run = start(home)
    report = LiveMetrics(home, CONFIG, run_id="night-1")
    report({"live/loss": 0.9, "live/epoch": 1.0}, 10)
    assert curve(home, run, "live/loss") == [(10, 0.9)]
    report({"live/loss": 0.8, "live/validation_average_precision": 0.3}, 25)
    assert curve(home, run, "live/loss") == [(10, 0.9), (25, 0.8)]
    assert curve(home, run, "live/validation_average_precision") == [(25, 0.3)]


def test_no_step_is_there_twice_whoever_goes_on(home: Home) -> None:
    run = start(home)
    first = LiveMetrics(home, CONFIG, run_id="night-1")
    for step in (10, 20, 20, 30):
        first({"live/loss": step / 100}, step)
    # A second attempt goes on from a checkpoint at step 15.
    second = LiveMetrics(home, CONFIG, run_id="night-1")
    for step in (18, 28, 38):
        second({"live/loss": step / 100}, step)
    assert curve(home, run, "live/loss") == [(10, 0.1), (20, 0.2), (30, 0.3), (38, 0.38)]


def test_epochs_reported_live_are_not_repeated_by_the_results(home: Home) -> None:
    run = start(home)
    epochs = [{"epoch": n, "step": 40 * n, "train_loss": 1 / n} for n in (1, 2)]
    report = LiveMetrics(home, CONFIG, run_id="night-1")
    report({"train_loss": 1.0}, 1)
    results = {"params": {}, "metrics": {}, "plots": [], "files": [], "datasets": {}, "tags": {}}
    tracking.log_results(home, CONFIG, run_id="night-1", epochs=epochs, **results)
    assert curve(home, run, "train_loss") == [(1, 1.0), (2, 0.5)]


def test_where_nothing_is_tracked_nothing_is_made(bare: Home) -> None:
    LiveMetrics(bare, CONFIG, run_id="night-1")({"live/loss": 0.9}, 10)
    assert not bare.root.exists()


def test_an_mlflow_that_fails_is_told_once_and_borne(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    run = start(home)
    client = MlflowClient(tracking_uri=tracking.tracking_uri(home))
    client.delete_experiment(client.get_run(run).info.experiment_id)
    report = LiveMetrics(home, CONFIG, run_id="night-1")
    with caplog.at_level(logging.WARNING, logger="behavior"):
        for step in (1, 2, 3):
            report({"live/loss": 0.9}, step)
    assert len(caplog.messages) == 1
    assert "the work goes on" in caplog.text


def test_a_server_that_is_down_is_borne_too(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(store.URI_VARIABLE, "http://someone:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    report = LiveMetrics(home, CONFIG, run_id="night-1")
    with caplog.at_level(logging.WARNING, logger="behavior"):
        report({"live/loss": 0.9}, 1)
        report({"live/loss": 0.9}, 2)
    assert "does not answer" in caplog.text
    assert len([message for message in caplog.messages if "the work goes on" in message]) == 1
    assert "secret" not in caplog.text


@pytest.mark.slow
def test_a_training_is_seen_in_mlflow_while_it_runs_and_after_a_resume(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LOG_EVERY_SECONDS", 0.2)
    run, toy = start(home), make_toy(tmp_path / "toy")
    places = {"encode": toy.encode, "verbalize": toy.verbalize, "baselines": toy.verbalize}
    inputs = [make_artifact(path, stage) for stage, path in places.items()]

    def job(name: str, epochs: int) -> Job:
        settings = {"model": MODEL, "train": TRAIN | {"epochs": epochs, "patience": 100}}
        made = make_job(tmp_path / name, settings, *inputs)
        report = LiveMetrics(home, CONFIG, run_id="night-1")
        return Job(**{**vars(made), "home": home, "report": report})

    seen: list[list[tuple[int, float]]] = []

    def interrupt_when_seen() -> None:
        limit = time.monotonic() + 240
        while time.monotonic() < limit and (not seen or len(seen[-1]) < 3):
            seen.append(curve(home, run, "live/loss"))
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt_when_seen)
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            train_stage(job("first", epochs=1000))
        thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(seen[-1]) >= 3, "seen while it ran"

    stopped = WorkFolder(home.work / "train" / "0123456789").read_metrics()
    train_stage(job("second", epochs=len(stopped) + 30))
    steps = [step for step, _ in curve(home, run, "live/loss")]
    assert steps == sorted(set(steps))
    assert steps[-1] > 10 * len(stopped)
    for key in ("validation_average_precision", "train_loss"):
        assert [step for step, _ in curve(home, run, key)] == list(range(1, len(stopped) + 31))
