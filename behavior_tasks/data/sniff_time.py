"""How times are written: Unix seconds or milliseconds, ISO, another format, with or without a zone.

In come the cells of a column; out comes the format that reads nearly all of them, with the evidence. The one thing to
know: day before month and month before day are told apart only by a day above 12; without one, it says so.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa

from behavior_tasks.base.source_config import SourceConfig
from behavior_tasks.base.tables import connect
from behavior_tasks.data.parse import instant_sql

ENOUGH = 0.95
"""A format must read so many of a column's cells."""
ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?( ?Z| ?UTC|[+-]\d\d(:?\d\d)?)?")
ZONED = re.compile(r".*\d( ?(Z|UTC|[+-]\d\d(:?\d\d)?))")
DATES = ("%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%Y%m%d", "%d.%m.%y", "%m/%d/%y", "%d %b %Y")
CLOCKS = ("", " %H:%M:%S", " %H:%M", " %H", " %I:%M:%S %p", " %I:%M %p")
FORMATS = ("%Y-%m-%d %H", *(date + clock for date in DATES for clock in CLOCKS), "%Y%m%d%H%M%S", "%Y%m%d%H%M")
PARTS = {"%Y": r"\d{4}", "%b": r"\w{3,}", "%p": "[AaPp][Mm]"}
"""What a part of a format looks like; any other is one or two digits."""
_SHAPES = {
    name: re.compile(
        "".join(PARTS.get(part, r"\d\d?") if "%" in part else re.escape(part) for part in re.split("(%.)", name))
    )
    for name in FORMATS
}
LOOKED_AT = 20
MONTH_DAY = "%m%d"
SWAPPED = {"%d/%m": "%m/%d", "%m/%d": "%d/%m"}
QUIET_HOUR = 4
"""The hour of the local day at which shops are quietest."""
NEARLY_NONE, LONGEST_NIGHT = 0.002, 5
"""An hour with so small a share of the events is empty; so many empty hours tell no zone."""
TRIED = 2_000


@dataclass(frozen=True, kw_only=True)
class TimeFormat:
    """How a column's times are written."""

    time_format: str
    share: float
    """Share of the cells that it reads."""
    why: str
    zoned: bool
    """Whether the text, or its count of seconds, says the instant by itself."""
    unsure: str = ""
    """What can't be told from the cells, and what to do."""


def time_format_of(cells: Sequence[str]) -> TimeFormat | None:
    """Return how times are written, or None when the cells are no times.

    >>> time_format_of(["1511544070", "1511561733"]).time_format
    'unix_seconds'
    >>> time_format_of(["25.12.2019 08:15", "01.01.2020 09:00"]).time_format
    '%d.%m.%Y %H:%M'
    """
    tried = cells[:: max(len(cells) // TRIED, 1)]
    if not tried:
        return None
    for digits, name, low, high in ((10, "unix_seconds", 6e8, 4e9), (13, "unix_milliseconds", 6e11, 4e12)):
        fits = [c for c in tried if re.fullmatch(r"\d{9,13}(\.\d+)?", c) and low <= float(c) < high]
        if len(fits) >= ENOUGH * len(tried):
            return TimeFormat(
                time_format=name,
                share=len(fits) / len(tried),
                why=f"numbers of {digits} digits, as {name.replace('_', ' ')} since 1970 have",
                zoned=True,
            )
    share = sum(bool(ISO.fullmatch(cell)) for cell in tried) / len(tried)
    if share >= ENOUGH:
        zoned = sum(bool(ZONED.fullmatch(c)) and len(c) > 10 for c in tried) >= ENOUGH * len(tried)
        why = f"{share:.0%} are ISO dates" + (" with a zone" if zoned else " without a zone")
        return TimeFormat(time_format="iso", share=share, why=why, zoned=zoned)
    return _best(tried)


def month_day_format(cells: Sequence[str]) -> TimeFormat | None:
    """Return the format of days such as 829 or 1111, without a year; None when the cells are none.

    Such numbers may be anything, so only a column whose name speaks of time should be asked.
    """
    fits = [cell for cell in cells if re.fullmatch(r"(0?[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", cell)]
    if not cells or len(fits) < ENOUGH * len(cells):
        return None
    return TimeFormat(
        time_format=MONTH_DAY,
        share=len(fits) / len(cells),
        why=f"{len(fits) / len(cells):.0%} are a month and a day, such as {fits[0]}",
        zoned=False,
        unsure="the dates name no year: set source.year",
    )


def _best(cells: Sequence[str]) -> TimeFormat | None:
    shares = {name: share for name, share in _shares(cells).items() if share >= ENOUGH}
    if not shares:
        return None
    # The first of equals: the list runs from the usual to the rare.
    best = max(shares, key=lambda name: shares[name])
    other = SWAPPED.get(best[:5], "") + best[5:]
    doubt = f"no day above 12 tells {best} from {other}" if shares.get(other) == shares[best] else ""
    return TimeFormat(
        time_format=best, share=shares[best], why=f"{shares[best]:.0%} are written as {best}", zoned=False, unsure=doubt
    )


def _shares(cells: Sequence[str]) -> dict[str, float]:
    """Return the share of the cells that a format reads as a time from 1990 on, for formats that look like them."""
    looks = [
        f
        for f in FORMATS
        if 2 * sum(bool(_SHAPES[f].fullmatch(c)) for c in cells[:LOOKED_AT]) >= len(cells[:LOOKED_AT])
    ]
    if not looks:
        return {}
    counts = ", ".join(
        f"count(*) FILTER (year({instant_sql('cell', SourceConfig(time_format=name))}) >= 1990)" for name in looks
    )
    with connect(memory_mb=512) as connection:
        connection.register("cells", pa.table({"cell": pa.array(cells, pa.string())}))
        found = connection.execute(f"SELECT {counts} FROM cells").fetchall()[0]
    return {name: count / len(cells) for name, count in zip(looks, found, strict=True)}


def read_times(cells: Sequence[str], config: SourceConfig) -> list[datetime | None]:
    """Return the instants in naive UTC, None where a cell is no time."""
    with connect(memory_mb=512) as connection:
        connection.execute(f"SET TimeZone = '{config.timezone}'")
        connection.register("cells", pa.table({"cell": pa.array(cells, pa.string())}))
        return [row[0] for row in connection.execute(f"SELECT {instant_sql('cell', config)} FROM cells").fetchall()]


def likely_offset(instants: Sequence[datetime]) -> str:
    """Return the zone in which the quietest hours would be early morning, as a hint in words; nothing when unclear.

    >>> likely_offset([])
    ''
    """
    if len(instants) < 1000 or max(instants) - min(instants) < timedelta(days=2):
        return ""
    hours = [0] * 24
    for instant in instants:
        hours[instant.hour] += 1
    if sum(hour < NEARLY_NONE * len(instants) for hour in hours) > LONGEST_NIGHT:
        # An office's hours, or times without a clock: any of many empty hours could be the night's middle.
        return ""
    around = [hours[h - 1] + hours[h] + hours[(h + 1) % 24] for h in range(24)]
    quietest = min(range(24), key=lambda h: around[h])
    if around[quietest] > sum(around) / 24 / 2:
        return ""
    offset = (QUIET_HOUR - quietest + 12) % 24 - 12
    return f"in UTC, the quietest hour is {quietest}:00, as {QUIET_HOUR}:00 would be at UTC{offset:+d}"
