"""Numbers: the engineered features of an example in, one vector that a network reads well out.

A number becomes the piecewise-linear encoding of Gorishniy et al. (2022, "On Embeddings for Numerical Features"): one
place for each quantile bin, 1 where the number lies beyond the bin, between 0 and 1 within it, 0 before it. The edges
are fitted on train and travel with the weights; an undefined number has zeros and a place of its own.

Shapes: B examples, F features, P places of the encoding over all features.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

BINS = 16
"""Most bins of one feature."""


class NumberEncoding(BaseModel):
    """Which features are read, and the rising edges of each one's bins (at least two), fitted on train."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...]
    edges: tuple[tuple[float, ...], ...]


def fit_numbers(numbers: np.ndarray, names: Sequence[str], bins: int = BINS) -> NumberEncoding:
    """Return the encoding of features by their quantiles.

    Args:
        numbers: the train examples' features, shape (n, F); NaN where undefined.
        names: F names.
        bins: most bins of one feature.

    A feature with fewer than two different values tells nothing and is left out.
    """
    kept, edges = [], []
    for place, name in enumerate(names):
        column = np.asarray(numbers[:, place], dtype=np.float64)
        column = column[np.isfinite(column)]
        if not len(column):
            continue
        points = np.unique(np.quantile(column, np.linspace(0, 1, bins + 1)))
        if len(points) < 2:
            continue
        kept.append(name)
        edges.append(tuple(float(point) for point in points))
    return NumberEncoding(names=tuple(kept), edges=tuple(edges))


class PiecewiseLinear(nn.Module):
    """Encodes numbers_BF, in the order of the encoding's names, as places_BP."""

    def __init__(self, encoding: NumberEncoding) -> None:
        super().__init__()
        starts, widths, owners = [], [], []
        for feature, edges in enumerate(encoding.edges):
            starts += edges[:-1]
            widths += [end - start for start, end in pairwise(edges)]
            owners += [feature] * (len(edges) - 1)
        self.register_buffer("starts_P", torch.tensor(starts, dtype=torch.float32), persistent=False)
        self.register_buffer("widths_P", torch.tensor(widths, dtype=torch.float32), persistent=False)
        self.register_buffer("owners_P", torch.tensor(owners, dtype=torch.int64), persistent=False)
        self.places = len(starts) + len(encoding.names)

    def forward(self, numbers_BF: torch.Tensor) -> torch.Tensor:
        """Return places_BP: the bins of all features, then one place a feature that is 1 where it is undefined."""
        undefined_BF = torch.isnan(numbers_BF)
        spread_BP = torch.nan_to_num(numbers_BF)[:, self.owners_P]
        bins_BP = ((spread_BP - self.starts_P) / self.widths_P).clamp(0, 1)
        bins_BP = bins_BP.masked_fill(undefined_BF[:, self.owners_P], 0.0)
        return torch.cat([bins_BP, undefined_BF.to(bins_BP.dtype)], dim=1)
