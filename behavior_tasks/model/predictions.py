"""Predictions: what any model says of n examples, as probabilities, logits and the shape of an amount.

In come arrays of one length; out come expected amounts and quantiles. The one thing to know: a model without an amount
head has None there, never zeros.
"""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a model says of n examples."""

    probability: np.ndarray
    """Of a purchase, float64, shape (n,); calibrated, except straight from `run_model`."""
    logit: np.ndarray
    """What the network itself says, before any calibration, float64, shape (n,)."""
    log_mean: np.ndarray | None
    """Mean of ln(amount) among buyers, shape (n,); None when the model has no amount head."""
    log_std: np.ndarray | None
    """Its standard deviation, shape (n,)."""

    @property
    def expected_amount(self) -> np.ndarray | None:
        """The mean of the zero-inflated lognormal, p exp(mean + std²/2), in the log's currency, shape (n,).

        None when the model has no amount head.
        """
        if self.log_mean is None or self.log_std is None:
            return None
        return self.probability * np.exp(self.log_mean + self.log_std**2 / 2)

    def quantile(self, q: float) -> np.ndarray | None:
        """Return the amount that is not exceeded with probability q, shape (n,); None without amount head.

        The amount is 0 with probability 1 - p, else lognormal. So the quantile is 0 where q <= 1 - p, and
        exp(mean + std Φ⁻¹((q - (1 - p)) / p)) above, with Φ the standard normal distribution (Wang, Liu and Miao
        2019, "A deep probabilistic model for customer lifetime value prediction").

        Args:
            q: at least 0 and below 1.
        """
        if not 0 <= q < 1:
            raise ValueError(f"a quantile of {q}; expected 0 <= q < 1")
        if self.log_mean is None or self.log_std is None:
            return None
        buys = self.probability > 1 - q
        among_buyers = (q - (1 - self.probability[buys])) / self.probability[buys]
        normal = torch.special.ndtri(torch.from_numpy(among_buyers)).numpy()
        amounts = np.zeros(len(self.probability))
        amounts[buys] = np.exp(self.log_mean[buys] + self.log_std[buys] * normal)
        return amounts
