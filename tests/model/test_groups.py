from pathlib import Path

import numpy as np
import pytest

from behavior_tasks.base.config import ModelConfig
from behavior_tasks.model.groups import parameter_groups
from behavior_tasks.model.network import Inputs, build_scratch
from behavior_tasks.model.numbers import fit_numbers
from behavior_tasks.model.pretrained import build_pretrained
from tests.model.test_pretrained import publish


@pytest.mark.parametrize("architecture", ["gpt2", "bert"])
@pytest.mark.parametrize("reads_numbers", [True, False])
def test_every_weight_is_in_one_group_and_each_moves_at_its_pace(architecture: str, reads_numbers: bool) -> None:
    config = ModelConfig.model_validate({"architecture": architecture, "size": "tiny", "max_tokens": 16})
    numbers = fit_numbers(np.random.default_rng(0).standard_normal((50, 2)), ["a", "b"]) if reads_numbers else None
    inputs = Inputs(numbers=numbers, amounts=True, mask=1)
    model = build_scratch(config, vocabulary=9, inputs=inputs)
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, 0.01)
    assert sorted(names[parameter] for group in groups for parameter in group["params"]) == sorted(names.values())
    paces = {names[parameter]: group["rate_factor"] for group in groups for parameter in group["params"]}
    decays = {names[parameter]: group["weight_decay"] for group in groups for parameter in group["params"]}
    assert paces.pop("token_weight.weight", 5) == 5
    assert set(paces.values()) == {1}
    kept = {name for name, decay in decays.items() if decay == 0}
    assert all(name in kept for name in names.values() if name.startswith("backbone.") and "mbedding" in name)
    assert {"purchase.bias", "amount.text.bias", "amount.log_std"} <= kept
    assert not {"purchase.weight", "token_weight.weight", "fusion.wide.weight"} & kept
    started = parameter_groups(model, 0.01, numbers_know=True)
    paces = {names[parameter]: group["rate_factor"] for group in started for parameter in group["params"]}
    assert all(paces[name] == 0.1 for name in paces if name.startswith("fusion."))
    assert paces["purchase.weight"] == 1


def test_a_checkpoints_own_weights_move_slower_than_adapters_and_heads(tmp_path: Path) -> None:
    folder = publish(tmp_path / "gpt2", "gpt2")
    for rank in (0, 2):
        config = ModelConfig(checkpoint=str(folder), max_tokens=32, lora_rank=rank)
        model = build_pretrained(config, vocabulary=52, inputs=Inputs(numbers=None, amounts=False))
        paces = {
            parameter: group["rate_factor"] for group in parameter_groups(model, 0.01) for parameter in group["params"]
        }
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not name.startswith("token_weight"):
                assert paces[parameter] == (0.05 if name.startswith("backbone.") and "lora" not in name else 1), name
