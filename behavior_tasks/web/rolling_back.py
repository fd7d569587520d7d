"""A rollback asked for on the page: a registered model, a version, who and why in; the ledger's line out.

It is `behavior rollback`, in a process of its own, because loading a model to see that it serves would leave a
gigabyte of libraries in the server. The one thing to know: what the command refuses is refused here with its words.
"""

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.registry.actions import log_action
from behavior_tasks.web.engineer_title import read_titles

SECONDS = 180.0
MOST_CHARACTERS = 500
"""Of a reason."""


def roll_back(home: Home, *, model: str, to: str, who: str, why: str) -> dict[str, Any]:
    """Make an earlier version the champion again; log the action with its end, whichever that is.

    Raises:
        UserError: when the version was never champion, no reason is given, or the command refuses.
    """
    about = {"model": model, "to": to, "why": why[:MOST_CHARACTERS]}
    try:
        line = _roll_back(home, model=model, to=to, who=who, why=why.strip())
    except UserError as error:
        log_action(home, when=datetime.now(UTC), who=who, action="rollback", outcome=error.problem, what=about)
        raise
    log_action(home, when=datetime.now(UTC), who=who, action="rollback", outcome="done", what=about)
    return line


def check_target(home: Home, model: str, to: str) -> None:
    """Raise a UserError unless a version was champion of a model before."""
    known = {title.model: title for title in read_titles(home)}
    if model not in known or to not in known[model].earlier:
        raise UserError(
            f"Version {to} of {model} was not champion before.",
            expected="a version of the timeline that is not champion now",
            next_step="open the page anew; somebody may have changed the champion meanwhile",
        )


def _roll_back(home: Home, *, model: str, to: str, who: str, why: str) -> dict[str, Any]:
    if not 0 < len(why) <= MOST_CHARACTERS:
        raise UserError(
            "The reason is empty or too long; the promotion ledger must say why the champion was changed.",
            expected=f"1 to {MOST_CHARACTERS} characters that somebody understands next year",
        )
    check_target(home, model, to)
    asked = [f"--to={to}", f"--model={model}", f"--who={who}", f"--reason={why}"]
    command = [sys.executable, "-m", "behavior_tasks.cli.main", "rollback", *asked, "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"The rollback has not ended within {SECONDS:.0f} seconds and was stopped.",
            next_step="behavior history says who is champion; look whether MLflow answers, then try again",
        ) from None
    if done.returncode:
        first, _, rest = done.stderr.strip().partition("\n")
        raise UserError(first or "The rollback failed.", found=rest.strip() or None)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
