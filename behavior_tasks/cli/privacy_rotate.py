"""`behavior privacy rotate-key`: another identity key, with all that follows from it."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import current_home
from behavior_tasks.cli.registry_options import user_name
from behavior_tasks.cli.screen import console, count

if TYPE_CHECKING:
    from behavior_tasks.pipeline.privacy.rotation import Rotation

NEXT = """\
What is needed now:
- Nothing is trained again: texts and models hold no pseudonym, so the champions go on as they are.
- The next run reads the whole log again, and with it come the new pseudonyms (behavior run, behavior score).
- Served outputs, quarantines and artifacts of before keep the old pseudonyms until gc and retention let them go.
- The lift of a nightly list that nobody took away can't be measured across the change.
- The control groups of the next audiences are drawn anew.
- Copy secrets/ to where its backup is kept, apart from the state folder's."""


def rotate_key(
    who: Annotated[str | None, typer.Option("--who", help="Who asks; without it: the user of this shell.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for the history of keys.")] = None,
    log: Annotated[
        str | None, typer.Option("--input", "-i", help="The log, if it lies elsewhere than when it was last scored.")
    ] = None,
    forget_old: Annotated[
        bool, typer.Option("--forget-old", help="Change nothing, but delete the keys that were kept of before.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Change the identity key: every shopper gets another pseudonym, and lists that were taken away are re-keyed.

    No model is trained again. The old key stays beside the new one, readable by its owner only, until --forget-old.
    Killed midway, the same command goes on; until then every run stops and says so.

    Exit code 0: done. 2: refused.

    Examples:

        behavior privacy rotate-key --who ann --reason "a laptop with a backup was lost"

        behavior privacy rotate-key --forget-old
    """
    from behavior_tasks.pipeline.privacy.rotation import Asked, forget_old_keys, rotate

    home = current_home()
    if forget_old:
        gone = forget_old_keys(home)
        console.print(f"{count(gone)} old identity keys deleted; secrets/identity.key is as it was.", highlight=False)
        return
    if not reason:
        raise UserError(
            "A change of the key needs a reason; it stays in privacy/keys.jsonl.",
            next_step='behavior privacy rotate-key --reason "…"',
        )
    asked = Asked(who=who or user_name(), reason=reason, when=datetime.now(UTC).replace(microsecond=0))
    done = rotate(home, asked, input_path=log)
    if as_json:
        typer.echo(json.dumps(asdict(done), indent=2))
        return
    _show(done)


def _show(done: "Rotation") -> None:
    went_on = " (went on where it had stopped)" if done.resumed else ""
    console.print(f"The identity key is another one now{went_on}: {done.before} → {done.key}.", highlight=False)
    if done.lists:
        console.print(
            f"{count(done.lists)} lists that were taken away name the same people under it, so their lift can still "
            f"be measured ({count(done.shoppers)} shoppers read in the log again).",
            highlight=False,
            soft_wrap=True,
        )
    if done.missing:
        console.print(
            f"{count(done.missing)} of them are in the log no more: they keep their place, under a name that leads to "
            "nobody.",
            style="yellow",
            highlight=False,
        )
    if done.in_variable:
        console.print(
            "Now set BEHAVIOR_IDENTITY_KEY to the new key, for every service, and unset BEHAVIOR_NEW_IDENTITY_KEY; "
            "until then every run stops.",
            style="yellow",
            highlight=False,
        )
    console.print(NEXT, markup=False, highlight=False, soft_wrap=True)
