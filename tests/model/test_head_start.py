"""The head start: numbers are learned before the text, and for no longer than it helps."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from behavior_tasks.base.config import ModelConfig, TrainConfig
from behavior_tasks.model.head_start import give_head_start
from behavior_tasks.model.network import BehaviorModel
from behavior_tasks.model.new_model import build_model
from behavior_tasks.model.predict import run_model
from behavior_tasks.model.training_data import TrainingData
from tests.model.toy import MODEL, make_toy


def prepare(folder: Path, *, told: bool, epochs: int) -> tuple[BehaviorModel, TrainingData]:
    """A toy whose second number tells the label, or whose numbers tell nothing."""
    toy = make_toy(folder, train_examples=400)
    if told:
        numbers = np.load(toy.encode / "numbers.npy")
        numbers[:, 1] += 3 * toy.labels
        np.save(toy.encode / "numbers.npy", numbers)
    settings = TrainConfig(number_epochs=epochs, threads=1, seed=3)
    data = TrainingData.load(toy.encode, settings)
    return build_model(ModelConfig.model_validate(MODEL), data), data


def log_loss(model: BehaviorModel, data: TrainingData) -> float:
    rows = data.validation_rows
    chances = run_model(model, data.sequences, rows, device=torch.device("cpu")).probability
    return float(-np.log(np.where(data.labels[rows] == 1, chances, 1 - chances)).mean())


def test_what_the_numbers_tell_is_known_before_the_text_is_read(tmp_path: Path) -> None:
    model, data = prepare(tmp_path, told=True, epochs=40)
    before = log_loss(model, data)
    text = model.purchase.weight.detach().clone()
    give_head_start(model, data, lambda: None)
    assert log_loss(model, data) < 0.7 * before
    assert torch.equal(model.purchase.weight, text)
    assert torch.count_nonzero(text) == 0


def test_numbers_that_tell_nothing_are_not_learned_by_heart(tmp_path: Path) -> None:
    model, data = prepare(tmp_path, told=False, epochs=100)
    before = log_loss(model, data)
    give_head_start(model, data, lambda: None)
    assert log_loss(model, data) < before + 0.02
    # It is train that a hundred epochs could have told by heart; the first ones are kept.
    rows = data.train_rows
    chances = run_model(model, data.sequences, rows, device=torch.device("cpu")).probability
    assert pd.Series(chances).std() < 0.1


def test_without_epochs_nothing_moves(tmp_path: Path) -> None:
    model, data = prepare(tmp_path, told=True, epochs=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    give_head_start(model, data, lambda: None)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
