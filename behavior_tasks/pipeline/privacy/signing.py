"""Signatures: the content of a certificate in; the same, signed, out; and whether one that was signed still holds.

Ed25519 (RFC 8032): who holds the private key, `secrets/certificate.key`, can sign, and everybody can check. The one
thing to know: the certificate carries the public key, so a third party compares that key with one they got elsewhere.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.data.keys import OTHERS, make_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_FILE = "certificate.key"
PUBLIC_FILE = "public-key.pem"
SIGNATURE = "signature"
SHOWN = 16
"""Hexadecimal digits of a public key's fingerprint."""


def sign(home: Home, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a certificate with its signature, making the key when there is none yet.

    Raises:
        UserError: when the key is damaged or others may read it.
    """
    key = _private_key(home)
    public = key.public_key().public_bytes_raw()
    signature = key.sign(_canonical(content))
    return {
        **content,
        SIGNATURE: {
            "algorithm": "Ed25519",
            "over": "the JSON without this field, keys sorted, without spaces, UTF-8",
            "public_key": base64.b64encode(public).decode(),
            "key_fingerprint": fingerprint_of(public),
            "value": base64.b64encode(signature).decode(),
        },
    }


def check(signed: Mapping[str, Any]) -> str:
    """Return the fingerprint of the key that a certificate was signed with.

    Raises:
        UserError: when it carries no signature, or was changed after it was signed.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    held = signed.get(SIGNATURE)
    try:
        public = base64.b64decode(held["public_key"], validate=True)  # type: ignore[index]
        value = base64.b64decode(held["value"], validate=True)  # type: ignore[index]
        Ed25519PublicKey.from_public_bytes(public).verify(
            value, _canonical({name: part for name, part in signed.items() if name != SIGNATURE})
        )
    except (KeyError, TypeError, ValueError):
        raise UserError("The certificate carries no signature.", expected="the JSON that was written") from None
    except InvalidSignature:
        raise UserError(
            "The certificate was changed after it was signed.",
            expected="the JSON exactly as it was written",
            next_step="behavior erase --verify makes a new one",
        ) from None
    return fingerprint_of(public)


def own_fingerprint(home: Home) -> str | None:
    """Return the fingerprint of this state folder's key; None: nothing was signed here yet."""
    if not (home.secrets / KEY_FILE).is_file():
        return None
    return fingerprint_of(_private_key(home).public_key().public_bytes_raw())


def fingerprint_of(public: bytes) -> str:
    """Return a short name of a public key, by which two people compare it."""
    return hashlib.sha256(public).hexdigest()[:SHOWN]


def write_public_key(home: Home, folder: Path) -> None:
    """Write the public key as PEM, for whoever checks with a tool of their own."""
    from cryptography.hazmat.primitives import serialization

    pem = (
        _private_key(home)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    write_durably(folder / PUBLIC_FILE, pem)


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _private_key(home: Home) -> "Ed25519PrivateKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = home.secrets / KEY_FILE
    if not path.exists():
        make_key(path)
    shown = f"{home.secrets.name}/{KEY_FILE}"
    if path.stat().st_mode & OTHERS:
        raise UserError(
            f"The key of the certificates, {shown} in the state folder, can be read by others.",
            found=f"mode {path.stat().st_mode & 0o777:o}",
            expected="mode 600",
            next_step=f"chmod 600 on {shown}; if somebody may have read it, delete it: the next certificate makes one",
        )
    try:
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text(encoding="ascii").strip()))
    except ValueError:
        raise UserError(
            f"The key of the certificates, {shown} in the state folder, is damaged.",
            next_step=f"bring {shown} back from a backup, or delete it: older certificates can still be checked",
        ) from None
