import math
from pathlib import Path

import numpy as np
import pytest
import torch

from behavior_tasks.base.config import ModelConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.model.batches import Batch
from behavior_tasks.model.network import SIZES, BehaviorModel, Inputs, build_scratch, load_model, save_model
from behavior_tasks.model.numbers import NumberEncoding

VOCABULARY = 40
NUMBERS = NumberEncoding(names=("a", "b"), edges=((0.0, 1.0, 3.0), (-1.0, 1.0)))
INPUTS = Inputs(numbers=NUMBERS, amounts=True)


def build(size: str = "tiny", dropout: float = 0.1) -> BehaviorModel:
    config = ModelConfig.model_validate({"size": size, "max_tokens": 16, "dropout": dropout})
    return build_scratch(config, vocabulary=VOCABULARY, inputs=INPUTS)


def make(ids: list[list[int]], lengths: list[int], numbers: list[list[float]] | None = None) -> Batch:
    numbers_BF = torch.tensor(numbers or [[0.5, 0.0]] * len(ids))
    return Batch(tokens_BT=torch.tensor(ids), lengths_B=torch.tensor(lengths), numbers_BF=numbers_BF)


@pytest.fixture
def model() -> BehaviorModel:
    torch.manual_seed(0)
    model = build().eval()
    torch.nn.init.normal_(model.purchase.weight)
    return model


def logit(model: BehaviorModel, ids: list[int], length: int) -> float:
    with torch.inference_mode():
        return model(make([ids], [length])).purchase_B.item()


def test_the_purchase_is_read_at_the_last_real_token(model: BehaviorModel) -> None:
    bare = logit(model, [5, 6, 7], 3)
    assert logit(model, [5, 6, 7, 0, 0], 3) == pytest.approx(bare, abs=1e-6)
    assert logit(model, [5, 6, 7, 9, 9], 3) == pytest.approx(bare, abs=1e-6)
    assert logit(model, [5, 6, 8], 3) != pytest.approx(bare, abs=1e-3)
    assert logit(model, [4, 6, 7], 3) != pytest.approx(bare, abs=1e-3)
    assert logit(model, [5, 6, 7], 2) == pytest.approx(logit(model, [5, 6], 2), abs=1e-6)


def test_the_next_token_loss_is_the_cross_entropy_of_the_token_that_follows(model: BehaviorModel) -> None:
    tokens_BT = torch.tensor([[5, 6, 7], [8, 9, 0]])
    with torch.inference_mode():
        hidden_BTD = model(make([[5, 6, 7], [8, 9, 0]], [3, 2])).hidden_BTD
        loss = model.next_token_loss(hidden_BTD, tokens_BT, torch.tensor([1, 3]))
        chances_BTV = (hidden_BTD @ model.backbone.wte.weight.T).softmax(-1)
    expected = -(math.log(chances_BTV[0, 1, 7]) + math.log(chances_BTV[1, 0, 9])) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_model_survives_its_folder(model: BehaviorModel, tmp_path: Path) -> None:
    save_model(model, tmp_path, max_tokens=16)
    assert {file.name for file in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    back = load_model(tmp_path)
    assert not back.training
    assert logit(back, [5, 6, 7], 3) == logit(model, [5, 6, 7], 3)


def test_the_sizes_are_what_they_say() -> None:
    for name, size in SIZES.items():
        model = build(name, 0.0)
        assert model.backbone.wte.weight.shape == (VOCABULARY, size.width)
        assert model.backbone.wpe.weight.shape == (16, size.width)
        assert len(model.backbone.h) == size.layers
        assert all(np.isfinite(p.detach().numpy()).all() for p in model.parameters())


@pytest.mark.parametrize("damage", ["no_folder", "no_weights", "other_format", "cut_weights"])
def test_a_damaged_bundle_is_named_without_its_path(model: BehaviorModel, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "model"
    if damage != "no_folder":
        folder.mkdir()
        save_model(model, folder, max_tokens=16)
    if damage == "no_weights":
        (folder / "model.safetensors").unlink()
    if damage == "other_format":
        (folder / "config.json").write_text('{"format": "behavior-bert/9"}')
    if damage == "cut_weights":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:500])
    with pytest.raises(UserError, match="The model folder model can't be read") as caught:
        load_model(folder)
    assert str(tmp_path) not in str(caught.value)
