import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel, GPT2Model

from behavior_tasks.base.config import ModelConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.model.batches import Batch
from behavior_tasks.model.network import Inputs, load_model
from behavior_tasks.model.pretrained import build_pretrained
from tests.model.toy import WORDS, Toy, make_work, train_here

SMALL = {"vocab_size": 50, "n_positions": 32, "n_embd": 16, "n_layer": 1, "n_head": 2}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A GPT-2 checkpoint as other people publish it: with a language-model head, and its own special tokens."""
    torch.manual_seed(1)
    folder = tmp_path / "small-gpt2"
    GPT2LMHeadModel(GPT2Config(**SMALL, bos_token_id=1, eos_token_id=1)).save_pretrained(folder)
    return folder


def build(checkpoint: Path | str, *, vocabulary: int = 50, max_tokens: int = 32) -> torch.nn.Module:
    config = ModelConfig(checkpoint=str(checkpoint), max_tokens=max_tokens, dropout=0.0)
    return build_pretrained(config, vocabulary=vocabulary, inputs=Inputs(numbers=None, amounts=False))


def test_the_weights_are_the_checkpoints(checkpoint: Path) -> None:
    model = build(checkpoint).eval()
    original = GPT2Model.from_pretrained(checkpoint).eval()
    tokens_BT = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.inference_mode():
        batch = Batch(tokens_BT=tokens_BT, lengths_B=torch.tensor([5]), numbers_BF=torch.zeros(1, 0))
        hidden_BTD = model(batch).hidden_BTD
        expected_BTD = original(input_ids=tokens_BT).last_hidden_state
    torch.testing.assert_close(hidden_BTD, expected_BTD, atol=1e-5, rtol=1e-5)


def test_a_checkpoint_trains_and_its_bundle_stands_alone(checkpoint: Path, toy: Toy, tmp_path: Path) -> None:
    before = build(checkpoint, vocabulary=len(WORDS)).state_dict()
    work = make_work(tmp_path / "work", toy, epochs=1, model={"checkpoint": str(checkpoint)})
    assert train_here(work) == 0
    for file in checkpoint.iterdir():
        file.unlink()
    after = load_model(work.bundle).state_dict()
    assert after.keys() >= before.keys()
    assert after["backbone.wte.weight"].shape == (50, 16)
    moved = (after["backbone.h.0.mlp.c_fc.weight"] - before["backbone.h.0.mlp.c_fc.weight"]).abs().max()
    assert 1e-4 < moved < 0.3


def test_pickled_weights_are_refused_with_the_reason(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    torch.save({}, checkpoint / "pytorch_model.bin")
    with pytest.raises(UserError, match="Pickled weights are refused") as caught:
        build(checkpoint)
    assert caught.value.found == "pytorch_model.bin"


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    BertModel(
        BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ).save_pretrained(folder)
    with pytest.raises(UserError, match="is not a GPT-2") as caught:
        build(folder)
    assert caught.value.found == "model_type bert"
    assert str(tmp_path) not in str(caught.value)


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a GPT-2"):
        build(tmp_path)


def test_too_few_positions_or_token_ids_are_refused(checkpoint: Path) -> None:
    with pytest.raises(UserError, match="n_positions = 32"):
        build(checkpoint, max_tokens=33)
    with pytest.raises(UserError, match="vocab_size = 50"):
        build(checkpoint, vocabulary=51)


def test_a_name_that_leads_nowhere_falls_back_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"no-such-model.*neither a local folder") as caught:
        build("behavior-tests/no-such-model")
    assert "model.checkpoint=scratch" in str(caught.value.next_step)


def test_old_configurations_without_sizes_mean_gpt2s_own(checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    del config["n_positions"]
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="n_positions = 1024"):
        build(checkpoint, max_tokens=1025)
