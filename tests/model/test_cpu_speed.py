import pytest
import torch

from behavior_tasks.model.cpu_speed import ByteDropout


@pytest.mark.parametrize("probability", [0.1, 0.2, 0.5])
def test_dropout_drops_the_share_and_keeps_the_mean(probability: float) -> None:
    torch.manual_seed(0)
    dropout = ByteDropout(probability)
    values = torch.ones(300, 7, 101)
    found = dropout(values)
    assert (found == 0).float().mean().item() == pytest.approx(probability, abs=0.004)
    assert found.mean().item() == pytest.approx(1.0, abs=0.01)
    assert len(found.unique()) == 2
    # Every one of the eight bytes of a draw drops as often, and the next call drops others.
    bytes_of = (found.flatten()[: 8 * 20_000].view(-1, 8) == 0).float().mean(0)
    torch.testing.assert_close(bytes_of, torch.full((8,), probability), atol=0.012, rtol=0)
    assert not torch.equal(dropout(values), found)


def test_dropout_is_decided_by_the_seed_and_off_when_scoring() -> None:
    dropout, values = ByteDropout(0.3), torch.ones(5, 5)
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(dropout(values))
    assert torch.equal(found[0], found[1])
    assert torch.equal(dropout.eval()(values), values)
    assert torch.equal(ByteDropout(0.0)(values), values)


def test_only_what_is_kept_has_gradients() -> None:
    torch.manual_seed(0)
    values = torch.ones(100, requires_grad=True)
    found = ByteDropout(0.5)(values)
    found.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, found.detach())
