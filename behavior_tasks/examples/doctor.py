"""The doctor: can this log be learned from at all, and if not, what is missing?

In come the counts of a log (its history, its shoppers and purchases, and those of every split) with the
configuration; out come findings, each with what there is, what is needed and what to do. The one thing to know: the
stage `cutoffs` refuses a log by these, and `diagnosis` begins with them, so that both always say the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.timeline import Split, shortest_history_days

Level = Literal["ok", "warn", "fail"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class SplitCounts:
    """How much one split holds."""

    examples: int = 0
    shoppers: int = 0
    """Different shoppers; a train shopper may stand in several examples."""
    buyers: int = 0
    """Different shoppers with at least one example that ends in a purchase."""
    non_buyers: int = 0
    """Different shoppers with at least one example that does not."""
    positives: int = 0
    """Examples that end in a purchase."""

    @property
    def buyer_rate(self) -> float | None:
        """Share of the examples that end in a purchase; None without examples."""
        return self.positives / self.examples if self.examples else None


@dataclass(frozen=True, kw_only=True)
class LogCounts:
    """How much a log holds, after cleaning."""

    first: datetime | None
    last: datetime | None
    """Instants of the first and the last event, naive UTC; None for a log without events."""
    history_days: int
    """Whole days that can serve as history and label windows."""
    events: int = 0
    shoppers: int = 0
    purchases: int = 0
    priced_purchases: int = 0
    """Purchases with a known amount."""
    splits: Mapping[str, SplitCounts] = field(default_factory=dict)
    """Empty when the log is too short for three label windows."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing the doctor looked at."""

    level: Level
    what: str
    number: str
    """What there is, for people."""
    needed: str
    """What is needed, for people."""
    missing: int = 0
    """How many are missing, in the unit of `what`."""
    advice: str = ""
    """What to do; empty when all is well."""


def worst(findings: list[Finding]) -> int:
    """Return 0 when all findings are ok, 1 when the worst is a warning, 2 when one fails: an exit code.

    >>> levels: list[Level] = ["ok", "warn"]
    >>> worst([Finding(level=level, what="", number="", needed="") for level in levels])
    1
    """
    return max((("ok", "warn", "fail").index(finding.level) for finding in findings), default=0)


def refuse_if_short(counts: LogCounts, config: Config) -> None:
    """Refuse a log that can't be learned from.

    Raises:
        UserError: that names what there is, what is needed and what is missing, in the whole log and per split.
    """
    findings = amounts_needed(counts, config)
    failed = [finding for finding in findings if finding.level == "fail"]
    if not failed:
        return
    advice = dict.fromkeys(finding.advice for finding in failed)
    raise UserError(
        _headline(counts, failed),
        found="\n".join(_line(finding) for finding in findings),
        expected="at least the second number of each",
        next_step="\n".join(advice),
    )


def amounts_needed(counts: LogCounts, config: Config) -> list[Finding]:
    """Return findings on how much there is: history, shoppers and purchases of the log, then every split."""
    settings = config.examples
    findings = [
        _history(counts, settings.horizon_days),
        _enough("shoppers in the log", counts.shoppers, settings.min_shoppers, "min_shoppers"),
        # The three splits' label windows don't overlap, so each needs purchases of its own.
        _enough("purchases in the log", counts.purchases, len(SPLITS) * settings.min_buyers, "min_buyers"),
    ]
    for split in SPLITS:
        there = counts.splits.get(split)
        if there is None:
            continue
        findings += [
            _enough(f"{split}: shoppers", there.shoppers, settings.min_shoppers, "min_shoppers"),
            _enough(f"{split}: buyers", there.buyers, settings.min_buyers, "min_buyers"),
            _enough(f"{split}: non-buyers", there.non_buyers, settings.min_buyers, "min_buyers"),
        ]
    return findings


def _history(counts: LogCounts, horizon_days: int) -> Finding:
    needed = shortest_history_days(horizon_days)
    if counts.splits:
        return Finding(level="ok", what="days of history", number=str(counts.history_days), needed=str(needed))
    longest = (counts.history_days - 1) // 3
    shorter = f", or try a shorter horizon: --set examples.horizon_days={longest}" if longest >= 1 else ""
    return Finding(
        level="fail",
        what="days of history",
        number=str(counts.history_days),
        needed=str(needed),
        missing=needed - counts.history_days,
        advice=f"give a longer log (three horizons of {horizon_days} days and a day before them){shorter}",
    )


def _enough(what: str, number: int, needed: int, setting: str) -> Finding:
    missing = max(0, needed - number)
    if not missing:
        return Finding(level="ok", what=what, number=f"{number:,}", needed=str(needed))
    if what.endswith("non-buyers"):
        advice = "nearly everybody buys within the horizon: try a shorter one with --set examples.horizon_days=…"
    elif what.endswith(": buyers"):
        advice = "few buy within the horizon: try a longer one with --set examples.horizon_days=…, or a longer log"
    elif what.startswith("purchases") and not number:
        advice = "check that source.actions (or the preset) names the file's word for a purchase"
    else:
        unit = "purchases" if what.startswith("purchases") else "shoppers"
        advice = f"give a log with more {unit}; a trial on little data: --set examples.{setting}=…"
    return Finding(level="fail", what=what, number=f"{number:,}", needed=str(needed), missing=missing, advice=advice)


def _headline(counts: LogCounts, failed: list[Finding]) -> str:
    if counts.first is None:
        problem = "The log holds no events"
    elif not counts.purchases:
        problem = "The log holds no purchases, so there is nothing to learn to predict"
    elif counts.shoppers == 1:
        problem = "The log holds a single shopper, so there is nobody to compare with"
    elif not counts.splits:
        problem = "The log is too short to be split into train, validation and test"
    else:
        problem = "The log holds too little to learn from"
    missing = ", ".join(f"{finding.missing:,} {finding.what}" for finding in failed)
    return f"{problem}. Missing: {missing}."


def _line(finding: Finding) -> str:
    tail = f"   {finding.missing:,} missing" if finding.missing else ""
    return f"{finding.what:<24}{finding.number:>9} of {finding.needed:<4}{tail}".rstrip()
