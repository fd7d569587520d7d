"""A batch's gradients: the same however the batch is cut, and whatever the memory holds."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from behavior_tasks.base.errors import UserError
from behavior_tasks.model.batches import Batch
from behavior_tasks.model.gradients import BatchGradients, BatchResult
from behavior_tasks.model.network import BehaviorModel, Outputs
from behavior_tasks.model.trainer import Trainer
from tests.model.toy import Toy, kept_as_it_is, make_work

ROWS = np.arange(3, 160, 5)
STILL = {"dropout": 0.0}


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    with kept_as_it_is():
        yield


def gradients_of(toy: Toy, folder: Path, **settings: Any) -> BatchGradients:
    model = STILL | settings.pop("model", {})
    return Trainer(make_work(folder / "work", toy, model=model, **settings), lambda: False).gradients


def compute(toy: Toy, folder: Path, **settings: Any) -> tuple[torch.Tensor, BatchResult]:
    gradients = gradients_of(toy, folder, **settings)
    result = gradients.compute(ROWS, 0, stop=False)
    return gradients.flat.clone(), result


@pytest.fixture(scope="module")
def whole(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.Tensor, BatchResult]:
    with kept_as_it_is():
        return compute(toy, tmp_path_factory.mktemp("whole"))


def assert_equal(found: tuple[torch.Tensor, BatchResult], expected: tuple[torch.Tensor, BatchResult]) -> None:
    torch.testing.assert_close(found[0], expected[0], atol=1e-6, rtol=1e-5)
    for name in ("purchase", "next_token", "amount", "loss", "gradient_norm"):
        assert getattr(found[1], name) == pytest.approx(getattr(expected[1], name), rel=1e-5)
    assert (found[1].totals, found[1].tokens) == (expected[1].totals, expected[1].tokens)


def fail_above(monkeypatch: pytest.MonkeyPatch, tokens: int, error: type[RuntimeError], words: str) -> list[int]:
    """Let the network run out of memory above so many padded tokens; return the sizes that it was given."""
    forward, given = BehaviorModel.forward, []

    def forward_within(self: BehaviorModel, batch: Batch) -> Outputs:
        given.append(batch.tokens_BT.numel())
        if batch.tokens_BT.numel() > tokens:
            raise error(words)
        return forward(self, batch)

    monkeypatch.setattr(BehaviorModel, "forward", forward_within)
    return given


def test_pieces_give_the_gradients_of_the_whole_batch(
    toy: Toy, whole: tuple[torch.Tensor, BatchResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = fail_above(monkeypatch, 64, AssertionError, "too many tokens at once")  # type: ignore[arg-type]
    assert_equal(compute(toy, tmp_path, batch_tokens=64), whole)
    assert len(given) > 3


def test_the_gradients_are_those_of_the_loss(toy: Toy, tmp_path: Path) -> None:
    gradients = gradients_of(toy, tmp_path)
    bias = gradients.objective.model.purchase.bias
    losses = []
    for nudge in (0.0, 1e-2, -2e-2):
        bias.data += nudge
        losses.append(gradients.compute(ROWS, 0, stop=False))
        if nudge == 0.0:
            assert bias.grad is not None
            slope = bias.grad.item() * max(1.0, losses[0].gradient_norm)
    assert slope == pytest.approx((losses[1].loss - losses[2].loss) / 2e-2, rel=0.01)


def test_a_norm_above_one_is_clipped_to_one(toy: Toy, tmp_path: Path) -> None:
    flat, result = compute(toy, tmp_path, amount_weight=10, next_token_weight=10)
    assert result.gradient_norm > 1.5
    assert flat.norm().item() == pytest.approx(1.0, abs=1e-4)


def test_recomputing_activations_changes_nothing(
    toy: Toy, whole: tuple[torch.Tensor, BatchResult], tmp_path: Path
) -> None:
    assert_equal(compute(toy, tmp_path / "a", gradient_checkpointing=True), whole)
    dropped = {"dropout": 0.3}
    plain, again = (
        compute(toy, tmp_path / str(flag), model=dropped, gradient_checkpointing=flag) for flag in (False, True)
    )
    assert_equal(again, plain)
    assert plain[1].loss != pytest.approx(whole[1].loss, rel=1e-4)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.cuda.OutOfMemoryError, "CUDA out of memory. Tried to allocate 2.00 GiB."),
        (RuntimeError, "DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    ],
)
def test_out_of_memory_the_pieces_are_halved_and_the_batch_stays(
    toy: Toy,
    whole: tuple[torch.Tensor, BatchResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: type[RuntimeError],
    words: str,
) -> None:
    gradients = gradients_of(toy, tmp_path)
    given = fail_above(monkeypatch, 100, error, words)
    with caplog.at_level(logging.WARNING, "behavior"):
        result = gradients.compute(ROWS, 0, stop=False)
    assert_equal((gradients.flat, result), whole)
    assert 50 <= gradients.batch_tokens <= 100
    assert "train.batch_tokens" in caplog.text
    # What fits is remembered: nothing fails a second time.
    given.clear()
    gradients.compute(ROWS, 1, stop=False)
    assert max(given) <= 100


def test_an_example_that_does_not_fit_alone_is_refused(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients = gradients_of(toy, tmp_path)
    fail_above(monkeypatch, 5, torch.cuda.OutOfMemoryError, "CUDA out of memory. Tried to allocate 2.00 GiB.")
    with pytest.raises(UserError, match="even one example") as caught:
        gradients.compute(ROWS, 0, stop=False)
    assert "CUDA out of memory" in str(caught.value.found)
    assert "train.gradient_checkpointing" in str(caught.value.next_step)


def test_another_error_is_not_taken_for_a_full_memory(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients = gradients_of(toy, tmp_path)
    fail_above(monkeypatch, 100, RuntimeError, "mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        gradients.compute(ROWS, 0, stop=False)
