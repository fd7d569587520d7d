"""The labelled set of the maskers: `personal.tsv`, a line `kind <tab> text`, the personal part between ⟦ and ⟧.

In comes the file; out come texts with the place of their personal part, and precision and recall by kind. The one
thing to know: lines of the kind `none` are hard negatives, among them product names of two real shops.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from behavior_tasks.data.maskers import KINDS, find_personal

FILE = Path(__file__).with_name("personal.tsv")
MARKED = re.compile("⟦(.*?)⟧")


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """One line."""

    kind: str
    """One of KINDS, or none."""
    text: str
    place: tuple[int, int]
    """Begin and end of the personal part; empty for none."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How well one kind is found."""

    labelled: int
    found: int
    precision: float
    """Share of what was found as this kind that is part of such a thing."""
    recall: float
    """Share of such things of which every sign was found, as this kind."""
    hidden: float
    """Share of such things of which every sign was found, as whatever kind."""


def read_labelled() -> list[Labelled]:
    """Return every line of the set."""
    lines = []
    for line in FILE.read_text(encoding="utf-8").splitlines():
        kind, marked = line.split("\t")
        match = MARKED.search(marked)
        text = MARKED.sub(r"\1", marked)
        place = (match.start(), match.start() + len(match[1])) if match else (0, 0)
        lines.append(Labelled(kind=kind, text=text, place=place))
    return lines


def figures(lines: Iterable[Labelled]) -> Mapping[str, Figures]:
    """Return precision and recall by kind."""
    counts: Counter[tuple[str, str]] = Counter()
    for line in lines:
        begin, end = line.place
        spans = find_personal(line.text)
        counts[line.kind, "labelled"] += 1
        for low, high, kind in spans:
            counts[kind, "found"] += 1
            counts[kind, "right"] += kind == line.kind and low < end and begin < high
        same = {n for low, high, kind in spans if kind == line.kind for n in range(low, high)}
        every = {n for low, high, _ in spans for n in range(low, high)}
        wanted = {n for n in range(begin, end) if not line.text[n].isspace()}
        counts[line.kind, "covered"] += bool(wanted) and wanted <= same
        counts[line.kind, "hidden"] += bool(wanted) and wanted <= every
    return {
        kind: Figures(
            labelled=counts[kind, "labelled"],
            found=counts[kind, "found"],
            precision=counts[kind, "right"] / max(counts[kind, "found"], 1),
            recall=counts[kind, "covered"] / max(counts[kind, "labelled"], 1),
            hidden=counts[kind, "hidden"] / max(counts[kind, "labelled"], 1),
        )
        for kind in KINDS
    }
