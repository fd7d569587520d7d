"""Scoring reads the last state alone, large batches in fused kernels; it must be what the whole reading ends in."""

from typing import Literal

import pytest
import torch

from behavior_tasks.base.config import ModelConfig
from behavior_tasks.model import fused
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


def test_a_large_batch_is_read_in_fused_kernels_to_the_same_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    config = ModelConfig(size="tiny", max_tokens=64)
    model = build_scratch(config, vocabulary=50, inputs=Inputs(numbers=None, amounts=True)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    examples = fused.FEWEST_ROWS // 60 + 3
    batch = Batch(
        tokens_BT=torch.randint(50, (examples, 61)),
        lengths_B=torch.randint(1, 62, (examples,)),
        numbers_BF=torch.zeros(examples, 0),
    )
    with torch.inference_mode():
        whole, scored = model(batch), model.score(batch)
        monkeypatch.setattr(fused, "FEWEST_ROWS", 10**9)
        unfused = model.score(batch)
    assert whole.purchase_B.std() > 0.1
    assert not torch.equal(scored.purchase_B, unfused.purchase_B), "other kernels round otherwise"
    torch.testing.assert_close(scored.purchase_B, whole.purchase_B, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(scored.amount_mean_B, whole.amount_mean_B, atol=2e-5, rtol=1e-5)
    # What learns must be able to go back through what was read.
    assert model.score(batch).purchase_B.requires_grad
