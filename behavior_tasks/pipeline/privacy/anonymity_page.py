"""The page of k-anonymity: the figures of a run's profiles in; one HTML file with a picture out.

The one thing to know: it holds profiles and sizes of groups, and nobody's pseudonym.
"""

import base64
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.figures import BLUE, ORANGE, canvas, save
from behavior_tasks.base.page import render_page
from behavior_tasks.pipeline.privacy.anonymity import MEASURE, SIZES, Anonymity

TEMPLATE = Path(__file__).with_name("anonymity.html")
PAGE = "report.html"


def write_anonymity_page(folder: Path, found: Anonymity) -> Path:
    """Write `report.html` and return its path."""
    values = {"found": found, "sizes": SIZES, "measure": MEASURE, "plot": _plot(found.sizes)}
    write_durably(folder / PAGE, render_page(TEMPLATE, values).encode())
    return folder / PAGE


def _plot(sizes: Sequence[int]) -> str:
    """Draw how many shoppers share their profile with how many; return the PNG in base64."""
    figure, axes = canvas("Who shares a profile with how many", "shoppers with the same profile", "shoppers")
    held = np.array(sizes, dtype=np.int64)
    edges = [1, 2, 5, 10, 20, 50, 100, 1000, 10_000, 1 << 62]
    names = ["1", "2–4", "5–9", "10–19", "20–49", "50–99", "100–999", "1,000–9,999", "10,000 +"]
    counts = np.histogram(held, bins=edges, weights=held)[0]
    colours = [ORANGE if edge < MEASURE else BLUE for edge in edges[:-1]]
    axes.bar(names, counts, color=colours)
    axes.tick_params(axis="x", labelrotation=30)
    stream = BytesIO()
    save(figure, stream)
    return base64.b64encode(stream.getvalue()).decode()
