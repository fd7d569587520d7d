import numpy as np
import pytest
import torch

from behavior_tasks.base.config import ModelConfig
from behavior_tasks.model.batches import Batch
from behavior_tasks.model.groups import parameter_groups
from behavior_tasks.model.network import BehaviorModel, Inputs, build_scratch
from behavior_tasks.model.number_start import NumberExamples, start_with_numbers
from behavior_tasks.model.numbers import fit_numbers

COUNT = 3000


def make_examples(seed: int = 0) -> NumberExamples:
    """Buyers are those whose first number is large, and they pay the more, the larger the second is."""
    random = np.random.default_rng(seed)
    numbers = random.standard_normal((COUNT, 2)).astype(np.float32)
    numbers[::9, 1] = np.nan
    chances = 1 / (1 + np.exp(-(2 * numbers[:, 0] - 1)))
    amounts = np.exp(3 + np.nan_to_num(numbers[:, 1]) + 0.3 * random.standard_normal(COUNT))
    amounts[random.random(COUNT) > chances] = np.nan
    return NumberExamples(numbers=numbers, targets=chances, weights=np.ones(COUNT), amounts=amounts)


def build(examples: NumberExamples) -> BehaviorModel:
    torch.manual_seed(0)
    inputs = Inputs(numbers=fit_numbers(examples.numbers, ["a", "b"]), amounts=True)
    config = ModelConfig.model_validate({"size": "tiny", "max_tokens": 16, "dropout": 0.1})
    model = build_scratch(config, vocabulary=9, inputs=inputs)
    torch.nn.init.constant_(model.purchase.bias, -0.7)
    model.amount.bias.data = torch.tensor([3.0, 0.0])
    return model


def test_the_branch_learns_purchase_and_amount_before_any_text_is_read() -> None:
    examples = make_examples()
    model = build(examples)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    start_with_numbers(model, examples, seed=3, amount_weight=0.5)
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is not None]
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.partition(".")[0] for name in moved} == {"purchase", "amount", "purchase_numbers", "amount_numbers"}
    assert not {"purchase.weight", "amount.weight"} & moved
    other = make_examples(seed=1)
    model.eval()
    rows = 200
    batch = Batch(
        tokens_BT=torch.ones(rows, 3, dtype=torch.int64),
        lengths_B=torch.full((rows,), 3),
        numbers_BF=torch.from_numpy(other.numbers[:rows]),
    )
    with torch.inference_mode():
        # The text tells nothing yet, so this is what the numbers tell.
        outputs = model(batch)
    found = torch.sigmoid(outputs.purchase_B).numpy()
    assert np.corrcoef(found, other.targets[:rows])[0, 1] > 0.95
    # 72 small steps from a share of a third go most of the way.
    assert np.abs(found - other.targets[:rows]).mean() < 0.6 * np.abs(1 / 3 - other.targets[:rows]).mean()
    assert outputs.amount_mean_B is not None
    expected = 3 + np.nan_to_num(other.numbers[:rows, 1])
    assert np.corrcoef(outputs.amount_mean_B.numpy(), expected)[0, 1] > 0.9


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    examples, found = make_examples(), []
    for seed in (3, 3, 4):
        model = build(examples)
        start_with_numbers(model, examples, seed=seed, amount_weight=0.1)
        found.append(model.purchase_numbers.wide.weight)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_without_numbers_there_is_nothing_to_learn() -> None:
    model = build_scratch(
        ModelConfig.model_validate({"size": "tiny", "max_tokens": 16}),
        vocabulary=9,
        inputs=Inputs(numbers=None, amounts=False),
    )
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    start_with_numbers(model, make_examples(), seed=3, amount_weight=0.1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("architecture", ["gpt2", "bert"])
def test_every_weight_is_in_one_group_and_each_moves_at_its_pace(architecture: str) -> None:
    config = ModelConfig.model_validate({"architecture": architecture, "size": "tiny", "max_tokens": 16})
    inputs = Inputs(numbers=fit_numbers(make_examples().numbers, ["a", "b"]), amounts=True, mask=1)
    model = build_scratch(config, vocabulary=9, inputs=inputs)
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, 0.01)
    assert sorted(names[parameter] for group in groups for parameter in group["params"]) == sorted(names.values())
    paces = {names[parameter]: group["rate_factor"] for group in groups for parameter in group["params"]}
    decays = {names[parameter]: group["weight_decay"] for group in groups for parameter in group["params"]}
    assert paces["token_weight.weight"] == 5
    assert {pace for name, pace in paces.items() if "_numbers." in name} == {0.1}
    assert {pace for name, pace in paces.items() if name.startswith("backbone.")} == {1}
    kept = {name for name, decay in decays.items() if decay == 0}
    assert all(name in kept for name in names.values() if name.startswith("backbone.") and "mbedding" in name)
    assert {"purchase.bias", "amount.bias"} <= kept
    assert not {"purchase.weight", "token_weight.weight", "purchase_numbers.wide.weight"} & kept
