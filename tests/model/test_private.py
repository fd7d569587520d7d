"""DP-SGD: one shopper moves a step by no more than promised, the noise is there, a resumed training is the same."""

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from behavior_tasks.base.privacy_config import DpConfig
from behavior_tasks.model.accounting import Mechanism, epsilon_of
from behavior_tasks.model.batches import make_batch
from behavior_tasks.model.gradients import Plan
from behavior_tasks.model.losses import purchase_loss
from behavior_tasks.model.objective import Totals
from behavior_tasks.model.private import PrivateGradients
from behavior_tasks.model.trainer import Trainer
from behavior_tasks.model.training_data import TrainingData
from behavior_tasks.model.work_folder import EXIT_REFUSED, TrainingJob, WorkFolder, best_epoch
from tests.docs.commands import PROJECT
from tests.model.test_pretrained import publish
from tests.model.test_trainer import assert_same, refusal, stop_after
from tests.model.toy import Toy, kept_as_it_is, make_toy, make_work, train_here

PRIVATE = {"epsilon": 3.0, "delta": 1e-3, "shoppers_per_step": 16}
SHOPPERS = 40
TRAIN: dict[str, Any] = {"epochs": 1, "number_epochs": 0}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A toy in which each of 40 shoppers has four examples on train; another has been there very often."""
    toy = make_toy(tmp_path_factory.mktemp("private"))
    index = pd.read_parquet(toy.encode / "index.parquet")
    train = index["split"] == "train"
    index.loc[train, "shopper"] = [f"s{number % SHOPPERS:02}" for number in range(train.sum())]
    index.to_parquet(toy.encode / "index.parquet")
    return toy


def make_private(
    folder: Path, toy: Toy, *, dp: dict[str, Any] | None = None, model: dict[str, Any] | None = None, **settings: Any
) -> WorkFolder:
    work = make_work(folder, toy, model=model, **TRAIN | settings)
    job = json.loads(work.job.read_text()) | {"dp": DpConfig(**PRIVATE | (dp or {})).model_dump()}
    work.job.write_text(TrainingJob.model_validate(job).model_dump_json())
    return work


@pytest.fixture(autouse=True)
def _this_process_stays_as_it_is() -> Iterator[None]:
    with kept_as_it_is():
        yield


def gradients_of(work: WorkFolder) -> PrivateGradients:
    private = Trainer(work, lambda: False).private
    assert private is not None
    return private


def contribution(gradients: PrivateGradients, rows: np.ndarray) -> torch.Tensor:
    """What a shopper with these rows adds to a step, without noise; buyers' amounts and purchases only."""
    nobody = np.zeros(0, dtype=np.int64)
    data = gradients.data
    buyers = float(data.weights[rows[data.amounts[rows] > 0]].sum())
    plan = Plan(rows, nobody, nobody, Totals(examples=len(rows), targets=0, buyers=buyers))
    assert gradients.clipped(plan, 0) is not None
    return gradients.flat.clone()


@pytest.mark.parametrize("kind", ["gpt2", "bert", "gpt2 adapters", "bert adapters"])
def test_weights_move_and_the_training_tells_what_it_cost(shared: Toy, tmp_path: Path, kind: str) -> None:
    architecture, _, adapters = kind.partition(" ")
    model: dict[str, Any] = {"architecture": architecture}
    if adapters:
        model = {"checkpoint": str(publish(tmp_path / "published", architecture)), "lora_rank": 2}
    work = make_private(tmp_path / "work", shared, model=model)
    trainer = Trainer(work, lambda: False)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.run()
    after = load_file(work.last)
    learned = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[f"model.{name}"])}
    assert moved == learned
    assert any(".lora_B." in name for name in moved) == bool(adapters)
    epochs = work.read_metrics()
    assert [epoch.step for epoch in epochs] == [3]
    assert 2.9 < float(epochs[0].epsilon or 0) <= 3.0
    assert work.bundle.is_dir()


def test_the_noise_is_what_the_library_asks_for_and_no_less_than_the_mechanism_needs() -> None:
    from opacus.accountants import RDPAccountant
    from scipy.stats import norm

    accountant = RDPAccountant()
    accountant.history = [(1.1, 0.02, 500), (0.9, 0.1, 40)]
    ours = epsilon_of(
        [
            Mechanism(noise_multiplier=1.1, sample_rate=0.02, steps=500),
            Mechanism(noise_multiplier=0.9, sample_rate=0.1, steps=40),
        ],
        1e-5,
    )
    assert 1 <= ours / accountant.get_epsilon(delta=1e-5) < 1.03
    # Where everybody is in every step the exact δ of an ε is known (Balle and Wang 2018).
    told, mu = epsilon_of([Mechanism(noise_multiplier=8.0, sample_rate=1.0, steps=16)], 1e-5), 0.5

    def delta(epsilon: float) -> float:
        return norm.cdf(mu / 2 - epsilon / mu) - np.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)

    assert delta(told) <= 1e-5 < delta(0.8 * told)


def test_a_shopper_adds_the_mean_over_their_examples_clipped_and_nothing_else_changes_it(
    shared: Toy, tmp_path: Path
) -> None:
    quiet = {"next_token_weight": 0.0, "amount_weight": 0.0}
    work = make_private(tmp_path / "work", shared, model={"dropout": 0.0}, dp={"max_grad_norm": 1000.0}, **quiet)
    gradients = gradients_of(work)
    rows = gradients.rows_of[7]
    assert len(rows) == 4
    data, model = gradients.data, gradients.objective.model
    batch = make_batch(data.sequences, rows, gradients.places)
    loss = purchase_loss(model(batch).purchase_B, torch.from_numpy(data.labels[rows]), torch.ones(4)) / 4
    parameters = [parameter for parameter in gradients.objective.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    expected = torch.cat(
        [(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(parameters, found, strict=True)]
    )
    torch.testing.assert_close(contribution(gradients, rows), expected, atol=1e-6, rtol=1e-4)
    # Clipped, its direction stays and its length is the limit.
    gradients.dp = gradients.dp.model_copy(update={"max_grad_norm": 0.01})
    clipped = contribution(gradients, rows)
    assert clipped.norm().item() == pytest.approx(0.01, rel=1e-4)
    assert torch.nn.functional.cosine_similarity(clipped, expected, dim=0).item() > 0.9999
    # A hundred times the same examples, or heavier ones, count as one shopper.
    torch.testing.assert_close(contribution(gradients, np.tile(rows, 25)), clipped, atol=1e-6, rtol=1e-3)


def test_weights_of_others_do_not_change_what_a_shopper_adds(shared: Toy, tmp_path: Path) -> None:
    gradients = gradients_of(make_private(tmp_path / "work", shared))
    plain = TrainingData.load(shared.encode, gradients.data.settings)
    weights = np.random.default_rng(0).uniform(0.5, 5.0, len(plain.weights)).astype(np.float32)
    others = weights.copy()
    others[gradients.rows_of[3]] *= 50
    told = []
    for given in (weights, others):
        work = make_private(tmp_path / f"work-{len(told)}", shared)
        work.noise_key.write_text("5" * 32)
        made = PrivateGradients(
            gradients.objective,
            replace(plain, weights=given, purchase_weights=given),
            plain.settings,
            gradients.accelerator,
            dp=gradients.dp,
            work=work,
        )
        told.append((contribution(made, made.rows_of[7]), contribution(made, made.rows_of[3])))
    assert torch.equal(told[0][0], told[1][0])
    # Their own weights matter only among their own examples.
    torch.testing.assert_close(told[0][1], told[1][1], atol=1e-5, rtol=1e-3)


def test_without_one_shopper_a_step_differs_by_what_they_add_at_most(
    shared: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients = gradients_of(make_private(tmp_path / "work", shared, dp={"max_grad_norm": 0.05}))
    nobody = np.zeros(0, dtype=np.int64)
    drawn = gradients.drawn(5)
    assert 5 < len(drawn) < 30
    gradients.compute(nobody, 5, stop=False)
    everybody = gradients.flat.clone() * gradients.plan.expected
    monkeypatch.setattr(gradients, "drawn", lambda _step: drawn[:3] + drawn[4:])
    gradients.compute(nobody, 5, stop=False)
    without = gradients.flat.clone() * gradients.plan.expected
    assert 0.045 < (everybody - without).norm().item() < 0.05 * 1.001


def test_noise_is_as_large_as_promised_even_when_nobody_is_drawn(
    shared: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients = gradients_of(make_private(tmp_path / "work", shared, dp={"max_grad_norm": 0.5}))
    monkeypatch.setattr(gradients, "drawn", lambda _step: [])
    result = gradients.compute(np.zeros(0, dtype=np.int64), 3, stop=False)
    first = gradients.flat.clone()
    assert first.std().item() == pytest.approx(gradients.plan.mechanism.noise_multiplier * 0.5 / 16, rel=0.02)
    assert (result.totals.examples, result.loss) == (0, 0.0)
    gradients.compute(np.zeros(0, dtype=np.int64), 4, stop=False)
    assert abs(torch.corrcoef(torch.stack([first, gradients.flat]))[0, 1].item()) < 0.05


def test_each_shopper_is_drawn_by_the_same_chance_and_of_many_examples_some(shared: Toy, tmp_path: Path) -> None:
    work = make_private(tmp_path / "work", shared, dp={"examples_per_shopper": 2})
    gradients = gradients_of(work)
    counts = np.zeros(SHOPPERS)
    sizes = []
    for step in range(400):
        drawn = gradients.drawn(step)
        counts[drawn] += 1
        sizes.append(len(drawn))
    # A step's size varies as a binomial does: with a fixed size the accountant would be wrong.
    assert np.mean(sizes) == pytest.approx(16, abs=0.6)
    assert np.std(sizes) == pytest.approx(np.sqrt(SHOPPERS * 0.4 * 0.6), rel=0.2)
    assert counts.min() > 110
    assert counts.max() < 210
    result = gradients.compute(np.zeros(0, dtype=np.int64), 0, stop=False)
    assert result.totals.examples == 2 * len(gradients.drawn(0))


def test_what_is_not_finite_adds_nothing(shared: Toy, tmp_path: Path) -> None:
    gradients = gradients_of(make_private(tmp_path / "work", shared))
    gradients.data.targets[gradients.rows_of[2][0]] = np.nan
    nobody = np.zeros(0, dtype=np.int64)
    plan = Plan(gradients.rows_of[2], nobody, nobody, Totals(examples=4, targets=0, buyers=0.0))
    assert gradients.clipped(plan, 0) is None
    assert not gradients.flat.any()


def test_stopped_and_started_again_it_goes_on_to_the_same_bits_with_its_own_key(shared: Toy, tmp_path: Path) -> None:
    whole, stopped, other = (make_private(tmp_path / name, shared) for name in ("whole", "stopped", "other"))
    for work in (whole, stopped):
        work.noise_key.write_text("5" * 32)
    assert train_here(whole) == 0
    stop_after(stopped, 1)
    stop_after(stopped, 1)
    assert train_here(stopped) == 0
    assert_same(stopped, whole)
    assert train_here(other) == 0
    assert other.noise_key.stat().st_mode & 0o777 == 0o600
    ours, theirs = load_file(other.last), load_file(whole.last)
    assert not torch.equal(ours["model.backbone.wpe.weight"], theirs["model.backbone.wpe.weight"])
    other.noise_key.unlink()
    assert "key of its noise" in str(refusal_of(other).problem)


def refusal_of(work: WorkFolder) -> Any:
    assert train_here(work) == EXIT_REFUSED
    return work.read_outcome()


def test_too_large_a_delta_is_refused_before_the_first_step(shared: Toy, tmp_path: Path) -> None:
    work = make_private(tmp_path / "work", shared, dp={"delta": 0.025})
    outcome = refusal(work)
    assert "40 shoppers" in str(outcome.found)
    assert "1 / 40" in str(outcome.expected)
    assert outcome.next_step == "--set privacy.dp.delta=0.001"
    assert not work.last.exists()


def test_the_last_epoch_is_kept_whatever_validation_says(
    shared: Toy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    work = make_private(tmp_path / "work", shared, epochs=3, patience=1, learning_rate=0.05)
    with caplog.at_level(logging.INFO, "behavior"):
        assert train_here(work) == 0
    epochs = work.read_metrics()
    spent = [float(epoch.epsilon or 0) for epoch in epochs]
    assert [epoch.step for epoch in epochs] == [3, 6, 9]
    assert 0 < spent[0] < spent[1] < spent[2] <= 3.0
    assert best_epoch(epochs) is epochs[-1]
    assert "about 16 of 40 shoppers" in caplog.text
    last, best = load_file(work.last), load_file(work.best)
    assert torch.equal(last["model.purchase.weight"], best["model.purchase.weight"])


def test_what_diverged_is_not_tried_again_as_its_steps_are_spent(
    shared: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = make_private(tmp_path / "work", shared)
    compute = PrivateGradients.compute

    def poisoned(self: PrivateGradients, rows: np.ndarray, step: int, *, stop: bool) -> Any:
        result = compute(self, rows, step, stop=stop)
        self.flat.fill_(float("nan"))
        return result

    monkeypatch.setattr(PrivateGradients, "compute", poisoned)
    assert "diverged" in str(refusal(work).problem)


def test_opacus_is_imported_only_where_it_is_needed() -> None:
    files = {path: path.read_text(encoding="utf-8") for path in (PROJECT / "behavior_tasks").rglob("*.py")}
    assert [path.name for path, text in files.items() if re.search(r"^(from|import) opacus", text, re.MULTILINE)] == []
    assert [path.name for path, text in files.items() if "import" in text and "opacus" in text] == ["accounting.py"]
