"""Numbers: the engineered features of an example in, one vector that a network reads well out.

A number is told twice. Once as its piecewise-linear encoding (Gorishniy et al. 2022, "On Embeddings for Numerical
Features"): one place for each quantile bin, 1 where the number lies beyond the bin, between 0 and 1 within it, 0 before
it; with it a plain linear map bends. And once standardised, which carries the large differences that bins level out;
a skewed feature goes through a logarithm first. All is fitted on train and travels with the weights; an undefined
number has zeros, the median, and a place of its own.

Shapes: B examples, F features, P bins of all features, Z places of the whole vector, Z = P + 2 F.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from behavior_tasks.model.skewness import SKEWED_ABOVE, signed_log

BINS = 8
"""Most bins of one feature."""
CONSTANT = 1e-9
"""A standard deviation below this is none."""
FARTHEST = 5.0
"""Standard deviations from the mean at which a standardised number ends."""


class NumberEncoding(BaseModel):
    """What the encoding of F features knows of the train split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...]
    """The features, in the order in which they are read."""
    edges: tuple[tuple[float, ...], ...]
    """Rising edges of each one's bins, at least two."""
    skewed: tuple[bool, ...]
    """Whether it goes through the logarithm; median, mean and deviation are those after it."""
    medians: tuple[float, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]


def fit_numbers(numbers: np.ndarray, names: Sequence[str], bins: int = BINS) -> NumberEncoding:
    """Return the encoding of features by their quantiles, medians, means and deviations.

    Args:
        numbers: the train examples' features, shape (n, F); NaN where undefined.
        names: F names.
        bins: most bins of one feature.

    A feature that is never defined tells nothing and is left out; one that always has the same value may still tell
    by being undefined.
    """
    values = np.asarray(numbers, dtype=np.float64)
    kept = [place for place in range(len(names)) if np.isfinite(values[:, place]).any()]
    edges, skewed, medians, means, deviations = [], [], [], [], []
    for place in kept:
        column = np.where(np.isfinite(values[:, place]), values[:, place], np.nan)
        defined = column[~np.isnan(column)]
        points = np.unique(np.quantile(defined, np.linspace(0, 1, bins + 1), method="inverted_cdf"))
        edges.append(tuple(points.tolist()) if len(points) > 1 else (float(points[0]), float(points[0]) + 1))
        skewed.append(bool(abs(_skewness(defined)) > SKEWED_ABOVE))
        column = signed_log(column) if skewed[-1] else column
        medians.append(float(np.nanmedian(column)))
        column = np.where(np.isnan(column), medians[-1], column)
        means.append(float(column.mean()))
        deviations.append(float(column.std()) if column.std() > CONSTANT else 1.0)
    return NumberEncoding(
        names=tuple(names[place] for place in kept),
        edges=tuple(edges),
        skewed=tuple(skewed),
        medians=tuple(medians),
        means=tuple(means),
        deviations=tuple(deviations),
    )


class EncodedNumbers(nn.Module):
    """Encodes numbers_BF, in the order of the encoding's names, as places_BZ."""

    starts_P: torch.Tensor
    widths_P: torch.Tensor
    owners_P: torch.Tensor
    skewed_F: torch.Tensor
    medians_F: torch.Tensor
    means_F: torch.Tensor
    deviations_F: torch.Tensor

    def __init__(self, encoding: NumberEncoding) -> None:
        super().__init__()
        starts: list[float] = []
        widths: list[float] = []
        owners: list[int] = []
        for feature, edges in enumerate(encoding.edges):
            starts += edges[:-1]
            widths += [end - start for start, end in pairwise(edges)]
            owners += [feature] * (len(edges) - 1)
        self._keep("starts_P", starts)
        self._keep("widths_P", widths)
        self._keep("owners_P", owners, torch.int64)
        self._keep("skewed_F", encoding.skewed, torch.bool)
        self._keep("medians_F", encoding.medians)
        self._keep("means_F", encoding.means)
        self._keep("deviations_F", encoding.deviations)
        self.places = len(starts) + 2 * len(encoding.names)

    def _keep(self, name: str, values: Sequence[float], dtype: torch.dtype = torch.float32) -> None:
        # They stand in the bundle's configuration, not among its weights.
        self.register_buffer(name, torch.tensor(values, dtype=dtype), persistent=False)

    def forward(self, numbers_BF: torch.Tensor) -> torch.Tensor:
        """Return places_BZ: the bins of all features, then for each a 1 where it is undefined, then it standardised."""
        undefined_BF = torch.isnan(numbers_BF)
        defined_BF = numbers_BF.masked_fill(undefined_BF, 0.0)
        bins_BP = ((defined_BF[:, self.owners_P] - self.starts_P) / self.widths_P).clamp(0, 1)
        bins_BP = bins_BP.masked_fill(undefined_BF[:, self.owners_P], 0.0)
        straight_BF = torch.where(self.skewed_F, defined_BF.sign() * defined_BF.abs().log1p(), defined_BF)
        straight_BF = torch.where(undefined_BF, self.medians_F, straight_BF)
        standard_BF = ((straight_BF - self.means_F) / self.deviations_F).clamp(-FARTHEST, FARTHEST)
        return torch.cat([bins_BP, undefined_BF.to(bins_BP.dtype), standard_BF], dim=1)


def _skewness(values: np.ndarray) -> float:
    """Return the third standardised moment, 0 where nothing varies."""
    deviation = values.std()
    if deviation <= CONSTANT:
        return 0.0
    return float((((values - values.mean()) / deviation) ** 3).mean())
