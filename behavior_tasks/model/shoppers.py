"""Who a model learns from: the encode artifact in; how many shoppers its train split has, and which, out.

The one thing to know: which is told by a hash of their pseudonyms, so two trainings can be seen to be about the same
people without anybody being named.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from behavior_tasks.text.tokens import TokenSet

DIGITS = 20


@dataclass(frozen=True, kw_only=True)
class ShopperSet:
    """The shoppers of a train split."""

    count: int
    digest: str
    """Hash of their pseudonyms in order."""


def train_shoppers(encode: Path) -> ShopperSet:
    """Return who is in the train split of an encode artifact.

    Args:
        encode: its folder.
    """
    index = TokenSet.load(encode).read_index(["shopper", "split"])
    names = sorted(index.loc[index["split"] == "train", "shopper"].unique())
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:DIGITS]
    return ShopperSet(count=len(names), digest=digest)
