"""`behavior rollback` and `behavior promote`: a person changes the champion, with a reason that stays in the ledger."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from behavior_tasks.base.home import current_home
from behavior_tasks.cli.registry_options import Model, registry_config, user_name
from behavior_tasks.cli.screen import console

Reason = Annotated[str, typer.Option("--reason", help="Why, for the ledger.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the ledger line as JSON.")]


def rollback(
    reason: Reason,
    to: Annotated[
        str | None, typer.Option("--to", help="The version; without it: the one that was champion before.")
    ] = None,
    who: Annotated[str | None, typer.Option("--who", help="Who asks; without it: the user of this shell.")] = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Make an earlier version the champion again, and write it into the ledger.

    A version whose files are gone, or whose model can't be loaded, is refused; then nothing changes.

    Exit code 0: done. 2: refused.

    Examples:

        behavior rollback --reason "calls everybody a buyer since last night"

        behavior rollback --to 3 --reason "4 and 5 were trained on the broken export" --who ann
    """
    from behavior_tasks.registry.overrule import Asked, roll_back

    home = current_home()
    asked = Asked(who=user_name() if who is None else who, why=reason, when=datetime.now(UTC))
    _say(roll_back(home, registry_config(home, model), asked, to=to), as_json)


def promote(
    version: Annotated[str, typer.Option("--version", help="The version that becomes champion.")],
    who: Annotated[str, typer.Option("--who", help="Who decides this.")],
    reason: Reason,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Make a version the champion past the gate; who and why stay in the ledger, as an override.

    A version whose files are gone, or whose model can't be loaded, is refused; then nothing changes.

    Exit code 0: done. 2: refused.

    Examples:

        behavior promote --version 7 --who ann --reason "the gate's champion was trained on refunds; see ticket 311"
    """
    from behavior_tasks.registry.overrule import Asked, override

    home = current_home()
    asked = Asked(who=who, why=reason, when=datetime.now(UTC))
    _say(override(home, registry_config(home, model), asked, version=version), as_json)


def _say(line: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        console.print_json(json.dumps(line, ensure_ascii=False))
        return
    was = f" instead of version {line['from_version']}" if line["from_version"] else ""
    console.print(f"Version {line['version']} of {line['model']} is champion{was}.", highlight=False)
    if line["verdict"] != "promote":
        said = "the gate said keep" if line["verdict"] == "keep" else "no gate has judged it"
        console.print(f"Mind that {said} about it.", style="yellow", highlight=False)
    console.print("behavior history shows it; the next run compares its candidate with this version.")
