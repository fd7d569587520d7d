"""Matured: what was served by date, and today's events, in; by version and date how right it was out.

A date is judged once its horizon is over; until then the table says when it will be. The one thing to know: the figures
of a version are held against those of its own test, made here again in the same way from the champion that serves now.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from behavior_tasks.base.artifacts import ArtifactStore, hash_of
from behavior_tasks.base.cached import keep_json, read_kept
from behavior_tasks.base.config import ExamplesConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, temporary_folder
from behavior_tasks.base.tables import connect
from behavior_tasks.base.timeline import local_day
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.examples.feature_table import Unit
from behavior_tasks.model.event_folder import SETTINGS_FILE, EventSettings
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.moment import Moment, moment_at
from behavior_tasks.serve.score import Place, score_at
from behavior_tasks.serve.served import Served, find_served, served_dates
from behavior_tasks.watch.figures import FIGURES, PROMISED, figures_of
from behavior_tasks.watch.judged import Answers, Judged, judge, together
from behavior_tasks.watch.snapshot import write_sample

APPLICATIONS: dict[Unit, str] = {"shopper": "shopper_scores", "shopper_product": "product_scores"}
"""Which served application holds the scores of a unit."""
POOLED_DAYS = 14
"""Newest judged dates of a version that are taken together."""
POOLED_EXAMPLES = 200_000
TESTED_SHOPPERS = 2000
COLUMNS: tuple[str, ...] = (
    "unit", "what", "version", "as_of", "until", "state", "served", "examples", "shoppers", "buyers", "promised",
    "erased", "changed", *(f"{name}{end}" for name in (*FIGURES, PROMISED) for end in ("", "_lower", "_upper", "_sd")),
)  # fmt: skip
"""Columns of `matured.parquet`. `what` is `day`, `pooled` (a version's newest days together) or `test`."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """Today's log as the watch reads it."""

    events: Sequence[BucketEvents]
    moment: Moment
    """Nothing from then on counts."""
    first: datetime
    """The log's first event, naive UTC."""
    known_until: date
    """The first local day that the log does not hold to its end."""

    @cached_property
    def shoppers(self) -> frozenset[str]:
        """Everybody of whom the log holds anything."""
        found: set[str] = set()
        for bucket in self.events:
            with connect() as connection:
                bucket.create_view(connection)
                found.update(name for (name,) in connection.execute("SELECT DISTINCT shopper FROM events").fetchall())
        return frozenset(found)


def mature(home: Home, unit: Unit, champion: Champion | None, log: Log, *, days: int, place: Place) -> pd.DataFrame:
    """Return the table of COLUMNS of one unit, days first, in order of time.

    Args:
        home: where the served output lies.
        unit: whose scores.
        champion: that serves this unit now; its own test is measured, too.
        log: today's.
        days: how far back served dates are looked at.
        place: where and with what the test is scored again.
    """
    cache = home.cache / "watch" / "figures"
    rows: list[dict[str, Any]] = []
    ready: dict[tuple[str, str], list[Served]] = {}
    settings: dict[tuple[str, str], ExamplesConfig] = {}
    oldest = log.moment.as_of - timedelta(days=days)
    for as_of in served_dates(home, APPLICATIONS[unit]):
        if not oldest <= as_of <= log.moment.as_of:
            continue
        try:
            served = find_served(home, APPLICATIONS[unit], as_of)
        except UserError:  # its files are damaged; scoring that day again mends it
            rows.append({"unit": unit, "what": "day", "version": "", "as_of": as_of, "state": "damaged"})
            continue
        if served is None or served.facts.get("version") is None:
            continue  # no champion of this unit served that day
        examples, version = settings_of(home, served, unit, champion), str(served.facts.get("version"))
        base = {"unit": unit, "what": "day", "version": version, "as_of": served.as_of, "served": _count(served)}
        if examples is None:
            rows.append({**base, "state": "unknown version"})
            continue
        until = served.as_of + timedelta(days=examples.horizon_days)
        key = (version, examples.model_dump_json())
        settings[key] = examples
        if until > log.known_until:
            rows.append({**base, "until": until, "state": "not matured"})
        else:
            ready.setdefault(key, []).append(served)
    for key, dates in ready.items():
        answers = [Answers.in_folder(one.as_of, one.folder / "scores") for one in dates]
        found = judge(answers, log.events, settings[key], timezone=log.moment.timezone)
        horizon = timedelta(days=settings[key].horizon_days)
        for one in found:
            rows.append({**_row(unit, "day", key[0], one, cache), "until": one.as_of + horizon})
        pooled = list(_newest(found))
        if pooled:
            rows.append({**_row(unit, "pooled", key[0], together(pooled), cache), "until": pooled[-1].as_of + horizon})
    if champion is not None:
        rows += _test_rows(home, champion, log, place)
    return pd.DataFrame(rows, columns=list(COLUMNS)).sort_values(["what", "as_of"], kind="stable", ignore_index=True)


def settings_of(home: Home, served: Served, unit: Unit, champion: Champion | None) -> ExamplesConfig | None:
    """Return how the version looked at shoppers that gave served scores; None when nothing is left that knows."""
    version = served.facts.get("version")
    if version is None:
        return None
    if champion is not None and champion.version == version:
        return champion.examples
    store = ArtifactStore(home.artifacts)
    try:
        champions = store.open(store.open(served.artifact).manifest.inputs.get("champions", "nothing"))
        content = (champions.path / unit / "events" / SETTINGS_FILE).read_bytes()
    except (UserError, FileNotFoundError):
        return None
    return EventSettings.model_validate_json(content).examples


def _count(served: Served) -> int:
    return Answers.in_folder(served.as_of, served.folder / "scores").rows


def _newest(judged: Sequence[Judged]) -> Iterable[Judged]:
    """Yield the newest judged moments, as many as are taken together, the oldest first."""
    taken: list[Judged] = []
    examples = 0
    for one in sorted(judged, key=lambda one: one.as_of, reverse=True)[:POOLED_DAYS]:
        examples += len(one.labels)
        if taken and examples > POOLED_EXAMPLES:
            break
        taken.append(one)
    return reversed(taken)


def _row(unit: Unit, what: str, version: str, judged: Judged, cache: Path) -> dict[str, Any]:
    return {
        "unit": unit,
        "what": what,
        "version": version,
        "as_of": judged.as_of,
        "state": "judged" if len(judged.labels) else "nobody left",
        "served": len(judged.labels) + judged.erased + judged.changed,
        "examples": len(judged.labels),
        "shoppers": len(set(judged.shoppers)),
        "buyers": int(judged.labels.sum()),
        "promised": float(judged.probabilities.sum()),
        "erased": judged.erased,
        "changed": judged.changed,
        **figures_of(judged, cache),
    }


def _test_rows(home: Home, champion: Champion, log: Log, place: Place) -> list[dict[str, Any]]:
    """Return the champion's figures at the moment that it was tested at, measured as what is served is measured.

    Made once for each champion and kept in the cache; nothing when the log does not reach around that moment.
    """
    as_of = local_day(champion.tested_from, ZoneInfo(log.moment.timezone))
    until = as_of + champion.horizon
    if until > log.known_until:
        return []
    named = hash_of("test", champion.unit, champion.name, champion.version, champion.uri, TESTED_SHOPPERS)
    path = home.cache / "watch" / f"test-{named}.json"
    row = read_kept(path)
    if row is None:
        with temporary_folder(home, "tested") as scratch:
            moment = moment_at(as_of, log.moment.timezone)
            pairs = write_sample(champion, log.events, moment, scratch / "pairs", most=TESTED_SHOPPERS, one_each=False)
            (scratch / "scores").mkdir()
            score_at(champion, log.events, moment, scratch / "scores", place=place, data_hash="", pairs=pairs)
            answers = Answers.in_folder(as_of, scratch / "scores")
            judged = judge([answers], log.events, champion.examples, timezone=log.moment.timezone)[0]
        if not len(judged.labels):
            return []
        row = _row(champion.unit, "test", champion.version, judged, home.cache / "watch" / "figures")
        keep_json(path, {**row, "as_of": str(as_of)})
    return [{**row, "as_of": as_of, "until": until}]
