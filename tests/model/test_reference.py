import json

import pytest

from tests.model.reference import FILE, STEPS, first_losses


@pytest.mark.parametrize("architecture", ["gpt2", "bert"])
def test_the_first_steps_cost_what_they_did(architecture: str) -> None:
    recorded = json.loads(FILE.read_text())[architecture]
    found = first_losses(architecture)
    assert found.keys() == recorded.keys()
    for head, losses in recorded.items():
        assert len(losses) == STEPS
        assert found[head] == pytest.approx(losses, abs=1e-5), head
