"""Fusion: the encoded numbers of an example and its text's last hidden state in, what they add to each head out.

Two ways run side by side ("wide and deep", Cheng et al. 2016; with the text's state, as nuFormer joins both): one
weight a place, which a few thousand shoppers are enough for, and a small network that reads numbers and text in each
other's company. Both begin at nothing or nearly so, and a training therefore at the share of buyers.

Shapes: B examples, F features, Z places of the encoding, D width of the hidden state, H answers.
"""

import torch
from torch import nn

from behavior_tasks.model.numbers import EncodedNumbers, NumberEncoding

WIDTH = 64
OUT_STD = 0.01


class NumberFusion(nn.Module):
    """Adds H answers from numbers_BF and last_BD.

    Args:
        encoding: of the F features.
        width: D.
        answers: H.
        dropout: within the small network, and on the state that enters it.
    """

    def __init__(self, encoding: NumberEncoding, *, width: int, answers: int, dropout: float) -> None:
        super().__init__()
        self.encode = EncodedNumbers(encoding)
        places = self.encode.places
        self.wide = nn.Linear(places, answers, bias=False)
        nn.init.zeros_(self.wide.weight)
        self.dropout = nn.Dropout(dropout)
        self.deep = nn.Sequential(
            nn.Linear(places + width, WIDTH),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(WIDTH, WIDTH),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.out = nn.Linear(WIDTH, answers)
        nn.init.normal_(self.out.weight, std=OUT_STD)
        nn.init.zeros_(self.out.bias)

    def forward(self, numbers_BF: torch.Tensor, last_BD: torch.Tensor) -> torch.Tensor:
        """Return added_BH."""
        places_BZ = self.encode(numbers_BF)
        deep_BE = self.deep(torch.cat([places_BZ, self.dropout(last_BD)], dim=1))
        added_BH: torch.Tensor = self.wide(places_BZ) + self.out(deep_BE)
        return added_BH
