"""The holdout control: who of an audience is not contacted, so that what a contact brings can be measured.

In come the identity key, a campaign and shoppers; out comes who is drawn. The one thing to know: the lot is a keyed
hash of campaign and shopper, so it is the same on every night, another one for another campaign, and nobody without
the key can tell or steer it.
"""

import hmac
from collections.abc import Iterable

import numpy as np

PURPOSE = b"behavior audiences holdout"
"""Derives a key of its own from the identity key (`info` in RFC 5869): no lot says anything about a pseudonym."""
VALUES = 1 << 64


class Holdout:
    """The lots of one shop."""

    def __init__(self, identity_key: bytes) -> None:
        """Derive the key of the lots from that of the identities."""
        self._key = hmac.digest(identity_key, PURPOSE, "sha256")

    def drawn(self, campaign: str, shoppers: Iterable[str], share: float) -> np.ndarray:
        """Say of each shopper whether they belong to the control, shape (shoppers,).

        Who is drawn at one share is drawn at every larger one, too.

        Args:
            campaign: what the lot is drawn for.
            shoppers: pseudonyms.
            share: from 0, nobody, to 1, everybody.
        """
        # The length stands before the campaign, so that no other split of the same letters gives the same lot.
        key = hmac.digest(self._key, f"{len(campaign)} {campaign}".encode(), "sha256")
        below = round(share * VALUES)
        lots = (hmac.digest(key, shopper.encode(), "sha256")[:8] for shopper in shoppers)
        return np.fromiter((int.from_bytes(lot) < below for lot in lots), dtype=bool)
