"""Why a row stands aside in quarantine: the reason codes, what to do about each, and when a run fails over them.

In come the counts of the reasons; out comes nothing, or one `UserError` with a table. The one thing to know:
reasons that a kind of log is known for (`source.expected_reasons`) never count as bad.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from behavior_tasks.base.config import SourceConfig
from behavior_tasks.base.errors import UserError

REASONS: Mapping[str, str] = {
    "erased": "rows of shoppers who were erased: nothing to do; take them out of the export, too",
    "no_consent": "of these shoppers nothing is kept; source.consent says who consents",
    "bad_encoding": "set source.encoding to what the export used",
    "broken_quotes": "a quote is never closed, or text follows one: export with doubled quotes",
    "broken_json": "each line must be one whole JSON object: export with a line an event",
    "cell_too_long": "check these lines; a quote or a line end is missing",
    "wrong_column_count": "check source.delimiter, and that texts with it are quoted",
    "missing_user_id": "if they are anonymous visits: --set source.expected_reasons=[missing_user_id]",
    "ignored_action": "named in source.ignored_actions; take it out there to map it instead",
    "unknown_action": "map the words: --set 'source.actions={word: purchase, …}'",
    "missing_product_id": "every action but a search needs a product",
    "bad_timestamp": "set source.time_format: unix_seconds, unix_milliseconds, iso, or one such as %Y-%m-%d %H:%M:%S",
    "milliseconds_for_seconds": "--set source.time_format=unix_milliseconds",
    "seconds_for_milliseconds": "--set source.time_format=unix_seconds",
    "outside_period": "check source.period_start, source.period_end and source.timezone",
    "timestamp_in_future": "check source.time_format, source.timezone and the shop's clock",
    "bad_number": "write plain numbers such as 1234.5, without currency or commas",
    "negative_amount": "export refunds with the action return",
    "absurd_amount": "raise source.max_amount if such amounts are real",
}
"""Reason code → what to do about it, in the order in which a row is judged."""
COUNTED_ONLY = frozenset({"no_consent"})
"""Reasons of rows of which nothing is kept but their number: no line, no word, nobody."""
MOST_SHOWN = 8
EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class ReasonCount:
    """How often a reason was met."""

    reason: str
    rows: int
    lines: Sequence[int | str]
    """The first lines, counted from 1; `file:line` where several files are counted together."""
    example: str = ""
    """What was found in one of them, fit to be shown."""

    def as_fact(self) -> dict[str, Any]:
        """Return the count as JSON, to be read again by `ReasonCount(**fact)`."""
        return asdict(self)


def refuse_if_bad(
    counts: Sequence[ReasonCount], *, rows_in: int, config: SourceConfig, shown: str, see: str = ""
) -> None:
    """Let the run fail when too many rows are bad, or none is left.

    Raises:
        UserError: with a table of reasons, most frequent first.
    """
    bad = sum(c.rows for c in counts if c.reason not in config.reasons_that_are_not_bad)
    aside = sum(c.rows for c in counts)
    if rows_in == 0:
        raise UserError(
            f"{shown} holds a header but no rows.",
            expected="one row an event below the header",
            next_step="check the export that wrote it",
        )
    if bad > config.max_bad_fraction * rows_in:
        raise UserError(
            f"{bad:,} of {rows_in:,} rows of {shown} are bad ({bad / rows_in:.1%}).",
            found=_table(counts, rows_in, config),
            expected=f"at most {config.max_bad_fraction:.1%} (source.max_bad_fraction)",
            next_step=_advice(counts, config) + see,
        )
    if aside == rows_in:
        raise UserError(
            f"No event is left of the {rows_in:,} rows of {shown}.",
            found=_table(counts, rows_in, config),
            expected="at least one good row",
            next_step="check that this is the right log and preset",
        )


def _by_count(counts: Sequence[ReasonCount]) -> list[ReasonCount]:
    return sorted(counts, key=lambda c: (-c.rows, c.reason))


def _table(counts: Sequence[ReasonCount], rows_in: int, config: SourceConfig) -> str:
    lines = [f"{'reason':<25}{'rows':>10}{'share':>8}  lines"]
    for count in _by_count(counts)[:MOST_SHOWN]:
        more = ", …" if count.rows > len(count.lines) > 0 else ""
        where = ", ".join(map(str, count.lines)) + more
        expected = " (expected)" if count.reason in config.reasons_that_are_not_bad else ""
        example = f"  {count.example}" if count.example else ""
        lines.append(f"{count.reason:<25}{count.rows:>10,}{count.rows / rows_in:>8.1%}  {where}{expected}{example}")
    if len(counts) > MOST_SHOWN:
        lines.append(f"and {len(counts) - MOST_SHOWN} more reasons")
    return "\n".join(lines)


def _advice(counts: Sequence[ReasonCount], config: SourceConfig) -> str:
    bad = [c for c in _by_count(counts) if c.reason not in config.reasons_that_are_not_bad][:MOST_SHOWN]
    return "\n".join(f"{c.reason}: {REASONS[c.reason]}" for c in bad)
