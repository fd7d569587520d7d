"""Words of consent: a cell of a log or of a side table in; whether it means yes, out.

The one thing to know: only a word that is known to mean yes is consent; an empty cell and any other word are none.
"""

from collections.abc import Iterable

from behavior_tasks.base.source_config import ConsentTable
from behavior_tasks.data.codes import literal

CONSENT = "consent"
"""The column, and the side table."""


def consent_sql(cell: str, config: ConsentTable) -> str:
    """Return SQL that is true where a cell of text means consent, and false everywhere else.

    >>> consent_sql("c", ConsentTable(yes=["Ja"], no=["nein"]))
    "coalesce(lower(trim(c)) IN ('ja'), false)"
    """
    return f"coalesce({_among(cell, config.yes)}, false)"


def odd_consent_sql(cell: str, config: ConsentTable) -> str:
    """Return SQL that is true where a cell holds a word that means neither yes nor no."""
    return f"({cell} IS NOT NULL AND NOT {_among(cell, [*config.yes, *config.no])})"


def _among(cell: str, words: Iterable[str]) -> str:
    # An empty list of words must be met by nothing.
    listed = ", ".join(literal(word.strip().lower()) for word in words) or "NULL"
    return f"lower(trim({cell})) IN ({listed})"
