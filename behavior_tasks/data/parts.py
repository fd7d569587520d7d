"""Parts: which artifact each raw file gave, and which of them share days.

In come the parts that `ingest` lists; out come, for each, the others with events on the same local days. The one thing
to know: parts stand in an order that depends on their content alone, so it never matters on which night a file came.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

PARTS_FILE = "parts.json"


class LogPart(BaseModel):
    """One raw file, as `ingest` left it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    """The raw file's name."""
    uri: str
    """Its artifact of the stage `ingest-part`."""
    rows_in: int
    rows: int
    """Events."""
    first: str | None
    """Instant of the first event (ISO, naive UTC); None without events."""
    last: str | None
    days: dict[str, int]
    """Events by local day (ISO)."""
    present: list[str]
    """Optional columns with any value."""

    @property
    def order(self) -> tuple[str, str]:
        """Its place among the parts."""
        return (self.first or "", self.uri)


class Shared(BaseModel):
    """Another part with events on the same local days."""

    model_config = ConfigDict(frozen=True)

    part: LogPart
    days: tuple[str, str]
    """First and last of the days that both have."""
    comes_before: bool


def read_parts(folder: Path) -> list[LogPart]:
    """Return the parts that `ingest` listed in its artifact's folder, in their order."""
    return [LogPart.model_validate(entry) for entry in json.loads((folder / PARTS_FILE).read_bytes())]


def sharing_days(parts: Sequence[LogPart]) -> dict[str, list[Shared]]:
    """Return, by URI, the other parts with events on the same local days."""
    by_day: dict[str, list[int]] = {}
    for number, part in enumerate(parts):
        for day in part.days:
            by_day.setdefault(day, []).append(number)
    pairs: dict[tuple[int, int], list[str]] = {}
    for day, numbers in by_day.items():
        for one in numbers:
            for other in numbers:
                if one != other:
                    pairs.setdefault((one, other), []).append(day)
    shared: dict[str, list[Shared]] = {part.uri: [] for part in parts}
    for (one, other), days in sorted(pairs.items()):
        entry = Shared(part=parts[other], days=(min(days), max(days)), comes_before=other < one)
        shared[parts[one].uri].append(entry)
    return shared
