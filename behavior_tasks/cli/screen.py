"""The two consoles, and how figures are written on them."""

from collections.abc import Iterable

from rich.console import Console

from behavior_tasks.serve.banners import Banner

console = Console()
errors = Console(stderr=True)
LEVEL_STYLES = {"notice": "", "warning": "yellow", "severe": "red"}
"""How a banner of each level is shown."""


def tell_banners(banners: Iterable[Banner]) -> None:
    """Say what must be known before an output is used."""
    for banner in banners:
        told = f"{banner.level}: {banner.words}\n  next: {banner.next_step}"
        console.print(told, style=LEVEL_STYLES[banner.level], markup=False, highlight=False)


def count(number: int) -> str:
    """Return a whole number with thousands separators.

    >>> count(541909)
    '541,909'
    """
    return f"{number:,}"


def seconds(value: float) -> str:
    """Return a duration for a table.

    >>> seconds(0.04), seconds(12.34), seconds(75.2)
    ('0.0 s', '12.3 s', '1 min 15 s')
    """
    if value < 60:
        return f"{value:.1f} s"
    return f"{int(value) // 60} min {int(value) % 60:02d} s"


def size(number: int) -> str:
    """Return a number of bytes for a table.

    >>> size(512), size(20_480), size(3_221_225_472)
    ('512 B', '20.0 KB', '3.0 GB')
    """
    value = float(number)
    for unit in ("B", "KB", "MB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GB"


def figure(value: float | None) -> str:
    """Return a metric with three decimals; a dash where it is undefined.

    >>> figure(0.35499), figure(None), figure(float("nan"))
    ('0.355', '–', '–')
    """
    return "–" if value is None or value != value else f"{value:.3f}"
