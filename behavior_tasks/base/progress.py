"""Progress of long work: a bar on a terminal, a log line every ten seconds anywhere else (Airflow).

In goes what is to be done; out come rates and the time left, by amounts (rows, bytes) where they are known and by
items where not. The one thing to know: a clock of its own writes the lines, so they also come while one item is long.
"""

import logging
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

Item = TypeVar("Item")
LOG_EVERY_SECONDS = 10.0
log = logging.getLogger("behavior")


class Meter(Protocol):
    """What `measure` gives: call it to say how far the work has come."""

    def __call__(self, items: int, amount: float | None = None) -> None:
        """Say how many items, and how much of the whole amount, are done so far."""


@dataclass(frozen=True, kw_only=True)
class State:
    """How far the work has come."""

    what: str
    total: int
    """Items in all."""
    unit: str
    """Of the amounts, e.g. rows; empty: items are counted."""
    amount: float | None
    """Of all items together, where it is known."""
    items: int = 0
    done: float = 0.0
    """Amount done so far; items where amounts are not known."""

    def told(self, seconds: float) -> str:
        """Return one line for the log, `seconds` after the start.

        >>> State(what="texts", total=8, unit="rows", amount=8e6, items=2, done=2e6).told(20)
        'texts: 2 of 8, 100,000 rows/s, about 60 s left'
        >>> State(what="texts", total=8, unit="", amount=None).told(20)
        'texts: 0 of 8 after 20 s'
        """
        head = f"{self.what}: {self.items:,} of {self.total:,}"
        if not self.done or seconds <= 0:
            return f"{head} after {seconds:.0f} s"
        whole = self.total if self.amount is None else self.amount
        left = max(whole - self.done, 0.0) * seconds / self.done
        return f"{head}, {rate(self.done / seconds, self.unit)}, about {left:,.0f} s left"


def rate(per_second: float, unit: str) -> str:
    """Return a speed in words.

    >>> rate(123_456.7, "rows"), rate(0.25, "")
    ('123,457 rows/s', '0.25/s')
    """
    number = f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.2g}"
    return f"{number} {unit}/s" if unit else f"{number}/s"


def track(
    items: Iterable[Item], *, what: str, total: int, unit: str = "", amounts: Sequence[float] | None = None
) -> Iterator[Item]:
    """Yield the items, showing how many of `total` are done, how fast, and how long the rest will take.

    Args:
        what: short description, e.g. "ingest buckets".
        unit: of the amounts, e.g. "rows".
        amounts: how much each item is, in order; without them every item counts the same.
    """
    with measure(what=what, total=total, unit=unit, amount=None if amounts is None else sum(amounts)) as meter:
        so_far = 0.0
        for number, item in enumerate(items):
            yield item
            if amounts is not None:
                so_far += amounts[number]
            meter(number + 1, None if amounts is None else so_far)


@contextmanager
def measure(*, what: str, total: int, unit: str = "", amount: float | None = None) -> Iterator[Meter]:
    """Show progress until the block ends, also when nothing is said for long; the meter may be called from any thread.

    Args:
        what: short description.
        total: items in all.
        unit: of the amount.
        amount: of all items together; None: items are counted.
    """
    state = State(what=what, total=total, unit=unit if amount is not None else "", amount=amount)
    with _on_terminal(state) if sys.stderr.isatty() else _in_log(state) as meter:
        yield meter


@contextmanager
def _in_log(start: State) -> Iterator[Meter]:
    """Write a line every ten seconds, from a thread, until the block ends."""
    state, over, began = start, threading.Event(), time.monotonic()

    def meter(items: int, amount: float | None = None) -> None:
        nonlocal state
        state = _moved(start, items, amount)

    def beat() -> None:
        while not over.wait(LOG_EVERY_SECONDS):
            log.info("%s", state.told(time.monotonic() - began))

    thread = threading.Thread(target=beat, name=f"progress of {start.what}", daemon=True)
    thread.start()
    try:
        yield meter
    finally:
        over.set()
        thread.join()


@contextmanager
def _on_terminal(start: State) -> Iterator[Meter]:
    """Draw a bar, which refreshes itself, until the block ends."""
    from rich.console import Console

    columns = (TextColumn("{task.description}"), BarColumn(), _Counted(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(start.what, total=start.total if start.amount is None else start.amount, state=start)

        def meter(items: int, amount: float | None = None) -> None:
            state = _moved(start, items, amount)
            bar.update(task, completed=state.done, state=state)

        yield meter


def _moved(start: State, items: int, amount: float | None) -> State:
    return State(
        what=start.what,
        total=start.total,
        unit=start.unit,
        amount=start.amount,
        items=items,
        done=float(items) if amount is None or start.amount is None else amount,
    )


class _Counted(ProgressColumn):
    def render(self, task: Task) -> Text:
        state: State = task.fields["state"]
        return Text(f"{state.items:,}/{state.total:,}", style="progress.download")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        state: State = task.fields["state"]
        seconds = task.elapsed or 0.0
        return Text(
            rate(state.done / seconds, state.unit) if state.done and seconds else "", style="progress.data.speed"
        )
