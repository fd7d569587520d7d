import sys
from pathlib import Path

import pytest
import torch

from behavior_tasks.base.config import ModelConfig
from behavior_tasks.model.backbones import token_embedding
from behavior_tasks.model.batches import Batch
from behavior_tasks.model.checkpoint import Position, load_checkpoint, save_checkpoint
from behavior_tasks.model.groups import parameter_groups
from behavior_tasks.model.network import BehaviorModel, Inputs, load_model, save_model
from behavior_tasks.model.pretrained import build_pretrained
from tests.model.test_pretrained import publish

KINDS = ("gpt2", "bert")
RANK = 2


def build(folder: Path, *, vocabulary: int = 50, seed: int = 0) -> BehaviorModel:
    torch.manual_seed(seed)
    config = ModelConfig(checkpoint=str(folder), max_tokens=32, dropout=0.1, lora_rank=RANK)
    return build_pretrained(config, vocabulary=vocabulary, inputs=Inputs(numbers=None, amounts=True, mask=4))


def batch_of(step: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    tokens_BT = torch.randint(50, (6, 8), generator=generator)
    return Batch(tokens_BT=tokens_BT, lengths_B=torch.full((6,), 8), numbers_BF=torch.zeros(6, 0))


def optimiser_of(model: BehaviorModel) -> torch.optim.Optimizer:
    return torch.optim.AdamW([dict(group) for group in parameter_groups(model, 0.01)], lr=0.01)


def train(model: BehaviorModel, optimiser: torch.optim.Optimizer, steps: range) -> None:
    """Learn whether a text begins with a small number, beside what the other heads want."""
    model.train()
    for step in steps:
        torch.manual_seed(step)
        batch = batch_of(step)
        outputs = model(batch)
        assert outputs.amount_mean_B is not None
        assert outputs.amount_log_std_B is not None
        labels_B = (batch.tokens_BT[:, 0] < 25).float()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(outputs.purchase_B, labels_B)
        loss = loss + model.next_token_loss(batch, outputs.hidden_BTD, torch.tensor([1, 5, 12]))
        loss = loss + (outputs.amount_mean_B - 1).square().mean() + outputs.amount_log_std_B.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def moved(model: BehaviorModel, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_and_heads_move_and_the_checkpoints_weights_do_not(tmp_path: Path, kind: str) -> None:
    model = build(publish(tmp_path / kind, kind))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train(model, optimiser_of(model), range(3))
    adapters = {name for name in before if ".lora_" in name}
    heads = {name for name, _ in model.named_parameters() if not name.startswith("backbone.")}
    # Two matrices for each of four or six linear maps of the two layers.
    assert len(adapters) == 2 * 2 * (4 if kind == "gpt2" else 6)
    assert moved(model, before) == adapters | heads


@pytest.mark.parametrize("kind", KINDS)
def test_before_the_first_step_a_model_is_its_checkpoint(tmp_path: Path, kind: str) -> None:
    folder = publish(tmp_path / kind, kind)
    config = ModelConfig(checkpoint=str(folder), max_tokens=32, dropout=0.1)
    plain = build_pretrained(config, vocabulary=50, inputs=Inputs(numbers=None, amounts=False)).eval()
    with torch.inference_mode():
        assert torch.equal(build(folder).eval()(batch_of(0)).hidden_BTD, plain(batch_of(0)).hidden_BTD)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_holds_the_sums_and_needs_no_peft(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(publish(tmp_path / kind, kind))
    train(model, optimiser_of(model), range(5))
    model.eval()
    save_model(model, tmp_path, max_tokens=32)
    for name in [name for name in sys.modules if name.partition(".")[0] == "peft"]:
        monkeypatch.setitem(sys.modules, name, None)
    back = load_model(tmp_path)
    assert not [name for name in back.state_dict() if "lora" in name or "base_layer" in name]
    with torch.inference_mode():
        found, expected = back(batch_of(9)), model(batch_of(9))
    torch.testing.assert_close(found.hidden_BTD, expected.hidden_BTD, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.purchase_B, expected.purchase_B, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_with_adapters_goes_on_to_the_same_bits(tmp_path: Path, kind: str) -> None:
    folder = publish(tmp_path / kind, kind)
    whole = build(folder)
    train(whole, optimiser_of(whole), range(4))
    first = build(folder)
    optimiser = optimiser_of(first)
    train(first, optimiser, range(2))
    save_checkpoint(tmp_path / "last.safetensors", first, optimiser, Position(step=2))
    # Another seed: what the adapters are must come from the file.
    second = build(folder, seed=1)
    optimiser = optimiser_of(second)
    assert load_checkpoint(tmp_path / "last.safetensors", second, optimiser).step == 2
    train(second, optimiser, range(2, 4))
    assert moved(second, whole.state_dict()) == set()


@pytest.mark.parametrize("kind", KINDS)
def test_the_rows_of_added_tokens_are_learned(tmp_path: Path, kind: str) -> None:
    folder = publish(tmp_path / kind, kind)
    assert not token_embedding(build(folder).backbone).weight.requires_grad
    assert token_embedding(build(folder, vocabulary=52).backbone).weight.requires_grad
