"""Access: a raw id in; everything that is held about that person, readable, out.

The search finds every file and table that the person stands in, so nothing is left out because it was forgotten here;
the rows of those files are then read and told in words. The one thing to know: the answer holds the person's data and
their raw id, so it is written for its owner only, and that it was made is logged without the id.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.inputs import resolve_inputs
from behavior_tasks.data.keys import KEY_FILE, KEY_VARIABLE, identity_key, key_exists
from behavior_tasks.data.parse import literal
from behavior_tasks.data.resolve import read_values
from behavior_tasks.pipeline.privacy.people import plain_ids, source_columns
from behavior_tasks.pipeline.privacy.scan import Elsewhere, logs_of, search_everything
from behavior_tasks.pipeline.privacy.search import Found, Hit
from behavior_tasks.pipeline.privacy.search_words import PSEUDONYM, RAW_ID, want
from behavior_tasks.pipeline.runs import Run, last_runs

MOST_RUNS = 10_000
LOG_COLUMNS = (
    *("line", "timestamp", "action", "product_id", "quantity", "price", "amount", "category", "brand"),
    *("product_name", "query", "age", "gender", "reason"),
)


@dataclass(frozen=True, kw_only=True)
class Topic:
    """What one kind of table is, in words."""

    title: str
    about: str


TOPICS: Mapping[str, Topic] = {
    "log": Topic(title="Rows of the log", about="As the shop has written them; `reason` says why a row is not used."),
    "clean": Topic(title="Events that are used", about="Times are UTC."),
    "quarantine": Topic(title="Rows that stand aside", about="They are no events, and nothing is computed from them."),
    "verbalize": Topic(title="Texts", about="What a model reads of this person at a moment (cutoff)."),
    "features": Topic(title="Features", about="Numbers computed from the events before a moment (cutoff)."),
    "cutoffs": Topic(title="Examples", about="Moments at which it is known what came after."),
    "shopper_scores": Topic(title="Scores by day", about="How probable a purchase is, says the model."),
    "product_scores": Topic(title="Scores of products by day", about="How probable a purchase of each product is."),
    "audiences": Topic(title="Audiences", about="Lists that this person stands on, and why."),
    "recommendations": Topic(title="Recommendations", about="Products that are proposed, and why."),
    "risk": Topic(title="List of unusual behaviour", about="The reasons are in `rules` and `phrases`."),
    "campaigns": Topic(title="Campaigns", about="Lists that somebody has taken away."),
    "evaluate": Topic(title="Examples on which a model was measured", about=""),
}
"""Topic → words, in the order of the page; any other comes behind them under its own name."""
SAME_AS = {"clean-part": "clean", "ingest-part": "clean", "ingest": "quarantine", "encode": "cutoffs"}
"""Stages whose tables hold what another's hold."""
UNUSED = frozenset({"clean-part", "ingest-part", "encode"})
"""Stages whose rows are left to the stage that they lead to."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """Rows of one topic."""

    name: str
    title: str
    about: str
    rows: list[dict[str, Any]]

    @property
    def columns(self) -> list[str]:
        """Columns that hold anything."""
        names = dict.fromkeys(name for row in self.rows for name in row)
        return [name for name in names if any(row.get(name) not in (None, "") for row in self.rows)]


@dataclass(frozen=True, kw_only=True)
class Access:
    """Everything about one person."""

    raw_id: str = field(repr=False)
    pseudonym: str
    when: datetime
    sections: list[Section]
    places: list[Hit]
    """Everywhere that they stand, the source included."""
    models: list[dict[str, Any]]
    """Versions whose training held them."""
    exports: list[dict[str, Any]]
    """Lists with real ids that held them."""
    found: Found

    @property
    def rows(self) -> int:
        """Rows of all sections."""
        return sum(len(section.rows) for section in self.sections)


def everything_about(home: Home, asked: str, elsewhere: Elsewhere, *, now: datetime) -> Access | None:
    """Return everything that is held about a person; None: nothing is.

    Args:
        home: the state folder, with the identity key.
        asked: the raw id, as it stands in the log.
        elsewhere: databases and files outside the state folder.
        now: the time, with its zone.

    Raises:
        UserError: without the key.
    """
    if not key_exists(home):
        raise UserError(
            "Only who holds the identity key can tell what is held about a shopper, and there is none here.",
            expected=f"{KEY_VARIABLE}, or secrets/{KEY_FILE} in the state folder",
            next_step="ask who keeps the key",
        )
    ids = plain_ids([asked])
    if not ids:
        raise UserError("The id is empty.", expected="an id as it stands in the log")
    name = pseudonym(ids[0], identity_key(home))
    wanted = want({RAW_ID: ids, PSEUDONYM: [name]}, person_columns=source_columns(home))
    found = search_everything(home, wanted, elsewhere, with_source=True)
    sections = _sections(home, found.hits, name, ids[0])
    if not sections and not found.hits:
        return None
    return Access(
        raw_id=ids[0],
        pseudonym=name,
        when=now,
        sections=sections,
        places=found.hits,
        models=_models(home, found.hits, name),
        exports=_exports(home, found.hits, name),
        found=found,
    )


def _sections(home: Home, hits: Sequence[Hit], name: str, raw_id: str) -> list[Section]:
    rows: dict[str, list[dict[str, Any]]] = {}
    logged = list(_log_rows(home, raw_id))
    if logged:
        rows["log"] = logged
    newest = _newest(home, hits)
    for hit in hits:
        topic = topic_of(hit.place)
        if topic is None or hit.what != PSEUDONYM or not hit.place.endswith(".parquet"):
            continue
        stage_folder = "/".join(hit.place.split("/")[:3])
        if hit.place.startswith("artifacts/") and newest.get(hit.place.split("/")[1]) != stage_folder:
            continue
        for row in rows_of(home.root / hit.place, hit.column, name):
            rows.setdefault(topic, []).append({**_dated(hit.place), **row})
    order = [*(topic for topic in TOPICS if topic in rows), *sorted(set(rows) - set(TOPICS))]
    return [
        Section(
            name=topic,
            title=TOPICS[topic].title if topic in TOPICS else topic.replace("_", " ").capitalize(),
            about=TOPICS[topic].about if topic in TOPICS else "",
            rows=rows[topic],
        )
        for topic in order
    ]


def topic_of(place: str) -> str | None:
    """Return the topic of a file, by its place below the state folder; None: its rows stand in another's file too.

    >>> topic_of("artifacts/clean/4f0c/events/0000.parquet"), topic_of("served/risk/date=2026-11-23/risk.parquet")
    ('clean', 'risk')
    >>> topic_of("artifacts/risk/4f0c/served/risk.parquet") is None
    True
    """
    first, *rest = place.split("/")
    if first == "artifacts":
        if rest[0] in UNUSED or "/served/" in place:
            return None
        return SAME_AS.get(rest[0], rest[0])
    if first == "served":
        return rest[0]
    return first


def _newest(home: Home, hits: Sequence[Hit]) -> dict[str, str]:
    """Return, by stage, the newest artifact that holds the person: older ones hold the same, as it was."""
    folders: dict[str, set[str]] = {}
    for hit in hits:
        if hit.place.startswith("artifacts/") and hit.place.endswith(".parquet"):
            parts = hit.place.split("/")
            folders.setdefault(parts[1], set()).add("/".join(parts[:3]))
    return {stage: max(some, key=lambda one: (home.root / one).stat().st_mtime) for stage, some in folders.items()}


def _dated(place: str) -> dict[str, Any]:
    for part in place.split("/"):
        if part.startswith("date="):
            return {"date": part.removeprefix("date=")}
    return {}


def rows_of(path: Path, column: str, name: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file in which a column holds somebody's name, as a whole or as a part."""
    with pq.ParquetFile(path) as file:
        if column not in file.schema_arrow.names:
            return
        for group in range(file.num_row_groups):
            names = file.read_row_group(group, columns=[column]).column(column)
            if pa.types.is_nested(names.type):
                return
            texts = names.cast(pa.large_string())
            if not pc.any(pc.match_substring(texts, name)).as_py():
                continue
            for row in file.read_row_group(group).filter(pc.match_substring(texts, name)).to_pylist():
                yield {key: _plain(value) for key, value in row.items() if key != column or value != name}


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, list):
        return "".join(map(str, value))  # the parts of a text
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def _log_rows(home: Home, raw_id: str) -> Iterator[dict[str, Any]]:
    """Yield the person's rows of the logs that are still there, those that were set aside included."""
    seen = set[str]()
    for run, where in logs_of(home):
        config = run.record.config
        for file in resolve_inputs(where, config, home):
            if file.sha256 in seen:
                continue
            seen.add(file.sha256)
            theirs = f"user_id = {literal(raw_id)}"
            rows: list[dict[str, Any]] = []
            for table in read_values(file, config.source, run.record.day, *LOG_COLUMNS, where=theirs):
                rows += table.to_pylist()
            for row in sorted(rows, key=lambda row: row["line"]):
                yield {"file": file.name, **{key: _plain(value) for key, value in row.items()}}


def _models(home: Home, hits: Sequence[Hit], name: str) -> list[dict[str, Any]]:
    """Return the registered versions whose training examples held the person."""
    held = {hit.place for hit in hits if hit.what == PSEUDONYM and hit.place.startswith("artifacts/encode/")}
    told = []
    for run in last_runs(home, most=MOST_RUNS):
        version, encode = (run.noted("registered") or {}).get("version"), _uri(run, "encode")
        if version is None or encode is None:
            continue
        places = [place for place in held if place.startswith(f"artifacts/encode/{encode}/")]
        splits = sorted({str(row["split"]) for place in places for row in rows_of(home.root / place, "shopper", name)})
        if splits:
            told.append(
                {
                    "model": run.record.config.registry.model_name,
                    "version": str(version),
                    "day": run.record.day.isoformat(),
                    "used for": ", ".join(splits),
                }
            )
    return told


def _uri(run: Run, stage: str) -> str | None:
    return next((record.uri.rpartition("/")[2] for record in run.stages() if record.stage == stage), None)


def _exports(home: Home, hits: Sequence[Hit], name: str) -> list[dict[str, Any]]:
    """Return the exports under real ids of lists that hold the person, from the log of exports."""
    path = home.registry / "exports.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    told = []
    for line in lines:
        folder = f"artifacts/{str(line.get('artifact', '')).removeprefix('artifact://')}/"
        served = f"/date={line.get('as_of')}/"
        theirs = [hit for hit in hits if hit.place.startswith(folder) or served in hit.place]
        lists = {
            str(row.get("audience", ""))
            for hit in theirs
            if hit.place.endswith("members.parquet")
            for row in rows_of(home.root / hit.place, hit.column, name)
        }
        audience = line.get("audience")
        if theirs and (audience is None or audience in lists):
            told.append({key: value for key, value in line.items() if key not in {"artifact", "shoppers"}})
    return told
