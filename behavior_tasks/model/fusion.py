"""Fusion: the encoded numbers of an example in, what they tell each head out; and the amount head, which joins both.

Two ways run side by side ("wide and deep", Cheng et al. 2016): one weight a place, which a few thousand shoppers are
enough for, and a small network that reads the numbers in each other's company. The one thing to know: texts and numbers
are added, not mixed, so the numbers can be learned first and by themselves, and a text begins at zero and adds to them.

Shapes: B examples, F numbers, Z places of their encoding, D width of the hidden state, H answers.
"""

import torch
from torch import nn

from behavior_tasks.model.numbers import EncodedNumbers, NumberEncoding

WIDTH = 64
OUT_STD = 0.01
MOST_DROPOUT = 0.2
LOG_STD_RANGE = (-3.0, 0.7)
"""Of ln(amount): a deviation between 0.05 and 2. A lognormal's mean is e^(std²/2) times its median: at most 7.6."""
LEAST_STD = 0.05


class NumberFusion(nn.Module):
    """Tells H answers from numbers_BF: the purchase's logit, then what other heads ask for.

    Args:
        encoding: of the F numbers.
        answers: H, at least 1.
        dropout: within the small network, where it is at most MOST_DROPOUT.
    """

    def __init__(self, encoding: NumberEncoding, *, answers: int, dropout: float) -> None:
        super().__init__()
        self.encode = EncodedNumbers(encoding)
        places, dropout = self.encode.places, min(dropout, MOST_DROPOUT)
        self.wide = nn.Linear(places, 1, bias=False)
        nn.init.zeros_(self.wide.weight)
        self.deep = nn.Sequential(
            nn.Linear(places, WIDTH),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(WIDTH, WIDTH),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.out = nn.Linear(WIDTH, answers)
        nn.init.normal_(self.out.weight, std=OUT_STD)
        nn.init.zeros_(self.out.bias)

    def forward(self, numbers_BF: torch.Tensor) -> torch.Tensor:
        """Return told_BH. The wide part tells only the purchase, whose answer is a straight sum of evidence."""
        places_BZ = self.encode(numbers_BF)
        told_BH = self.out(self.deep(places_BZ))
        return torch.cat([told_BH[:, :1] + self.wide(places_BZ), told_BH[:, 1:]], dim=1)


class AmountHead(nn.Module):
    """Tells the mean of ln(amount) of an example, and one standard deviation that all of them share.

    A deviation of each example's own was tried and made the expected amounts worse: it enters them squared, in an
    exponent. What is learned is standardised by the buyers of train, so that it moves at the pace of the other heads.

    Args:
        width: D.
    """

    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.text = nn.Linear(width, 1)
        nn.init.zeros_(self.text.weight)
        nn.init.zeros_(self.text.bias)
        self.log_std = nn.Parameter(torch.zeros(1))
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def standardise(self, mean: float, std: float) -> None:
        """Take mean and standard deviation of ln(amount) among the buyers of train for zero and one."""
        self.centre.fill_(mean)
        self.scale.fill_(max(std, LEAST_STD))

    def spread(self, standard_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return amount_mean_B and amount_log_std_B from what text and numbers tell: the sum of `text` and theirs."""
        log_std = (self.scale.log() + self.log_std).clamp(*LOG_STD_RANGE)
        return self.centre + self.scale * standard_B, log_std.expand(len(standard_B))
