"""Rotation of the identity key: the old key and the log in; a new key, by which kept lists name the same people, out.

Pseudonyms of artifacts come anew at the next run, and no text holds one, so no model is trained again for it. What is
never made again, the lists in `campaigns/`, is re-keyed here. The one thing to know: the history says that a rotation
has begun before anything changes and that it is through after all has; who is killed goes on by the same command.
"""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.base.in_use import alone_with_artifacts
from behavior_tasks.base.workfolder import flush
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.key_history import KeyLine, add_line, check_key, pending_rotation
from behavior_tasks.data.keys import KEY_VARIABLE, decode_key, fingerprint, identity_key, key_path, make_key, read_key
from behavior_tasks.pipeline.privacy.kept_lists import finish_lists, rename_shoppers, shoppers_under

NEW_VARIABLE = "BEHAVIOR_NEW_IDENTITY_KEY"
NEW_FILE = "identity.new.key"
MOST_MISSING = 0.5
"""If more of the shoppers of kept lists are not in the log than this share, it is another log."""


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """What a rotation did."""

    before: str
    """Fingerprint of the old key."""
    key: str
    """Fingerprint of the new one."""
    lists: int
    """Lists that were taken away, under the new key now."""
    shoppers: int
    """Different shoppers on them."""
    missing: int
    """Those of them that the log no longer holds; nobody can be found behind their new names."""
    in_variable: bool
    """Whether the key is set by the environment, which only its owner can change."""
    resumed: bool


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Who wants a rotation, why and when."""

    who: str
    reason: str
    when: datetime
    """With its zone."""


@dataclass(frozen=True, kw_only=True)
class _Keys:
    old: bytes
    new: bytes


def rotate(home: Home, asked: Asked, *, input_path: str | None = None) -> Rotation:
    """Change the identity key, or go on with a change that was stopped.

    Args:
        home: the state folder.
        asked: who, why and when; of a change that goes on, those who began it stand in the history.
        input_path: the log, where it lies elsewhere than when it was last scored.

    Raises:
        UserError: when a run is at work, a key is missing, or the log that resolves kept lists can't be read.
    """
    with _alone(home):
        pending = pending_rotation(home)
        keys = _begin(home, asked) if pending is None else _keys_of(home, pending)
        finish_lists(home)
        wanted = shoppers_under(home, fingerprint(keys.old))
        found = _resolve(home, keys.old, wanted, asked.when, input_path) if wanted else {}
        # Whom the log no longer holds gets a name that leads back to nobody, and is the same on every list.
        names = {old: pseudonym(found.get(old, f"gone {old}"), keys.new) for old in wanted}
        lists = rename_shoppers(home, names, before=fingerprint(keys.old), after=fingerprint(keys.new))
        in_variable = bool(os.environ.get(KEY_VARIABLE))
        if not in_variable:
            _swap(home, keys)
        add_line(
            home,
            KeyLine(
                event="rotated",
                key=fingerprint(keys.new),
                before=fingerprint(keys.old),
                at=asked.when,
                who=asked.who,
                reason=asked.reason,
            ),
        )
    return Rotation(
        before=fingerprint(keys.old),
        key=fingerprint(keys.new),
        lists=lists,
        shoppers=len(wanted),
        missing=len(wanted) - len(found),
        in_variable=in_variable,
        resumed=pending is not None,
    )


def forget_old_keys(home: Home) -> int:
    """Delete the keys that rotations have left behind, and return how many.

    Raises:
        UserError: when a rotation is not through.
    """
    if pending_rotation(home) is not None:
        raise UserError(
            "A rotation is not through, and it needs the old key.",
            next_step="behavior privacy rotate-key goes on where it stopped",
        )
    kept = [path for path in home.secrets.glob("identity.*.key") if path.name != NEW_FILE]
    for path in kept:
        path.unlink()
    return len(kept)


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(alone_with_artifacts(home))
        except UserError as error:
            raise UserError(
                "A run is at work in this state folder, so the key stays as it is.",
                expected=error.expected,
                next_step=error.next_step,
            ) from None
        yield


def _begin(home: Home, asked: Asked) -> _Keys:
    """Make or read the new key, and write into the history that the change begins."""
    old = identity_key(home)
    check_key(home, fingerprint(old))
    if os.environ.get(KEY_VARIABLE):
        new = _new_of_environment()
    else:
        path = home.secrets / NEW_FILE
        make_key(path)
        new = read_key(path, "identity")
    if new == old:
        raise UserError(
            "The new identity key is the old one.", next_step=f"export {NEW_VARIABLE}=$(openssl rand -hex 32)"
        )
    line = KeyLine(
        event="begun",
        key=fingerprint(new),
        before=fingerprint(old),
        at=asked.when,
        who=asked.who,
        reason=asked.reason,
    )
    add_line(home, line)
    return _Keys(old=old, new=new)


def _keys_of(home: Home, pending: KeyLine) -> _Keys:
    """Return the keys of a change that has begun, wherever they stand by now.

    Raises:
        UserError: when one of them is gone.
    """
    held = {fingerprint(key): key for key in _every_key(home)}
    missing = [name for name, held_as in (("old", pending.before), ("new", pending.key)) if held_as not in held]
    if missing or pending.before is None:
        in_variable = f"or set {KEY_VARIABLE} to the old and {NEW_VARIABLE} to the new one"
        raise UserError(
            f"The rotation that {pending.who} began can't go on: its {' and its '.join(missing)} key is not here.",
            expected=f"keys with the fingerprints {pending.before} (old) and {pending.key} (new)",
            next_step=f"bring secrets/ back from the backup, {in_variable}",
        )
    return _Keys(old=held[pending.before], new=held[pending.key])


def _every_key(home: Home) -> list[bytes]:
    keys = [read_key(path, "identity") for path in sorted(home.secrets.glob("identity*.key"))]
    for variable in (KEY_VARIABLE, NEW_VARIABLE):
        if text := os.environ.get(variable):
            keys.append(decode_key(text, f"The variable {variable}", f"export {variable}=… with that key"))
    return keys


def _new_of_environment() -> bytes:
    text = os.environ.get(NEW_VARIABLE)
    make = f"export {NEW_VARIABLE}=$(openssl rand -hex 32)"
    if not text:
        raise UserError(
            f"The identity key comes from {KEY_VARIABLE}, so this command can't set another.",
            expected=f"the new key in {NEW_VARIABLE}; keep it where {KEY_VARIABLE} is kept",
            next_step=f"{make}, then the same command; afterwards set {KEY_VARIABLE} to it",
        )
    return decode_key(text, f"The variable {NEW_VARIABLE}", make)


def _swap(home: Home, keys: _Keys) -> None:
    """Keep the old key beside the new one; there is a key at every moment."""
    path, kept = key_path(home, "identity"), home.secrets / f"identity.{fingerprint(keys.old)}.key"
    if fingerprint(read_key(path, "identity")) == fingerprint(keys.new):
        return
    if not kept.exists():
        os.link(path, kept)
    (home.secrets / NEW_FILE).replace(path)
    flush(home.secrets)


def _resolve(
    home: Home, key: bytes, wanted: Collection[str], when: datetime, input_path: str | None
) -> Mapping[str, str]:
    """Return pseudonym → raw id of those of kept lists that stand in the log.

    Raises:
        UserError: when the log can't be read, or is another one.
    """
    from behavior_tasks.data.inputs import resolve_inputs
    from behavior_tasks.data.resolve import raw_ids
    from behavior_tasks.pipeline.later import newest_scoring

    run = newest_scoring(home)
    where = run.record.input if input_path is None else input_path
    if where is None:
        made = run.artifact("simulate")
        if made is None:
            raise UserError("The simulated log of the last scoring is gone.", next_step="behavior score makes it again")
        where = str(Path(made.path) / "events.csv")
    files = resolve_inputs(where, run.record.config, home)
    found = raw_ids(files, run.record.config.source, key, wanted, read_on=when.date())
    if len(wanted) - len(found) > MOST_MISSING * len(wanted):
        raise UserError(
            "The log holds too few of the shoppers on kept lists, so it is another one; nothing on them was changed.",
            found=f"{len(found):,} of {len(wanted):,} shoppers",
            expected="the log that was scored, grown since",
            next_step="behavior privacy rotate-key --input with that log",
        )
    return found
