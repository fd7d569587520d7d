"""User errors: what a person did wrong, said so that they can mend it.

Every mistake that a user can make raises `UserError`; the command line and the DAG show its text on one
screen, without a traceback. Anything else that escapes is a fault of this project.
"""

import difflib
from collections.abc import Iterable, Mapping


class UserError(Exception):
    """A mistake that the person at the keyboard can mend.

    Args:
        problem: one sentence that names the file, row or key.
        found: what was there.
        expected: what should have been there.
        next_step: what to type or change next.

    >>> print(UserError("The file log.csv is empty.", expected="a header and rows", next_step="check the export"))
    The file log.csv is empty.
      expected: a header and rows
      next:     check the export
    """

    def __init__(
        self,
        problem: str,
        *,
        found: object = None,
        expected: object = None,
        next_step: str | None = None,
    ) -> None:
        self.problem = problem
        self.found = None if found is None else str(found)
        self.expected = None if expected is None else str(expected)
        self.next_step = next_step
        super().__init__(problem)

    def __str__(self) -> str:
        lines = [self.problem]
        named = (("found:", self.found), ("expected:", self.expected), ("next:", self.next_step))
        for label, value in named:
            if value:
                lines.append(f"  {label:<9} {value}".replace("\n", "\n            "))
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors travel between processes (the bucket pool), so they must survive pickling whole.
        return (_rebuild, (self.problem, self.found, self.expected, self.next_step))


def _rebuild(problem: str, found: str | None, expected: str | None, next_step: str | None) -> UserError:
    return UserError(problem, found=found, expected=expected, next_step=next_step)


def require_said(said: Mapping[str, str], why: str, *, expected: str | None = None) -> None:
    """Check that what must be told for a record was told.

    Args:
        said: option → its value.
        why: who needs it, e.g. "the ledger must say who asked".
        expected: what a good value is.

    Raises:
        UserError: naming the first option that is empty or blank.
    """
    for option, value in said.items():
        if not value.strip():
            raise UserError(f"{option} is empty; {why}.", expected=expected, next_step=f'add {option} "…"')


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice that looks most like `word`, or None when nothing is close.

    >>> nearest("horizon_day", ["horizon_days", "lookback_days"])
    'horizon_days'
    """
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return close[0] if close else None
