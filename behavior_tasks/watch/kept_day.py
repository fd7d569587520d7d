"""A watched day as it lies in the state folder: a date in; what stood and the day's tables out.

The one thing to know: reading a day needs none of the libraries that watching one does, so a server may do it.
"""

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd

from behavior_tasks.base.home import Home
from behavior_tasks.watch.alerts import Day
from behavior_tasks.watch.folders import day_folder

ALERTS = "alerts.json"
SHADES: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
"""Stability index at which a column's field gets the next shade; from 0.25 on it has drifted."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A watched day in the state folder."""

    day: date
    folder: Path
    standing: Day
    artifact: str

    def table(self, name: str) -> pd.DataFrame:
        """Return one of the tables of `watch.stage`."""
        return pd.read_parquet(self.folder / f"{name}.parquet")


def find_kept(home: Home, day: date) -> Kept | None:
    """Return a watched day, or None."""
    place = day_folder(home, day)
    try:
        told = json.loads((place / ALERTS).read_bytes())
    except FileNotFoundError:
        return None
    artifact = told.pop("artifact")
    return Kept(day=day, folder=place, standing=Day.model_validate(told), artifact=artifact)
