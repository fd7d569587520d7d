"""Identities: every raw id becomes a keyed pseudonym before an event is written anywhere.

In come parsed events with their `user_id`; out come the same events with `shopper`, the HMAC-SHA256 of the id. The one
thing to know: the key lives outside all artifacts, and whoever holds it and the log can tell who a shopper is; nobody
else can. Raw ids stand in the log itself and in quarantined rows, nowhere else.
"""

import hmac
from pathlib import Path

import pyarrow as pa

from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home
from behavior_tasks.data.key_history import check_key
from behavior_tasks.data.keys import fingerprint, identity_key

PSEUDONYM_LENGTH = 20
"""Hexadecimal digits: 80 bits, so that among a hundred million shoppers no two are expected to be the same."""


def key_fingerprint(raw: Path | None, config: Config, home: Home) -> dict[str, str]:
    """Return the fingerprint of the identity key, making the key when there is none yet.

    Raises:
        UserError: when the key is damaged, lost, not the state folder's, or others may read it.
    """
    held = fingerprint(identity_key(home))
    check_key(home, held)
    return {"identity_key": held}


def pseudonym(user_id: str, key: bytes) -> str:
    """Return the pseudonym of a raw id.

    >>> pseudonym("17850", bytes(32)) == pseudonym("17850", bytes(32)) != pseudonym("17850", bytes(31) + b"x")
    True
    """
    return hmac.digest(key, user_id.encode(), "sha256").hex()[:PSEUDONYM_LENGTH]


def replace_ids(events: pa.Table, key: bytes) -> pa.Table:
    """Return the events with the column `shopper` in the place of `user_id`; each different id is hashed once."""
    users = events.column("user_id").combine_chunks().dictionary_encode()
    names = pa.array([pseudonym(user, key) for user in users.dictionary.to_pylist()], pa.string())
    shoppers = pa.DictionaryArray.from_arrays(users.indices, names)
    place = events.schema.get_field_index("user_id")
    return events.set_column(place, "shopper", shoppers)
