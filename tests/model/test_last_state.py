"""Scoring reads the last state alone; it must be the one that the whole reading ends in."""

from typing import Literal

import pytest
import torch

from behavior_tasks.base.config import ModelConfig
from behavior_tasks.model.batches import Batch
from behavior_tasks.model.network import Inputs, build_scratch


@pytest.mark.parametrize("architecture", ["gpt2", "bert"])
@pytest.mark.parametrize("left_padded", [False, True])
def test_a_score_is_what_the_whole_reading_says(architecture: Literal["gpt2", "bert"], left_padded: bool) -> None:
    torch.manual_seed(2)
    config = ModelConfig(size="tiny", architecture=architecture, max_tokens=16)
    model = build_scratch(config, vocabulary=50, inputs=Inputs(numbers=None, amounts=True)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    batch = Batch(
        tokens_BT=torch.randint(50, (6, 12)),
        lengths_B=torch.tensor([1, 3, 12, 7, 11, 12]),
        numbers_BF=torch.zeros(6, 0),
        left_padded=left_padded,
    )
    with torch.inference_mode():
        whole, scored = model(batch), model.score(batch)
    assert whole.purchase_B.std() > 0.1
    torch.testing.assert_close(scored.purchase_B, whole.purchase_B, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scored.amount_mean_B, whole.amount_mean_B, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scored.amount_log_std_B, whole.amount_log_std_B, atol=1e-5, rtol=1e-5)
