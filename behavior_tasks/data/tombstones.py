"""Tombstones: keyed hashes of the raw ids of who was erased, so that a late file can't bring them back.

In come judged rows of a log; out come the same rows without those of erased shoppers, and their number, which counts as
the reason `erased`. The one thing to know: the hashes have a key of their own, `secrets/tombstone.key` or the variable
`BEHAVIOR_TOMBSTONE_KEY`, so they hold when the identity key is changed; where nobody was erased nothing is hashed.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from behavior_tasks.base.artifacts import Artifact, hash_of
from behavior_tasks.base.home import Home
from behavior_tasks.data.erasures import read_erasures
from behavior_tasks.data.keys import secret_key

ERASED = "erased"
"""Reason of a row of an erased shopper; nothing of it is kept but that it was there."""
LENGTH = 32
"""Hexadecimal digits: 128 bits, so that nobody else is ever taken for somebody who was erased."""
MOST_KNOWN = 1_000_000
"""Ids whose hash a process remembers."""


@dataclass(frozen=True, kw_only=True)
class Tombstones:
    """Who was erased."""

    stones: frozenset[str]
    key: bytes = field(repr=False)
    _known: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, home: Home) -> Self | None:
        """Return all tombstones of a state folder; None where nobody was ever erased.

        Raises:
            UserError: when the ledger of erasures is damaged, or its key is gone.
        """
        stones = frozenset(stone for line in read_erasures(home) for stone in line.tombstones)
        if not stones:
            return None
        return cls(stones=stones, key=secret_key(home, "tombstone", in_use=True))

    @property
    def digest(self) -> str:
        """What tells one set of tombstones from another."""
        return hash_of(sorted(self.stones))

    def hold(self, user_id: str | None) -> bool:
        """Whether a raw id is of somebody who was erased; each different id is hashed once."""
        if user_id is None:
            return False
        known = self._known.get(user_id)
        if known is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            known = self._known[user_id] = tombstone(user_id, self.key) in self.stones
        return known

    def mask(self, ids: pa.ChunkedArray | pa.Array) -> pa.Array:
        """Return which of many raw ids are of somebody who was erased, as truth values without nulls."""
        whole = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
        coded = whole.dictionary_encode()
        held = pa.array([self.hold(one) for one in coded.dictionary.to_pylist()], pa.bool_())
        return pc.fill_null(held.take(coded.indices), False)


def tombstone(user_id: str, key: bytes) -> str:
    """Return the tombstone of a raw id.

    >>> tombstone("17850", bytes(32)) == tombstone("17850", bytes(32)) != tombstone("17851", bytes(32))
    True
    """
    return hmac.digest(key, user_id.encode(), "sha256").hex()[:LENGTH]


def without_erased(judged: pa.Table, tombstones: Tombstones | None) -> tuple[pa.Table, int]:
    """Return judged rows without those of erased shoppers, of which nothing is kept, and how many these were.

    Args:
        judged: what `parse_sql` gives, with `user_id`.
        tombstones: None: nobody was ever erased.
    """
    if tombstones is None or not len(judged):
        return judged, 0
    mask = tombstones.mask(judged["user_id"])
    gone = pc.sum(mask).as_py() or 0
    return (judged.filter(pc.invert(mask)), gone) if gone else (judged, 0)


def erasures_of(home: Home, inputs: Mapping[str, Artifact]) -> dict[str, str]:
    """Return what names the erasures that have touched a stage's inputs since these were made.

    It is part of the key of every training: the key of an input stays when somebody is taken out of it, and the next
    training must really train. The home plays no part.
    """
    touched = {one.request for artifact in inputs.values() for one in artifact.manifest.erased}
    return {f"erased {request}": "taken out of the inputs" for request in sorted(touched)}
