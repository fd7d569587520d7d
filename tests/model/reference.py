"""Reference losses: what the first steps of a training cost, for fixed seeds, as they stand in reference_losses.json.

Whoever changes the maths on purpose records them anew, and says in the commit why they differ:

    python -m tests.model.reference
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, gaussian_nll_loss

from behavior_tasks.base.config import ModelConfig
from behavior_tasks.model.batches import Batch
from behavior_tasks.model.groups import parameter_groups
from behavior_tasks.model.network import Inputs, build_scratch
from behavior_tasks.model.numbers import fit_numbers

FILE = Path(__file__).with_name("reference_losses.json")
STEPS, ROWS, WIDTH, VOCABULARY, MASK = 4, 12, 20, 60, 2
Losses = dict[str, list[float]]


def first_losses(architecture: str) -> Losses:
    """Return the loss of each head in each of the first steps, in nats."""
    random = np.random.default_rng(1)
    numbers = random.lognormal(size=(200, 3))
    numbers[::5, 1] = np.nan
    config = ModelConfig.model_validate(
        {"architecture": architecture, "size": "tiny", "max_tokens": WIDTH, "dropout": 0.1}
    )
    torch.manual_seed(7)
    inputs = Inputs(numbers=fit_numbers(numbers, ["a", "b", "c"]), amounts=True, mask=MASK)
    model = build_scratch(config, vocabulary=VOCABULARY, inputs=inputs).train()
    optimiser = torch.optim.AdamW([dict(group) for group in parameter_groups(model, 0.01)], lr=3e-3)
    told: Losses = {"purchase": [], "amount": [], "next_token": []}
    for step in range(STEPS):
        lengths = random.integers(3, WIDTH + 1, ROWS)
        batch = Batch(
            tokens_BT=torch.from_numpy(random.integers(3, VOCABULARY, (ROWS, WIDTH))),
            lengths_B=torch.from_numpy(lengths),
            numbers_BF=torch.from_numpy(numbers[step * ROWS : (step + 1) * ROWS].astype(np.float32)),
        )
        labels_B = (batch.tokens_BT[:, 0] % 2).float()
        torch.manual_seed(step)
        outputs = model(batch)
        assert outputs.amount_mean_B is not None
        assert outputs.amount_log_std_B is not None
        examples, places = model.draw_targets(lengths, step)
        asked_N = torch.from_numpy(examples * WIDTH + places)
        losses = {
            "purchase": binary_cross_entropy_with_logits(outputs.purchase_B, labels_B),
            "amount": gaussian_nll_loss(
                outputs.amount_mean_B, 2 + labels_B, torch.exp(2 * outputs.amount_log_std_B), full=True
            ),
            "next_token": model.next_token_loss(batch, outputs.hidden_BTD, asked_N),
        }
        for name, loss in losses.items():
            told[name].append(loss.item())
        optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimiser.step()
    return told


if __name__ == "__main__":
    FILE.write_text(json.dumps({name: first_losses(name) for name in ("gpt2", "bert")}, indent=2) + "\n")
