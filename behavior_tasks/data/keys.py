"""Secret keys: where they come from, and who may see them.

In come the state folder and a key's name (identity or tombstone); out come 32 or more secret bytes. The one thing to
know: the environment wins over the file in `secrets/`, which is made once, readable by its owner only, and never again
where something was made under a key already: with another key every shopper would become somebody else.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Literal
from uuid import uuid4

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.data.key_history import last_fingerprint

KeyName = Literal["identity", "tombstone"]
KEY_VARIABLE = "BEHAVIOR_IDENTITY_KEY"
KEY_FILE = "identity.key"
TOMBSTONE_VARIABLE = "BEHAVIOR_TOMBSTONE_KEY"
VARIABLES: dict[KeyName, str] = {"identity": KEY_VARIABLE, "tombstone": TOMBSTONE_VARIABLE}
WHAT_IS_LOST: dict[KeyName, str] = {
    "identity": "gives every shopper another pseudonym",
    "tombstone": "lets late rows of erased shoppers come back",
}
"""What another key does."""
KEY_BYTES = 32
OTHERS = 0o077
"""Permission bits of group and others."""


def secret_key(home: Home, name: KeyName, *, in_use: bool = False) -> bytes:
    """Return a key, making it when there is none yet.

    Args:
        home: the state folder.
        name: whose it is.
        in_use: whether something was made under it already, so that a key that is not there is lost, not new.

    Raises:
        UserError: when it is damaged, too short, lost, or others may read it. The message never holds the key.
    """
    variable = VARIABLES[name]
    if from_environment := os.environ.get(variable):
        return decode_key(from_environment, f"The variable {variable}", f"export {variable}=$(openssl rand -hex 32)")
    path = key_path(home, name)
    if not path.exists():
        if in_use:
            raise _lost(name)
        make_key(path)
    return read_key(path, name)


def identity_key(home: Home) -> bytes:
    """Return the key of the pseudonyms, making it when there is none yet.

    Raises:
        UserError: as `secret_key`.
    """
    # Nothing is looked up while there is a key, which is nearly always.
    in_use = not key_exists(home) and last_fingerprint(home) is not None
    return secret_key(home, "identity", in_use=in_use)


def key_path(home: Home, name: KeyName) -> Path:
    """Return where a key's file is, whether or not it is there."""
    return home.secrets / f"{name}.key"


def read_key(path: Path, name: KeyName) -> bytes:
    """Return the key that a file below `secrets/` holds.

    Raises:
        UserError: when it is damaged, too short, or others may read it.
    """
    shown = f"{path.parent.name}/{path.name}"
    if path.stat().st_mode & OTHERS:
        known = "treat the pseudonyms as known to them: behavior privacy rotate-key" if name == "identity" else "say so"
        raise UserError(
            f"The {name} key {shown} in the state folder can be read by others.",
            found=f"mode {path.stat().st_mode & 0o777:o}",
            expected="mode 600",
            next_step=f"chmod 600 on {shown}; if somebody may have read it, {known}",
        )
    restore = f"restore {shown} from a backup; a new key {WHAT_IS_LOST[name]}"
    try:
        return decode_key(path.read_text(encoding="ascii"), f"The {name} key {shown} in the state folder", restore)
    except (UnicodeDecodeError, PermissionError) as error:
        raise UserError(
            f"The {name} key {shown} in the state folder can't be read.",
            found=error.strerror if isinstance(error, PermissionError) else "bytes that are no text",
            next_step=restore,
        ) from None


def key_exists(home: Home, name: KeyName = "identity") -> bool:
    """Whether there is a key already; unlike `secret_key` it makes none."""
    return bool(os.environ.get(VARIABLES[name])) or key_path(home, name).exists()


def fingerprint(key: bytes) -> str:
    """Return a short one-way hash that tells two keys apart and nothing else about them.

    >>> len(fingerprint(bytes(32)))
    12
    """
    return hashlib.sha256(b"behavior identity key fingerprint" + key).hexdigest()[:12]


def decode_key(text: str, what: str, next_step: str) -> bytes:
    """Return the key that hexadecimal digits spell.

    Args:
        text: the digits.
        what: where they stand, for people.
        next_step: what to do when they are no key.

    Raises:
        UserError: when they are none, or too few.
    """
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


def make_key(path: Path) -> None:
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


def _lost(name: KeyName) -> UserError:
    return UserError(
        f"The {name} key is gone: neither secrets/{name}.key in the state folder nor {VARIABLES[name]} is there.",
        expected=f"the key that was used before; a new one {WHAT_IS_LOST[name]}",
        next_step=f"bring secrets/{name}.key back from the backup, or set {VARIABLES[name]}; is it lost for good, "
        "begin a new state folder",
    )
