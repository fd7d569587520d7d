"""Access: a raw id in; everything that is held about that person, readable, out.

The search finds every file and table that the person stands in, so nothing is left out because it was forgotten here;
the rows of those files are then read and told in words. The one thing to know: the answer holds the person's data and
their raw id, so it is written for its owner only, and that it was made is logged without the id.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.base.tables import connect
from behavior_tasks.data.erasures import read_erasures
from behavior_tasks.data.events import open_events
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.inputs import resolve_inputs
from behavior_tasks.data.keys import KEY_FILE, KEY_VARIABLE, identity_key, key_exists, secret_key
from behavior_tasks.data.parse import literal
from behavior_tasks.data.ranges import Range
from behavior_tasks.data.resolve import read_values
from behavior_tasks.data.tombstones import tombstone
from behavior_tasks.pipeline.privacy.certificate import is_of_erasures
from behavior_tasks.pipeline.privacy.people import plain_ids, source_columns
from behavior_tasks.pipeline.privacy.search import Found, Hit
from behavior_tasks.pipeline.privacy.search_all import Elsewhere, search_everything
from behavior_tasks.pipeline.privacy.search_source import logs_of
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
    "log": Topic(
        title="Rows of the log", about="As the shop has written them, and, where a row is not used, the reason."
    ),
    "clean": Topic(title="Events that are used", about="Times are UTC."),
    "clean_replaced": Topic(title="Values that were replaced", about="Because they lie far outside the usual."),
    "clean_apart": Topic(title="Events that were left out", about="With the reason."),
    "quarantine": Topic(title="Rows that stand aside", about="They are no events, and nothing is computed from them."),
    "verbalize": Topic(title="Texts", about="What a model reads of this person at a moment (cutoff)."),
    "features": Topic(title="Features", about="Numbers computed from the events before a moment (cutoff)."),
    "cutoffs": Topic(title="Examples", about="Moments at which it is known what came after."),
    "shopper_scores": Topic(title="Scores by day", about="How probable a purchase is, says the model."),
    "product_scores": Topic(title="Scores of products by day", about="How probable a purchase of each product is."),
    "audiences": Topic(title="Audiences", about="Lists that this person stands on, and why."),
    "recommendations": Topic(title="Recommendations", about="Products that are proposed, and why."),
    "risk": Topic(title="List of unusual behaviour", about="With what made it look unusual."),
    "campaigns": Topic(title="Campaigns", about="Lists that somebody has taken away."),
    "evaluate": Topic(title="Predictions by which a model was measured", about="Of the examples of the test."),
    "baselines": Topic(title="Predictions of simpler models", about="What a model is compared with."),
    "cache": Topic(title="Copies for the watch", about="Features and scores, to see whether shoppers change."),
}
"""Topic → words, in the order of the page; any other comes behind them under its own name."""
QUARANTINE = "ingest"
UNUSED = frozenset({"clean-part", "ingest-part", "encode", "simulate"})
"""Stages whose rows stand in those of another stage too, or in the log."""


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
    found.hits = [hit for hit in found.hits if not is_of_erasures(hit)]
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
    current = _current(home)
    for first, theirs in (("log", _log_rows(home, raw_id)), ("clean", _events(current, name))):
        if some := list(theirs):
            rows[first] = some
    folders = {f"artifacts/{stage}/{key}" for stage, key in current}
    for hit in hits:
        topic = topic_of(hit.place)
        is_table = hit.what == PSEUDONYM and hit.place.endswith(".parquet")
        is_old = hit.place.startswith("artifacts/") and "/".join(hit.place.split("/")[:3]) not in folders
        if topic is not None and is_table and not is_old:
            found = ({**_dated(hit.place), **row} for row in rows_of(home.root / hit.place, hit.column, name))
            rows.setdefault(topic, []).extend(found)
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


def _current(home: Home) -> dict[tuple[str, str], Run]:
    """Return stage and key of the artifacts that the newest run of each kind has made, and that run.

    Older ones hold the same person as they were then; they are named among the places.
    """
    made: dict[tuple[str | None, str, str, str], tuple[str, Run]] = {}
    for run in last_runs(home, most=MOST_RUNS, inspections=True):
        record = run.record
        for stage in run.stages():
            key = (record.input, record.preset, record.config.examples.unit, stage.stage)
            made.setdefault(key, (stage.uri.rpartition("/")[2], run))
    return {(kind[3], key): run for kind, (key, run) in made.items()}


def _events(current: Mapping[tuple[str, str], Run], name: str) -> Iterator[dict[str, Any]]:
    """Yield the person's clean events, of every log."""
    alone, seen = Range(low=name, high=name + "0"), set[str | None]()
    for (stage, _), run in current.items():
        if stage != "clean" or (content := run.need("clean").manifest.content_hash) in seen:
            continue
        seen.add(content)
        for bucket in open_events(run.need("clean")):
            if alone.meets(bucket.range):
                with connect(memory_mb=run.record.config.engine.memory_mb) as connection:
                    theirs = replace(bucket, range=alone).stored_sql()
                    rows = f"SELECT * FROM ({theirs}) WHERE shopper = {literal(name)} ORDER BY timestamp"
                    for row in connection.sql(rows).to_arrow_table().drop_columns(["shopper"]).to_pylist():
                        yield {key: _plain(value) for key, value in row.items()}


def topic_of(place: str) -> str | None:
    """Return the topic of a file, by its place below the state folder; None: its rows stand in another's file too.

    >>> topic_of("artifacts/verbalize/4f0c/texts/0000.parquet"), topic_of("served/risk/date=2026-11-23/risk.parquet")
    ('verbalize', 'risk')
    >>> topic_of("artifacts/risk/4f0c/served/risk.parquet") is None
    True
    """
    first, *rest = place.split("/")
    if first == "artifacts":
        if rest[0] in UNUSED or "/served/" in place:
            return None
        if rest[0] == "clean":
            return f"clean_{Path(place).stem}"
        return "quarantine" if rest[0] == QUARANTINE else rest[0]
    if first == "served":
        return rest[0]
    return first


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
                yield {key: _plain(value) for key, value in row.items() if value != name}


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


def when_erased(home: Home, asked: str) -> str | None:
    """Return the day on which somebody was erased, who asks with their raw id; None: they never were.

    Only who holds the raw id and the key can ask, and they may know.
    """
    lines, ids = read_erasures(home), plain_ids([asked])
    if not lines or not ids:
        return None
    stone = tombstone(ids[0], secret_key(home, "tombstone", in_use=True))
    days = [line.when[:10] for line in lines if line.kind == "done" and stone in line.tombstones]
    return days[0] if days else None
