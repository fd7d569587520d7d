"""The identity key: where it comes from, and who may see it.

In comes the state folder; out come 32 or more secret bytes. The one thing to know: the environment wins over the
file `secrets/identity.key`, which is made once, readable by its owner only, and never again: with another key
every shopper would become somebody else.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder

KEY_VARIABLE = "BEHAVIOR_IDENTITY_KEY"
KEY_FILE = "identity.key"
KEY_BYTES = 32
OTHERS = 0o077
"""Permission bits of group and others."""


def identity_key(home: Home) -> bytes:
    """Return the key of the pseudonyms, making it when there is none yet.

    Raises:
        UserError: when it is damaged, too short, or others may read it. The message never holds the key.
    """
    from_environment = os.environ.get(KEY_VARIABLE)
    if from_environment:
        return _decode(
            from_environment, f"The variable {KEY_VARIABLE}", f"export {KEY_VARIABLE}=$(openssl rand -hex 32)"
        )
    path = home.secrets / KEY_FILE
    shown = f"{home.secrets.name}/{KEY_FILE}"
    if not path.exists():
        _make_key(path)
    if path.stat().st_mode & OTHERS:
        raise UserError(
            f"The identity key {shown} in the state folder can be read by others.",
            found=f"mode {path.stat().st_mode & 0o777:o}",
            expected="mode 600",
            next_step=f"chmod 600 on {shown}; if somebody may have read it, treat the pseudonyms as known to them",
        )
    restore = f"restore {shown} from a backup; a new key (delete the file) gives every shopper another pseudonym"
    try:
        return _decode(path.read_text(encoding="ascii"), f"The identity key {shown} in the state folder", restore)
    except (UnicodeDecodeError, PermissionError) as error:
        raise UserError(
            f"The identity key {shown} in the state folder can't be read.",
            found=error.strerror if isinstance(error, PermissionError) else "bytes that are no text",
            next_step=restore,
        ) from None


def key_exists(home: Home) -> bool:
    """Whether there is a key already; unlike `identity_key` it makes none."""
    return bool(os.environ.get(KEY_VARIABLE)) or (home.secrets / KEY_FILE).exists()


def fingerprint(key: bytes) -> str:
    """Return a short one-way hash that tells two keys apart and nothing else about them.

    >>> len(fingerprint(bytes(32)))
    12
    """
    return hashlib.sha256(b"behavior identity key fingerprint" + key).hexdigest()[:12]


def _decode(text: str, what: str, next_step: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) < KEY_BYTES:
        raise UserError(
            f"{what} is no key.",
            found=f"{len(text.strip())} characters",
            expected=f"at least {2 * KEY_BYTES} hexadecimal digits",
            next_step=next_step,
        )
    return key


def _make_key(path: Path) -> None:
    """Write a new key whole or not at all; where two processes make one at once, the first stays."""
    make_folder(path.parent.parent)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(os.urandom(KEY_BYTES).hex() + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
