"""Attacks on trained models: losses of shoppers in, how well an attacker tells who was trained on out.

Membership: a likelihood-ratio attack with shadow models (LiRA, Carlini et al. 2022) on whole shoppers. Each model was
trained on a random half of them; for a target model the others say what a shopper's loss is when they are in train and
when they are not. Extraction: the exposure of planted sequences (Carlini et al. 2019). The one thing to know: an AUC of
0.5 and an exposure of about 1.4 bits are what guessing gives.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

LEAST_DEVIATION = 1e-3
CHANCE_EXPOSURE = 1 / np.log(2)
"""Mean exposure, in bits, of a sequence that a model has never seen."""


@dataclass(frozen=True, kw_only=True)
class Membership:
    """How well members are told from others."""

    auc: float
    lower: float
    upper: float
    """95 % interval of the AUC over shoppers."""
    tpr: float
    """Members found where one in a hundred others is taken for one."""


def likelihood_ratios(losses_MS: np.ndarray, member_MS: np.ndarray) -> np.ndarray:
    """Return for every model and shopper how much likelier their loss is of a member, in nats, shape (M, S).

    Args:
        losses_MS: of M models on S shoppers.
        member_MS: whether the shopper was in the model's train split.
    """
    scores = np.zeros_like(losses_MS)
    for target in range(len(losses_MS)):
        others = np.arange(len(losses_MS)) != target
        losses, member = losses_MS[others], member_MS[others]
        inside, outside = (_centres(losses, chosen) for chosen in (member, ~member))
        rest = np.where(member, losses - inside, losses - outside)
        deviation = max(float(rest.std()), LEAST_DEVIATION)
        found = losses_MS[target]
        scores[target] = norm.logpdf(found, inside, deviation) - norm.logpdf(found, outside, deviation)
    return scores


def _centres(losses_MS: np.ndarray, chosen_MS: np.ndarray) -> np.ndarray:
    """Return each shopper's mean loss over the chosen models; over all where none is."""
    counts = chosen_MS.sum(axis=0)
    sums = np.where(chosen_MS, losses_MS, 0.0).sum(axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), losses_MS.mean(axis=0))


def measure_membership(scores_MS: np.ndarray, member_MS: np.ndarray, *, seed: int, resamples: int = 200) -> Membership:
    """Return how well scores tell members, over all models; the interval resamples shoppers."""
    random = np.random.default_rng(seed)
    auc = roc_auc_score(member_MS.ravel(), scores_MS.ravel())
    shoppers = scores_MS.shape[1]
    drawn = []
    for _ in range(resamples):
        chosen = random.integers(shoppers, size=shoppers)
        drawn.append(roc_auc_score(member_MS[:, chosen].ravel(), scores_MS[:, chosen].ravel()))
    false, true, _ = roc_curve(member_MS.ravel(), scores_MS.ravel())
    lower, upper = np.quantile(drawn, [0.025, 0.975])
    return Membership(auc=float(auc), lower=float(lower), upper=float(upper), tpr=float(np.interp(0.01, false, true)))


def exposure(canaries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return the exposure of each canary, in bits: how far up it stands among sequences that were not planted.

    Args:
        canaries: losses of planted sequences, shape (c,).
        references: losses of sequences of the same making that nobody has seen, shape (r,).
    """
    ranks = 1 + (references[None, :] < canaries[:, None]).sum(axis=1)
    return np.log2(len(references) + 1) - np.log2(ranks)
