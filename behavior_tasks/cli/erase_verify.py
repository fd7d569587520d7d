"""`behavior erase --verify` and `--check-certificate`: a signed answer whether somebody is gone."""

import os
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from behavior_tasks.base.home import current_home
from behavior_tasks.cli.privacy_scan import show_found
from behavior_tasks.cli.screen import console, count

if TYPE_CHECKING:
    from behavior_tasks.pipeline.privacy.certificate import Certificate


def verify(raw_ids: Collection[str], *, who: str) -> bool:
    """Search for who was erased, write a certificate, show it, and return whether they are gone.

    Args:
        raw_ids: of who is looked for; none: everybody who was ever erased.
        who: the person who asks.
    """
    from behavior_tasks.data.erasures import read_erasures
    from behavior_tasks.pipeline.privacy.certificate import certify
    from behavior_tasks.pipeline.privacy.search_all import Elsewhere

    home = current_home()
    if not raw_ids and not read_erasures(home):
        console.print("Nobody was erased yet, so there is nothing to verify.")
        return True
    elsewhere = Elsewhere.of(home, os.environ)
    written = certify(home, elsewhere, now=datetime.now(UTC), who=who, raw_ids=raw_ids or None)
    _show(written)
    return written.absent


def _show(written: "Certificate") -> None:
    show_found(written.found, written.hits)
    for line in written.content["not_seen"][len(written.found.unseen) :]:
        console.print(f"not seen: {line}", markup=False, highlight=False, style="dim")
    shoppers = int(written.content["shoppers"])
    whom = "1 erased shopper" if shoppers == 1 else f"{count(shoppers)} erased shoppers"
    if written.absent:
        console.print(f"Absent: {whom}, looked for by {written.content['searched_for']}.", style="green")
    else:
        for request in written.content["not_through"]:
            console.print(f"The erasure {request} is not through. Next: the same behavior erase again", style="red")
        if earlier := written.content["under_earlier_keys"]:
            console.print(
                f"Not told: {', '.join(earlier)}, made under an earlier identity key. Next: behavior gc", style="red"
            )
        if written.hits:
            console.print(f"Not absent: something of {whom} is still held. Next: behavior erase again", style="red")
    for one in written.content["models"]:
        console.print(f"{one['model']} version {one['version']}: {one['state']}", markup=False, highlight=False)
    names = f"privacy/certificates/{written.file.name} and {written.page.name}"
    console.print(f"Signed as {names} in the state folder.", style="dim", highlight=False)


def check(file: Path) -> None:
    """Say whether a certificate is as it was signed, and by which key.

    Raises:
        UserError: when it is none, or was changed.
    """
    from behavior_tasks.pipeline.privacy.certificate import check_certificate

    found = check_certificate(current_home(), file)
    content = found.content
    told = "absent" if content["absent"] else "NOT absent"
    console.print(f"The signature holds: {_people(content['shoppers'])} {told} on {content['when']}.")
    if found.is_own:
        console.print(f"Signed with this state folder's key {found.key}.", highlight=False)
    else:
        console.print(
            f"Signed with the key {found.key}, which is not this state folder's: compare it with the one you know.",
            style="yellow",
            highlight=False,
        )


def _people(number: int) -> str:
    return "1 shopper" if number == 1 else f"{count(number)} shoppers"
