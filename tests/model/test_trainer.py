"""The trainer: what it survives, what it refuses, and what its settings do."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from behavior_tasks.model.batches import Batch
from behavior_tasks.model.network import BehaviorModel, Outputs
from behavior_tasks.model.predict import predict
from behavior_tasks.model.trainer import Trainer
from behavior_tasks.model.validation import StopRequestedError
from behavior_tasks.model.work_folder import EXIT_REFUSED, Outcome, WorkFolder
from behavior_tasks.text.tokens import TokenSet
from tests.model.toy import Toy, kept_as_it_is, make_toy, make_work, train_here, untimed, weights_hash

Change = Callable[[Batch, Outputs], Outputs]


def change_outputs(monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    """Let the network say something else while it learns."""
    forward = BehaviorModel.forward

    def changed(self: BehaviorModel, batch: Batch) -> Outputs:
        outputs = forward(self, batch)
        return change(batch, outputs) if self.training else outputs

    monkeypatch.setattr(BehaviorModel, "forward", changed)


def poisoned(outputs: Outputs) -> Outputs:
    return Outputs(**{**vars(outputs), "purchase_B": outputs.purchase_B * float("nan")})


def stop_after(work: WorkFolder, steps: int) -> None:
    """Train so many steps and stop, as on SIGTERM."""
    asked = iter(range(steps - 1))
    with kept_as_it_is(), pytest.raises(StopRequestedError):
        Trainer(work, lambda: next(asked, None) is None).run()


def refusal(work: WorkFolder) -> Outcome:
    assert train_here(work) == EXIT_REFUSED
    outcome = work.read_outcome()
    assert outcome is not None
    assert outcome.status == "refused"
    assert not work.bundle.exists()
    return outcome


def assert_same(one: WorkFolder, other: WorkFolder) -> None:
    assert weights_hash(one.bundle) == weights_hash(other.bundle)
    assert untimed(one.metrics) == untimed(other.metrics)
    ours, theirs = load_file(one.last), load_file(other.last)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        np.testing.assert_array_equal(tensor, theirs[name], err_msg=name)


def test_a_poisoned_batch_is_met_at_half_the_rate_from_the_last_checkpoint(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    work = make_work(tmp_path / "work", toy, epochs=2, checkpoint_steps=4)
    steps: list[int] = []

    def poison_the_seventh(_batch: Batch, outputs: Outputs) -> Outputs:
        steps.append(1)
        return poisoned(outputs) if len(steps) == 7 else outputs

    change_outputs(monkeypatch, poison_the_seventh)
    with caplog.at_level(logging.WARNING, "behavior"):
        assert train_here(work) == 0
    # Steps 1 to 6, the poisoned one, and again from the checkpoint after step 4.
    assert len(steps) == 7 + 16
    assert "step 7, epoch 1); on from step 4 at half the learning rate, 0.005" in caplog.text
    assert [epoch.step for epoch in work.read_metrics()] == [10, 20]
    assert all(np.isfinite(tensor).all() for tensor in load_file(work.bundle / "model.safetensors").values())


def test_stopped_after_a_divergence_and_a_full_memory_it_goes_on_to_the_same_bits(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"epochs": 3, "patience": 3, "checkpoint_steps": 4}
    whole, stopped = (make_work(tmp_path / name, toy, **settings) for name in ("whole", "stopped"))
    steps: list[int] = []

    def fail(batch: Batch, outputs: Outputs) -> Outputs:
        if batch.tokens_BT.numel() > 120:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        steps.append(1)
        return poisoned(outputs) if len(steps) == 9 else outputs

    change_outputs(monkeypatch, fail)
    assert train_here(whole) == 0
    steps.clear()
    stop_after(stopped, 16)
    stop_after(stopped, 5)
    assert train_here(stopped) == 0
    assert_same(stopped, whole)
    assert {epoch.micro_batch_tokens for epoch in whole.read_metrics()} < set(range(60, 121))


def test_a_batch_that_stays_poisoned_ends_the_training_with_the_rates_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = make_toy(tmp_path / "toy")
    numbers = np.load(toy.encode / "numbers.npy")
    numbers[20, 1] = 1e6
    np.save(toy.encode / "numbers.npy", numbers)
    change_outputs(monkeypatch, lambda batch, out: poisoned(out) if (batch.numbers_BF == 1e6).any() else out)
    work = make_work(tmp_path / "work", toy, epochs=2, checkpoint_steps=1)
    outcome = refusal(work)
    assert "diverged" in str(outcome.problem)
    assert "epoch 1" in str(outcome.found)
    assert "a learning rate of 0.01, 0.005, 0.0025" in str(outcome.found)
    assert "train.learning_rate" in str(outcome.next_step)
    assert all(np.isfinite(tensor).all() for tensor in load_file(work.last).values())
    # Started again it does not begin anew: the rates stay tried.
    assert refusal(work).found == outcome.found

    none = make_work(tmp_path / "none", toy, epochs=2, divergence_retries=0)
    assert str(refusal(none).found).endswith("a learning rate of 0.01")


def test_a_far_too_high_learning_rate_is_halved_until_it_works_or_given_up(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # At a rate of one the weights grow by one in each step, and the loss of the amounts runs away.
    settings: dict[str, Any] = {"epochs": 4, "patience": 4, "learning_rate": 1.0, "amount_weight": 10}
    outcome = refusal(make_work(tmp_path / "once", toy, divergence_retries=0, **settings))
    assert str(outcome.found).endswith("; tried at a learning rate of 1")
    work = make_work(tmp_path / "work", toy, divergence_retries=5, **settings)
    with caplog.at_level(logging.WARNING, "behavior"):
        assert train_here(work) == 0
    assert "on from step 0 at half the learning rate, 0.5" in caplog.text
    losses = [epoch.train_loss for epoch in work.read_metrics()]
    assert len(losses) == 4
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("split", "label", "words"),
    [
        ("train", 1, "On train, everybody buys"),
        ("train", 0, "On train, nobody buys"),
        ("validation", 1, "On validation, everybody buys"),
        ("validation", 0, "On validation, nobody buys"),
        ("validation", None, "The validation split is empty"),
        ("train", None, "The train split is empty"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_before_the_first_step(
    tmp_path: Path, split: str, label: int | None, words: str
) -> None:
    toy = make_toy(tmp_path / "toy")
    index = pd.read_parquet(toy.encode / "index.parquet")
    if label is None:
        index.loc[index["split"] == split, "split"] = "test"
    else:
        index.loc[index["split"] == split, "label"] = label
    index.to_parquet(toy.encode / "index.parquet")
    work = make_work(tmp_path / "work", toy)
    outcome = refusal(work)
    assert words in str(outcome.problem)
    assert "examples.horizon_days" in str(outcome.next_step)
    assert not work.last.exists()


def test_a_log_without_amounts_turns_their_head_off_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    toy = make_toy(tmp_path / "toy")
    index = pd.read_parquet(toy.encode / "index.parquet")
    index["amount"] = np.nan
    index.to_parquet(toy.encode / "index.parquet")
    work = make_work(tmp_path / "work", toy, epochs=1)
    with caplog.at_level(logging.WARNING, "behavior"):
        assert train_here(work) == 0
    assert "amount head is off" in caplog.text
    assert work.read_metrics()[0].amount_loss is None
    assert json.loads((work.bundle / "config.json").read_text())["heads"] == ["purchase", "next_token"]


@pytest.mark.parametrize(
    ("settings", "offset"),
    [
        ({"positive_weight": 3.0}, -np.log(3)),
        ({"negative_share": 0.25}, np.log(0.25)),
        ({"positive_weight": 2.0, "negative_share": 0.5}, -np.log(4)),
    ],
)
def test_weighted_buyers_and_sampled_others_leave_the_true_share(
    tmp_path: Path, settings: dict[str, float], offset: float
) -> None:
    toy = make_toy(tmp_path / "toy", train_examples=1200)
    index = pd.read_parquet(toy.encode / "index.parquet")
    # Labels that no text tells of: all there is to learn is how many are positive.
    index["label"] = (np.random.default_rng(5).random(len(index)) < 0.15).astype(np.int32)
    index.to_parquet(toy.encode / "index.parquet")
    learning = {"epochs": 2, "patience": 9, "learning_rate": 0.001, "model": {"calibration": "off", "numbers": False}}
    work = make_work(tmp_path / "work", toy, **learning, **settings)
    assert train_here(work) == 0
    tokens = TokenSet.load(toy.encode)
    rows = tokens.rows("train")
    found = predict(work.bundle, tokens.sequences, rows, device="cpu", threads=1).probability
    share = index["label"].to_numpy()[rows].mean()
    # Uncorrected it would be 0.37 and more.
    assert found.mean() == pytest.approx(share, abs=0.03)
    decision = json.loads((work.bundle / "decision.json").read_text())
    assert decision["prior_offset"] == pytest.approx(offset)
    # The loss on validation is that of the true probabilities.
    assert work.read_metrics()[-1].validation_loss == pytest.approx(-np.log(1 - share), abs=0.35)
    assert work.read_metrics()[-1].validation_loss < 0.6


def test_a_teacher_is_learned_from_as_far_as_the_setting_says(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "toy")
    index = pd.read_parquet(toy.encode / "index.parquet")
    train = index[index["split"] == "train"]
    # A teacher who is wrong about everybody: whoever learns from it alone ranks non-buyers first.
    teacher = tmp_path / "teacher.parquet"
    pd.DataFrame({"example": train["example"], "boosting": 0.9 - 0.8 * train["label"]}).to_parquet(teacher)
    precision = {}
    for share in (0.3, 1.0):
        work = make_work(tmp_path / str(share), toy, epochs=8, patience=8, distillation=share, model={"numbers": False})
        work.job.write_text(work.read_job().model_copy(update={"teacher": teacher}).model_dump_json())
        assert train_here(work) == 0
        precision[share] = work.read_metrics()[-1].validation_average_precision
    assert precision[0.3] > 0.95
    assert precision[1.0] < 0.4


def test_a_teacher_who_saw_all_non_buyers_teaches_the_true_share_to_who_sees_few(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "toy", train_examples=600)
    index = pd.read_parquet(toy.encode / "index.parquet")
    train = index[index["split"] == "train"]
    teacher = tmp_path / "teacher.parquet"
    pd.DataFrame({"example": train["example"], "boosting": 0.1}).to_parquet(teacher)
    settings: dict[str, Any] = {
        "negative_share": 0.3,
        "positive_weight": 2.0,
        "learning_rate": 0.001,
        "distillation": 1.0,
    }
    work = make_work(tmp_path / "work", toy, epochs=2, model={"calibration": "off", "numbers": False}, **settings)
    work.job.write_text(work.read_job().model_copy(update={"teacher": teacher}).model_dump_json())
    assert train_here(work) == 0
    tokens = TokenSet.load(toy.encode)
    found = predict(work.bundle, tokens.sequences, tokens.rows("train"), device="cpu", threads=1).probability
    assert found.mean() == pytest.approx(0.1, abs=0.01)


def test_every_epoch_draws_other_non_buyers_and_all_buyers(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "toy")
    work = make_work(tmp_path / "work", toy, negative_share=0.3)
    with kept_as_it_is():
        data = Trainer(work, lambda: False).data
        again = Trainer(work, lambda: False).data
    buyers = set(np.flatnonzero((toy.splits == "train") & (toy.labels == 1)))
    others = set(np.flatnonzero((toy.splits == "train") & (toy.labels == 0)))
    first, second = (set(data.epoch_rows(epoch)) for epoch in (0, 1))
    assert buyers < first
    assert buyers < second
    assert len(first - buyers) == len(second - buyers) == int(np.ceil(0.3 * len(others)))
    assert first != second
    assert set(again.epoch_rows(1)) == second


def test_bf16_learns_too_and_is_another_arithmetic(toy: Toy, trained: WorkFolder, tmp_path: Path) -> None:
    work = make_work(tmp_path / "work", toy, epochs=30, patience=10, precision="bf16")
    assert train_here(work) == 0
    epochs = work.read_metrics()
    assert max(epoch.validation_average_precision for epoch in epochs) > 0.95
    first = trained.read_metrics()[0]
    assert epochs[0].train_loss == pytest.approx(first.train_loss, rel=0.02)
    assert epochs[0].train_loss != first.train_loss
    # The weights stay in full precision.
    assert {tensor.dtype for tensor in load_file(work.bundle / "model.safetensors").values()} == {np.dtype(np.float32)}


def test_the_heartbeat_tells_what_is_being_done(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("behavior_tasks.model.trainer.HEARTBEAT_SECONDS", 0.0)
    work, seen = make_work(tmp_path / "work", toy, epochs=2), []
    beat = WorkFolder.beat

    def noted(self: WorkFolder, heartbeat: Any) -> None:
        seen.append(heartbeat)
        beat(self, heartbeat)

    monkeypatch.setattr(WorkFolder, "beat", noted)
    assert train_here(work) == 0
    assert [(b.doing, b.epoch, b.step) for b in seen if b.doing == "validate"] == [
        ("validate", 1, 10),
        ("validate", 2, 20),
    ]
    assert [b.step for b in seen if b.doing == "train"] == list(range(1, 21))
    last = work.read_heartbeat()
    assert last is not None
    assert last.total_steps == 20
    assert (
        last.best_average_precision
        == last.validation_average_precision
        == pytest.approx(work.read_metrics()[0].validation_average_precision)
    )
    assert last.tokens_per_second > last.examples_per_second > 0
    assert last.micro_batch_tokens == 16_384
