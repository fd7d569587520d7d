"""Records: a small JSON file that this project wrote in; the model that it holds out.

The one thing to know: a key that this version does not know was written by a newer one, and that is said as such; it
is never left out, because what it asked for would then silently not be done.
"""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from behavior_tasks import __version__
from behavior_tasks.base.errors import UserError

Record = TypeVar("Record", bound=BaseModel)
UNKNOWN = {"extra_forbidden": "key", "literal_error": "value of"}
"""Kinds of error that only another version can have made."""
SHOWN = 3
"""Most keys that a message names."""


def read_record(model: type[Record], content: bytes, name: str, *, mend: str) -> Record:
    """Return what a record holds.

    Args:
        model: what it should hold.
        content: the file's bytes, JSON in UTF-8.
        name: the file, for people: its place below the state folder.
        mend: what to type or do when it is damaged.

    Raises:
        UserError: when it is damaged, or of a newer version, naming the keys that this one does not know.
    """
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        problems = error.errors()
        places = [".".join(map(str, problem["loc"])) for problem in problems]
        unknown = [
            f"{UNKNOWN[problem['type']]} {place}"
            for problem, place in zip(problems, places, strict=True)
            if problem["type"] in UNKNOWN
        ]
        if unknown:
            more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
            raise UserError(
                f"{name} was written by a newer version of behavior-tasks.",
                found=f"unknown {', unknown '.join(unknown[:SHOWN])}{more}",
                expected=f"what version {__version__} writes",
                next_step="upgrade this installation to the version that wrote it",
            ) from None
        raise UserError(
            f"{name} is damaged.", found=f"{places[0] or 'JSON'}: {problems[0]['msg']}", next_step=mend
        ) from None
