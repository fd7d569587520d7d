"""Drift: what the champion read and said when it was tested, and now, in; by column how far the two lie apart out.

Column by column the population stability index and the Kolmogorov-Smirnov distance; a column has drifted when the
distance is large and chance would hardly give it, the number of columns considered. The one thing to know: the
reference is of the same weekday, because a shop on Monday is another than on Saturday.
"""

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from behavior_tasks.base.application_config import WatchConfig
from behavior_tasks.base.artifacts import hash_of
from behavior_tasks.base.cached import is_kept
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.base.tables import bucket_files
from behavior_tasks.base.timeline import local_day
from behavior_tasks.base.workfolder import work_folder
from behavior_tasks.examples.features import FEATURES
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.moment import moment_at
from behavior_tasks.serve.score import Place
from behavior_tasks.serve.served import find_served, served_dates
from behavior_tasks.watch.matured import APPLICATIONS, Log
from behavior_tasks.watch.snapshot import SAMPLE, SCORE_COLUMNS, TEXT_COLUMNS, take_snapshot
from behavior_tasks.watch.statistics import Comparison, adjusted, compare

COLUMNS: tuple[str, ...] = (
    "unit", "version", "kind", "column", "reference_day", "day", "reference_rows", "rows", "reference_mean", "mean",
    "psi", "noise", "excess", "ks", "p", "state",
)  # fmt: skip
"""Columns of `drift.parquet`. `kind` is feature, text or score; `p` is the smaller of both tests', adjusted for all
columns; `state` is steady, shifted (surely, but little), drifted, too few, grows (with a young log, by itself), or
shared (the shop's own, the same for everybody at an instant: one observation, however many rows)."""
GROWING = ("tenure_days", "purchase_tenure_days", "this_tenure_days", "trend_30d")
"""Features that grow with the log itself as long as it is younger than the lookback."""
YOUNG = 2
"""How many times as long as at the reference a log may have become before every column grows by itself."""
SHARED = frozenset(
    feature.name for feature in FEATURES if any(word in feature.sql for word in ("market_", "popularity"))
)
"""Features made of what the whole shop did; the watch of the traffic tells when that changes."""

Columns = Mapping[str, np.ndarray]
"""Name of a column → its values: float64 or objects, (n,)."""


def watch_columns(
    home: Home, champion: Champion, log: Log, settings: WatchConfig, *, place: Place, without: Collection[str] = ()
) -> pd.DataFrame:
    """Return the table of COLUMNS of a champion: its reference against the newest day that was served.

    Empty when that day is not later than the champion's own test, or nobody was there then.

    Args:
        home: where references are kept and served scores lie.
        champion: of either unit.
        log: today's.
        settings: when a difference is large, sure, and about enough rows.
        place: where and with what it is computed.
        without: features that were compared for another champion, of the same shoppers.
    """
    dates = [day for day in served_dates(home, APPLICATIONS[champion.unit]) if day <= log.moment.as_of]
    day = dates[-1] if dates else log.moment.as_of
    reference_day = _same_weekday(local_day(champion.tested_from, ZoneInfo(log.moment.timezone)), day)
    if reference_day >= day:
        return pd.DataFrame(columns=list(COLUMNS))
    then = _reference(home, champion, log, reference_day, place=place)
    now = take_snapshot(champion, log.events, moment_at(day, log.moment.timezone), place=place, scored=False)
    today = {name: now[name] for name in now.columns} | _served_scores(home, champion, day)
    shared = [name for name in then.columns if name in today and name not in {"shopper", "product_id", *without}]
    about = {"unit": champion.unit, "version": champion.version, "reference_day": reference_day, "day": day}
    table = compare_columns(
        {name: _values(then[name]) for name in shared}, {name: _values(today[name]) for name in shared}, about, settings
    )
    table.loc[table["column"].isin(SHARED), "state"] = "shared"
    lookback = timedelta(days=champion.examples.lookback_days)
    ends = (moment_at(end, log.moment.timezone).cutoff for end in (reference_day, day))
    history_then, history_now = (min(end - log.first, lookback) for end in ends)
    if history_now > YOUNG * history_then:
        # Whatever is counted over a shopper's history has grown with it, and so has what follows from it.
        table.loc[table["state"].isin(["shifted", "drifted"]), "state"] = "grows"
    elif history_then < lookback:
        table.loc[table["column"].isin(GROWING), "state"] = "grows"
    return table


def compare_columns(then: Columns, now: Columns, about: Mapping[str, Any], settings: WatchConfig) -> pd.DataFrame:
    """Return the table of COLUMNS of the same columns then and now.

    Args:
        then: the reference.
        now: today's, with the same names.
        about: values of the columns that are the same in every row.
        settings: when a difference is large, sure, and about enough rows.
    """
    found = {name: compare(then[name], now[name]) for name in then}
    enough = {name: _enough(then[name], now[name], settings.min_rows) for name in then}
    tested = [name for name in then if enough[name]]
    p_values = adjusted([p for name in tested for p in (found[name].psi_p, found[name].ks_p)]).reshape(-1, 2)
    by_name = dict(zip(tested, p_values, strict=True))
    rows = []
    for name, one in found.items():
        p = by_name.get(name, np.array([np.nan, np.nan]))
        rows.append(
            {
                **about,
                "kind": "text" if name in TEXT_COLUMNS else "score" if name in SCORE_COLUMNS else "feature",
                "column": name,
                "reference_rows": len(then[name]),
                "rows": len(now[name]),
                "reference_mean": _mean(then[name]),
                "mean": _mean(now[name]),
                "psi": one.psi,
                "noise": one.noise,
                "excess": one.excess,
                "ks": one.ks,
                "p": float(np.fmin(p[0], p[1])),
                "state": state_of(one, p, settings) if enough[name] else "too few",
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def state_of(found: Comparison, p_values: np.ndarray, settings: WatchConfig) -> str:
    """Return steady, shifted or drifted.

    Args:
        found: how far the samples lie apart.
        p_values: of the index and of the KS distance, adjusted, (2,); NaN where there is none.
        settings: thresholds.
    """
    sure = p_values <= settings.false_alarms
    far = np.array([found.excess > settings.max_psi, found.ks > settings.max_ks])
    if (sure & far).any():
        return "drifted"
    return "shifted" if sure.any() else "steady"


def _enough(then: np.ndarray, now: np.ndarray, least: int) -> bool:
    """Whether there are rows enough on both sides, and values on one: a column that was never there says nothing."""
    return min(len(then), len(now)) >= least and any((~pd.isna(values)).sum() >= least for values in (then, now))


def _same_weekday(tested: date, day: date) -> date:
    """Return the newest day of `day`'s weekday that is not after the test."""
    return tested - timedelta(days=(tested.weekday() - day.weekday()) % 7)


def _reference(home: Home, champion: Champion, log: Log, day: date, *, place: Place) -> pd.DataFrame:
    """Return the champion's snapshot of a day; made once and kept, so it stays what the champion was judged on."""
    parent = make_folder(home.cache / "watch" / "references")
    named = hash_of(champion.unit, champion.name, champion.version, champion.uri, day.isoformat(), SAMPLE)
    path = parent / f"{named}.parquet"
    if not is_kept(path):
        table = take_snapshot(champion, log.events, moment_at(day, log.moment.timezone), place=place, scored=True)
        if not len(table):
            return table
        with work_folder(parent, named) as folder:
            table.to_parquet(folder / path.name)
            (folder / path.name).replace(path)
    return pd.read_parquet(path)


def _served_scores(home: Home, champion: Champion, day: date) -> dict[str, pd.Series]:
    """Return the scores that this champion served; none when another one, or nobody, did."""
    try:
        served = find_served(home, APPLICATIONS[champion.unit], day)
    except UserError:  # damaged, which the table of served days tells
        return {}
    if served is None or served.facts.get("version") != champion.version:
        return {}
    files = bucket_files(served.folder / "scores")
    if not files:
        return {}
    table = pd.concat([pd.read_parquet(file, columns=["shopper", *SCORE_COLUMNS]) for file in files])
    # One row a shopper, as in the reference: rows of one shopper are not independent.
    one_each = table.sample(frac=1, random_state=7).drop_duplicates("shopper")
    return {name: one_each[name] for name in SCORE_COLUMNS}


def _values(column: pd.Series) -> np.ndarray:
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return column.astype(object).where(column.notna(), None).to_numpy(dtype=object)


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)] if values.dtype.kind == "f" else np.empty(0)
    return float(known.mean()) if len(known) else float("nan")
