import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from behavior_tasks.base.config import TrainConfig
from behavior_tasks.model.checkpoint import POSITION, Position
from behavior_tasks.model.predict import predict, threshold
from behavior_tasks.model.threshold import best_f1_threshold
from behavior_tasks.model.work_folder import EXIT_RESUME, WorkFolder
from behavior_tasks.text.tokens import TokenSet
from tests.model.toy import Toy, make_toy, make_work, train_here, untimed, weights_hash

WAIT_SECONDS = 300.0
# Neither the batches of an epoch (50) nor the steps are a multiple of the checkpoints'.
LONG = {"epochs": 8, "patience": 8, "batch_size": 4, "checkpoint_steps": 7, "learning_rate": 0.002}


def start(work: WorkFolder, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "behavior_tasks.model.train_process", str(work.root), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)


def saved_position(work: WorkFolder) -> Position:
    if not work.last.is_file():
        return Position()
    with safe_open(work.last, framework="np") as stream:
        return Position.model_validate_json(stream.metadata()[POSITION])


def wait_for(work: WorkFolder, process: subprocess.Popen[bytes], *, step: int) -> Position:
    """Wait until a checkpoint in the middle of an epoch, at or after a step, is on disk."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        position = saved_position(work)
        if position.step >= step and 0 < position.batch < 50:
            return position
        assert process.poll() is None, "the training ended before it could be stopped"
        time.sleep(0.005)
    raise AssertionError("no checkpoint came")


def finish(process: subprocess.Popen[bytes]) -> int:
    assert process.stdin is not None
    process.stdin.close()
    return process.wait(timeout=WAIT_SECONDS)


@pytest.fixture(scope="module")
def long_toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return make_toy(tmp_path_factory.mktemp("long_toy"), train_examples=200)


@pytest.fixture(scope="module")
def undisturbed(long_toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> WorkFolder:
    work = make_work(tmp_path_factory.mktemp("undisturbed") / "work", long_toy, **LONG)
    assert train_here(work) == 0
    return work


def assert_same(work: WorkFolder, undisturbed: WorkFolder) -> None:
    assert weights_hash(work.bundle) == weights_hash(undisturbed.bundle)
    assert untimed(work.metrics) == untimed(undisturbed.metrics)
    assert (work.bundle / "decision.json").read_bytes() == (undisturbed.bundle / "decision.json").read_bytes()
    assert load_file(work.last).keys() == load_file(undisturbed.last).keys()
    for name, tensor in load_file(work.last).items():
        np.testing.assert_array_equal(tensor, load_file(undisturbed.last)[name], err_msg=name)


@pytest.mark.slow
def test_after_kill_9_the_training_ends_with_the_same_bits(
    long_toy: Toy, undisturbed: WorkFolder, tmp_path: Path
) -> None:
    work = make_work(tmp_path / "work", long_toy, **LONG)
    process = start(work)
    position = wait_for(work, process, step=60)
    process.kill()
    assert finish(process) == -signal.SIGKILL
    assert work.read_outcome() is None
    assert not work.bundle.exists()
    assert position.epoch >= 1

    assert finish(start(work)) == 0
    assert_same(work, undisturbed)


@pytest.mark.slow
def test_asked_to_stop_it_stops_with_75_and_goes_on_to_the_same_bits(
    long_toy: Toy, undisturbed: WorkFolder, tmp_path: Path
) -> None:
    work = make_work(tmp_path / "work", long_toy, **LONG)
    process = start(work)
    wait_for(work, process, step=20)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=WAIT_SECONDS) == EXIT_RESUME
    finish(process)
    stopped_at = saved_position(work)
    assert not stopped_at.finished
    outcome = work.read_outcome()
    assert outcome is not None
    assert outcome.status == "stopped"

    # The end of standard input asks for the same, when it is followed.
    process = start(work, "--follow-stdin")
    wait_for(work, process, step=stopped_at.step + 60)
    assert finish(process) == EXIT_RESUME
    assert saved_position(work).step > stopped_at.step

    assert train_here(work) == 0
    assert_same(work, undisturbed)


def test_a_separable_toy_is_learned_to_an_average_precision_of_one(trained: WorkFolder) -> None:
    epochs = trained.read_metrics()
    assert max(epoch.validation_average_precision for epoch in epochs) == pytest.approx(1.0)
    assert epochs[-1].purchase_loss < 0.2 < epochs[0].purchase_loss


def test_the_bundle_is_whole_and_holds_nothing_else(trained: WorkFolder, toy: Toy) -> None:
    files = {str(file.relative_to(trained.bundle)) for file in trained.bundle.rglob("*") if file.is_file()}
    tokenizer = {f"tokenizer/{file.name}" for file in (toy.encode / "tokenizer").iterdir()}
    assert files == {"config.json", "model.safetensors", "text.json", "decision.json"} | tokenizer
    assert (trained.bundle / "text.json").read_bytes() == (toy.verbalize / "text.json").read_bytes()
    decision = json.loads((trained.bundle / "decision.json").read_bytes())
    assert (decision["chosen_on"], decision["objective"]) == ("validation", "f1")


def test_metrics_have_one_line_an_epoch_with_every_figure(trained: WorkFolder) -> None:
    lines = [json.loads(line) for line in trained.metrics.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, len(lines) + 1))
    assert [line["step"] for line in lines] == [10 * line["epoch"] for line in lines]
    assert set(lines[0]) == {
        "epoch",
        "step",
        "train_loss",
        "purchase_loss",
        "next_token_loss",
        "amount_loss",
        "epsilon",
        "validation_loss",
        "validation_average_precision",
        "examples_per_second",
        "tokens_per_second",
        "micro_batch_tokens",
        "seconds",
    }
    for line in lines:
        together = (
            line["purchase_loss"] + 0.2 * line["next_token_loss"] + TrainConfig().amount_weight * line["amount_loss"]
        )
        assert line["train_loss"] == pytest.approx(together)
        assert line["epsilon"] is None, "nothing was promised"
        assert all(math.isfinite(value) for name, value in line.items() if name != "epsilon")
        assert line["examples_per_second"] * line["seconds"] == pytest.approx(160)
    # An untrained model knows nothing: the share of buyers, and a uniform guess over the 32 words.
    assert lines[0]["next_token_loss"] == pytest.approx(math.log(32), rel=0.1)


def test_the_best_epoch_is_kept_and_its_threshold_chosen_on_validation(trained: WorkFolder, toy: Toy) -> None:
    tokens = TokenSet.load(toy.encode)
    rows = tokens.rows("validation")
    scores = predict(trained.bundle, tokens.sequences, rows, device="cpu", threads=1).probability
    best = max(trained.read_metrics(), key=lambda e: (e.validation_average_precision, -e.epoch))
    losses = -np.log(np.where(toy.labels[rows] == 1, scores, 1 - scores))
    assert losses.mean() == pytest.approx(best.validation_loss, rel=1e-4)
    assert threshold(trained.bundle) == pytest.approx(best_f1_threshold(toy.labels[rows], scores), abs=1e-6)


def test_training_stops_when_validation_no_longer_gains(toy: Toy, tmp_path: Path) -> None:
    work = make_work(tmp_path / "work", toy, epochs=40, patience=2)
    assert train_here(work) == 0
    scores = [epoch.validation_average_precision for epoch in work.read_metrics()]
    assert len(scores) < 40
    assert int(np.argmax(scores)) == len(scores) - 1 - 2


def test_every_weight_moves_and_the_seed_decides(toy: Toy, tmp_path: Path) -> None:
    runs = {}
    for name, settings in {"short": {"epochs": 1}, "again": {"epochs": 1}, "other": {"epochs": 1, "seed": 4}}.items():
        work = make_work(tmp_path / name, toy, **settings)
        assert train_here(work) == 0
        runs[name] = work
    assert weights_hash(runs["short"].bundle) == weights_hash(runs["again"].bundle)
    assert weights_hash(runs["short"].bundle) != weights_hash(runs["other"].bundle)

    nearly_still = make_work(tmp_path / "still", toy, epochs=1, learning_rate=1e-12)
    assert train_here(nearly_still) == 0
    before = load_file(nearly_still.bundle / "model.safetensors")
    after = load_file(runs["short"].bundle / "model.safetensors")
    still = [name for name in before if np.abs(after[name] - before[name]).max() < 1e-5]
    # These two are fitted beforehand, not learned.
    assert still == ["amount.centre", "amount.scale"]


def test_at_first_the_model_predicts_the_share_of_buyers_on_train(toy: Toy, tmp_path: Path) -> None:
    work = make_work(tmp_path / "work", toy, epochs=1, learning_rate=1e-12)
    assert train_here(work) == 0
    tokens = TokenSet.load(toy.encode)
    scores = predict(work.bundle, tokens.sequences, tokens.rows("train"), device="cpu", threads=1).probability
    assert scores.mean() == pytest.approx(toy.labels[toy.splits == "train"].mean(), abs=0.05)


def test_without_the_next_token_loss_only_purchases_are_learned(toy: Toy, tmp_path: Path) -> None:
    work = make_work(tmp_path / "work", toy, epochs=1, next_token_weight=0, amount_weight=0)
    assert train_here(work) == 0
    (epoch,) = work.read_metrics()
    assert epoch.next_token_loss == 0
    assert epoch.train_loss == epoch.purchase_loss


def test_the_process_needs_neither_airflow_nor_mlflow() -> None:
    code = (
        "import sys, behavior_tasks.model.train_process, behavior_tasks.model.train\n"
        "print([m for m in ('airflow', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.soak
@pytest.mark.skipif(shutil.which(os.environ.get("CXX") or "g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_it_learns_the_same(toy: Toy, tmp_path: Path) -> None:
    epochs = {}
    for compiled in (False, True):
        settings = {"epochs": 1, "compile": compiled, "device": "cpu"}
        work = make_work(tmp_path / str(compiled), toy, model={"dropout": 0.0}, **settings)
        with work.log.open("wb") as log:
            command = [sys.executable, "-m", "behavior_tasks.model.train_process", str(work.root)]
            assert subprocess.run(command, stdout=log, stderr=log, timeout=900).returncode == 0, work.log.read_text()
        (epochs[compiled],) = work.read_metrics()
    for name in ("purchase_loss", "next_token_loss", "validation_loss"):
        assert getattr(epochs[True], name) == pytest.approx(getattr(epochs[False], name), rel=1e-3)
