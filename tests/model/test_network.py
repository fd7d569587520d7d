import math
from pathlib import Path

import numpy as np
import pytest
import torch

from behavior_tasks.base.config import ModelConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.model.backbones import SIZES, right_to_left, token_embedding
from behavior_tasks.model.batches import Batch
from behavior_tasks.model.language import hide
from behavior_tasks.model.network import BehaviorModel, Inputs, build_scratch, load_model, save_model
from behavior_tasks.model.numbers import NumberEncoding, fit_numbers

VOCABULARY, MASK = 40, 2
ARCHITECTURES = ("gpt2", "bert")


def encoding() -> NumberEncoding:
    return fit_numbers(np.random.default_rng(3).standard_normal((50, 2)), ["a", "b"])


def build(architecture: str = "gpt2", size: str = "tiny", dropout: float = 0.1, amounts: bool = True) -> BehaviorModel:
    config = ModelConfig.model_validate(
        {"architecture": architecture, "size": size, "max_tokens": 16, "dropout": dropout}
    )
    torch.manual_seed(0)
    inputs = Inputs(numbers=encoding(), amounts=amounts, mask=MASK)
    return build_scratch(config, vocabulary=VOCABULARY, inputs=inputs)


def make(ids: list[list[int]], lengths: list[int], numbers: list[list[float]] | None = None) -> Batch:
    numbers_BF = torch.tensor(numbers or [[0.5, 0.0]] * len(ids))
    return Batch(tokens_BT=torch.tensor(ids), lengths_B=torch.tensor(lengths), numbers_BF=numbers_BF)


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> BehaviorModel:
    """A model whose every head says something, as after a training."""
    model = build(request.param).eval()
    for parameter in model.parameters():
        if parameter.numel() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def logit(model: BehaviorModel, ids: list[int], length: int) -> float:
    with torch.inference_mode():
        return model(make([ids], [length])).purchase_B.item()


def test_the_purchase_is_read_at_the_last_real_token(model: BehaviorModel) -> None:
    bare = logit(model, [5, 6, 7], 3)
    assert logit(model, [5, 6, 7, 0, 0], 3) == pytest.approx(bare, abs=1e-5)
    assert logit(model, [5, 6, 7, 9, 9], 3) == pytest.approx(bare, abs=1e-5)
    assert logit(model, [5, 6, 8], 3) != pytest.approx(bare, abs=1e-3)
    assert logit(model, [4, 6, 7], 3) != pytest.approx(bare, abs=1e-3)
    assert logit(model, [5, 6, 7], 2) == pytest.approx(logit(model, [5, 6], 2), abs=1e-5)


def test_padding_on_either_side_changes_nothing(model: BehaviorModel) -> None:
    ids, lengths = [[5, 6, 7, 8, 9], [3, 1, 4, 0, 0], [11, 0, 0, 0, 0]], [5, 3, 1]
    numbers = [[0.1, -0.4], [math.nan, 2.0], [0.0, math.nan]]
    right = make(ids, lengths, numbers)
    left = Batch(
        tokens_BT=torch.tensor([[5, 6, 7, 8, 9], [0, 0, 3, 1, 4], [0, 0, 0, 0, 11]]),
        lengths_B=right.lengths_B,
        numbers_BF=right.numbers_BF,
        left_padded=True,
    )
    with torch.inference_mode():
        outputs = [model(right), model(left)]
        for row, length in enumerate(lengths):
            alone = model(make([ids[row][:length]], [length], [numbers[row]]))
            for found in outputs:
                torch.testing.assert_close(found.purchase_B[row], alone.purchase_B[0], atol=1e-5, rtol=1e-5)
                torch.testing.assert_close(found.amount_mean_B[row], alone.amount_mean_B[0], atol=1e-5, rtol=1e-5)
            real = slice(5 - length, 5)
            torch.testing.assert_close(outputs[0].hidden_BTD[row, :length], alone.hidden_BTD[0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(outputs[1].hidden_BTD[row, real], alone.hidden_BTD[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gpt2_reads_one_way_and_bert_both(architecture: str) -> None:
    model = build(architecture).eval()
    with torch.inference_mode():
        one, other = (model(make([[5, 6, last]], [3])).hidden_BTD[0, 0] for last in (7, 8))
    assert torch.equal(one, other) == (architecture == "gpt2")


def test_gpt2s_next_token_loss_is_the_cross_entropy_of_the_token_that_follows() -> None:
    model = build("gpt2").eval()
    batch = make([[5, 6, 7], [8, 9, 0]], [3, 2])
    with torch.inference_mode():
        hidden_BTD = model(batch).hidden_BTD
        loss = model.next_token_loss(batch, hidden_BTD, torch.tensor([1, 3]))
        chances_BTV = (hidden_BTD @ model.backbone.wte.weight.T).softmax(-1)
    expected = -(math.log(chances_BTV[0, 1, 7]) + math.log(chances_BTV[1, 0, 9])) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("left_padded", [False, True])
def test_berts_next_token_loss_is_the_cross_entropy_of_the_hidden_tokens(left_padded: bool) -> None:
    model = build("bert").eval()
    right = make([[5, 6, 7, 8], [9, 3, 0, 0], [8, 9, 7, 0]], [4, 2, 3])
    batch, asked = right, torch.tensor([1, 3, 9])
    if left_padded:
        tokens_BT = right_to_left(right.tokens_BT, right.lengths_B)
        batch = Batch(tokens_BT=tokens_BT, lengths_B=right.lengths_B, numbers_BF=right.numbers_BF, left_padded=True)
        asked = torch.tensor([1, 3, 10])
    with torch.inference_mode():
        torch.manual_seed(4)
        hidden = hide(batch.tokens_BT, asked, mask=MASK, vocabulary=VOCABULARY).flatten()[asked].tolist()
        assert MASK in hidden
        torch.manual_seed(4)
        loss = model.next_token_loss(batch, model(batch).hidden_BTD, asked)
        first = model.next_token_logits(model(make([[5, hidden[0], 7, hidden[1]]], [4])).hidden_BTD[0])
        third = model.next_token_logits(model(make([[8, hidden[2], 7]], [3])).hidden_BTD[0])
    chances = [first[1].softmax(0)[6], first[3].softmax(0)[8], third[1].softmax(0)[9]]
    assert loss.item() == pytest.approx(-sum(math.log(chance) for chance in chances) / 3, rel=1e-5)


def test_of_the_tokens_asked_for_eight_in_ten_are_hidden_and_one_replaced() -> None:
    torch.manual_seed(1)
    tokens_BT = torch.full((50, 400), 7)
    asked = torch.arange(0, 20_000, 2)
    new = hide(tokens_BT, asked, mask=MASK, vocabulary=1000).flatten()
    assert (new[1::2] == 7).all()
    shares = [(new[asked] == MASK).float().mean(), (new[asked] == 7).float().mean()]
    assert shares == pytest.approx([0.8, 0.1], abs=0.015)
    # Any token, not always the same.
    assert new[asked].unique().numel() > 500
    torch.manual_seed(1)
    assert torch.equal(hide(tokens_BT, asked, mask=MASK, vocabulary=1000).flatten(), new)


def test_the_positions_asked_for_are_real_ones_and_follow_from_the_seed() -> None:
    lengths = np.random.default_rng(0).integers(1, 30, 400)
    for architecture, share in (("gpt2", 0.25), ("bert", 0.25 * 0.15)):
        model = build(architecture)
        examples, places = model.draw_targets(lengths, 5)
        assert len(examples) == pytest.approx(share * lengths.sum(), rel=0.2)
        # GPT-2 is asked for the token that follows, so the last position is none.
        assert (places < lengths[examples] - (architecture == "gpt2")).all()
        assert (np.diff(examples * 100 + places) > 0).all()
        assert np.array_equal(model.draw_targets(lengths, 5)[1], places)
        assert not np.array_equal(model.draw_targets(lengths, 6)[1][:50], places[:50])
        alone, _ = model.draw_targets(np.array([1]), 5)
        assert len(alone) == (architecture == "bert")


def test_bert_is_never_asked_for_the_frame_and_not_at_all_without_a_mask() -> None:
    config = ModelConfig.model_validate({"architecture": "bert", "size": "tiny", "max_tokens": 16})
    framed = build_scratch(config, vocabulary=9, inputs=Inputs(numbers=None, amounts=False, mask=3, frame=(1, 1)))
    lengths = np.full(300, 5)
    _, places = framed.draw_targets(lengths, 1)
    assert set(places) == {1, 2, 3}
    assert framed.heads == ("purchase", "next_token")
    without = build_scratch(config, vocabulary=9, inputs=Inputs(numbers=None, amounts=False))
    assert without.heads == ("purchase",)
    assert len(without.draw_targets(lengths, 1)[0]) == 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_training_begins_at_the_bias_whatever_the_text_and_the_numbers(architecture: str) -> None:
    model = build(architecture).eval()
    torch.nn.init.constant_(model.purchase.bias, -2.0)
    with torch.inference_mode():
        logits_B = model(make([[5, 6], [7, 8]], [2, 2], [[9.0, -9.0], [0.0, math.nan]])).purchase_B
    assert logits_B.tolist() == pytest.approx([-2.0, -2.0], abs=0.05)


def test_numbers_move_purchase_and_amount(model: BehaviorModel) -> None:
    with torch.inference_mode():
        outputs = model(make([[5, 6], [5, 6], [5, 6]], [2, 2, 2], [[0.0, 0.0], [1.0, 0.0], [0.0, math.nan]]))
    for told in (outputs.purchase_B, outputs.amount_mean_B):
        assert len({round(value, 4) for value in told.tolist()}) == 3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_without_numbers_each_token_has_a_weight_of_its_own(architecture: str) -> None:
    config = ModelConfig.model_validate({"architecture": architecture, "size": "tiny", "max_tokens": 16})
    model = build_scratch(config, vocabulary=VOCABULARY, inputs=Inputs(numbers=None, amounts=True)).eval()
    torch.nn.init.constant_(model.token_weight.weight, 0.25)
    batch = Batch(tokens_BT=torch.tensor([[5, 6, 7]] * 2), lengths_B=torch.tensor([3, 2]), numbers_BF=torch.zeros(2, 0))
    with torch.inference_mode():
        assert model(batch).purchase_B.tolist() == [0.75, 0.5]
    assert "token_weight.weight" not in build(architecture).state_dict()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_head_without_data_is_off(architecture: str) -> None:
    model = build(architecture, amounts=False)
    outputs = model(make([[5]], [1]))
    assert outputs.amount_mean_B is None
    assert outputs.amount_log_std_B is None
    assert model.heads == ("purchase", "next_token")
    assert not [name for name in model.state_dict() if name.startswith("amount")]


def test_a_model_survives_its_folder(model: BehaviorModel, tmp_path: Path) -> None:
    save_model(model, tmp_path, max_tokens=16)
    assert {file.name for file in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    back = load_model(tmp_path)
    assert not back.training
    assert back.inputs == model.inputs
    assert logit(back, [5, 6, 7], 3) == logit(model, [5, 6, 7], 3)
    batch, asked = make([[5, 6, 7]], [3]), torch.tensor([1])
    losses = []
    for each in (model, back):
        torch.manual_seed(0)
        losses.append(each.next_token_loss(batch, each(batch).hidden_BTD, asked).item())
    assert losses[0] == losses[1]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_sizes_are_what_they_say(architecture: str) -> None:
    for name, size in SIZES.items():
        model = build(architecture, name, 0.0)
        config = model.backbone.config
        assert token_embedding(model.backbone).weight.shape == (VOCABULARY, size.width)
        assert config.max_position_embeddings == 16
        assert (config.num_hidden_layers, config.num_attention_heads) == (size.layers, size.heads)
        assert all(np.isfinite(p.detach().numpy()).all() for p in model.parameters())


@pytest.mark.parametrize(
    "damage", ["no_folder", "no_weights", "other_format", "cut_weights", "other_sizes", "no_backbone", "not_json"]
)
def test_a_damaged_bundle_is_named_without_its_path(model: BehaviorModel, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "model"
    weights, config = folder / "model.safetensors", folder / "config.json"
    if damage != "no_folder":
        folder.mkdir()
        save_model(model, folder, max_tokens=16)
    if damage == "no_weights":
        weights.unlink()
    if damage == "other_format":
        config.write_text('{"format": "behavior-gpt2-wide/1"}')
    if damage == "not_json":
        config.write_text("{")
    if damage == "cut_weights":
        weights.write_bytes(weights.read_bytes()[:500])
    if damage == "other_sizes":
        config.write_text(config.read_text().replace('"vocab_size": 40', '"vocab_size": 41'))
    if damage == "no_backbone":
        config.write_text(config.read_text().replace('"backbone"', '"back"'))
    with pytest.raises(UserError, match="The model folder model can't be read") as caught:
        load_model(folder)
    assert str(tmp_path) not in str(caught.value)
    assert "train again" in str(caught.value.next_step)
