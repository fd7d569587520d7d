"""The words of a source: the logs of the last runs and the secrets in; every raw id, contact and key in them out.

The logs are read as ingest reads them, rows that were set aside included. The one thing to know: the words are held in
memory while the search lasts and are written nowhere.
"""

import base64
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.data.inputs import RawFile, check_unchanged, resolve_inputs
from behavior_tasks.data.keys import KEY_VARIABLE, identity_key, key_exists
from behavior_tasks.data.maskers import find_personal
from behavior_tasks.data.resolve import read_values
from behavior_tasks.data.sources import layout_of
from behavior_tasks.pipeline.privacy.search_tokens import fold
from behavior_tasks.pipeline.privacy.search_words import CARD, EMAIL, NATIONAL_ID, PHONE, RAW_ID, words_in
from behavior_tasks.pipeline.runs import Run, last_runs

OTHER_COLUMNS = ("product_id", "category", "brand", "product_name", "query")
"""Columns beside `user_id` whose words may look like ids, or hold somebody's address."""
PERSONAL = {"email": EMAIL, "phone": PHONE, "card": CARD, "id": NATIONAL_ID}
"""What the maskers call it → kind of word; addresses of streets and machines are masked, and not searched for."""
HELD = 2_000_000
"""Values of a column, repeated ones included, that are held before they are made different."""
MOST_RUNS = 10_000
SHORTEST_SECRET = 8
NO_SECRETS = ("username", "user", "login", "host", "port")
"""Keys of JSON files among the secrets whose values are none."""


@dataclass(frozen=True, kw_only=True)
class SourceWords:
    """What a source holds that nothing else may hold."""

    words: Mapping[str, pa.Array | list[str]]
    """Kind → different words."""
    used_otherwise: pa.Array
    """Ids that the log also uses for something else, in lower case, as bytes."""
    person_columns: tuple[str, ...]
    """The source's own names of its columns of ids."""
    files: int


def words_of(home: Home, logs: Iterable[tuple[Run, str]]) -> SourceWords:
    """Return the words of some logs.

    Args:
        home: the state folder.
        logs: a run, whose settings say how the log is read, and the log's place.

    Raises:
        UserError: when a log can't be read.
    """
    values: dict[str, _Different] = {name: _Different() for name in ("user_id", *OTHER_COLUMNS)}
    files, columns = set[str](), set[str]()
    for run, where in logs:
        config = run.record.config.source
        for file in resolve_inputs(where, run.record.config, home):
            if file.sha256 in files:
                continue
            files.add(file.sha256)
            columns |= _id_columns(file, run)
            for table in read_values(file, config, run.record.day, *values):
                for name, column in zip(table.column_names, table.columns, strict=True):
                    values[name].add(column)
            check_unchanged(file)
    ids = values.pop("user_id").all()
    return SourceWords(
        words={RAW_ID: ids, **_contacts(values, ids)},
        used_otherwise=_used_otherwise(ids, values),
        person_columns=tuple(sorted(columns)),
        files=len(files),
    )


def _id_columns(file: RawFile, run: Run) -> set[str]:
    layout = layout_of(file, run.record.config.source)
    return {layout.names[layout.places["user_id"]]} if layout.has_header and "user_id" in layout.places else set()


class _Different:
    """The different values of a column, whatever its length."""

    def __init__(self) -> None:
        self._parts: list[pa.Array] = []
        self._held = 0

    def add(self, column: pa.ChunkedArray) -> None:
        part = pc.unique(column.drop_null().cast(pa.large_string()))
        self._parts.append(part)
        self._held += len(part)
        if self._held > HELD:
            self._parts = [self.all()]
            self._held = len(self._parts[0]) // 2  # so that it is not done again at every block

    def all(self) -> pa.Array:
        return (
            pc.unique(pa.chunked_array(self._parts, pa.large_string())) if self._parts else pa.array([], "large_string")
        )


def _contacts(values: Mapping[str, _Different], ids: pa.Array) -> dict[str, list[str]]:
    """Return the addresses and numbers of people that stand in the log's texts, and among its ids."""
    found: dict[str, set[str]] = {}
    for name, column in values.items():
        texts = column.all()
        if name == "product_id":
            continue  # a number of a product is no telephone
        for text in texts.filter(pc.match_substring_regex(texts, r"@|\d.*\d.*\d.*\d.*\d.*\d.*\d")).to_pylist():
            for begin, end, kind in find_personal(text):
                if kind in PERSONAL:
                    found.setdefault(PERSONAL[kind], set()).update(_as_written(text[begin:end], PERSONAL[kind]))
    return {kind: sorted(words) for kind, words in sorted(found.items())}


def _as_written(word: str, kind: str) -> set[str]:
    """Return a word, and a number with gaps also without them."""
    return {word} if kind == EMAIL else {word, re.sub(r"[^0-9A-Za-z+]", "", word)}


def _used_otherwise(ids: pa.Array, values: Mapping[str, _Different]) -> pa.Array:
    """Return the ids that are also a value, or a word of a value, of another column."""
    folded = pc.unique(pc.ascii_lower(ids).cast(pa.large_binary()))
    doubtful = []
    for column in values.values():
        texts = pc.ascii_lower(column.all()).cast(pa.large_binary())
        doubtful.append(folded.filter(pc.is_in(folded, value_set=texts)))
        for start in range(0, len(texts), HELD):
            some = words_in(fold(b"\n".join(texts.slice(start, HELD).to_pylist())))
            doubtful.append(folded.filter(pc.is_in(folded, value_set=some)))
    return pc.unique(pa.chunked_array(doubtful, pa.large_binary()))


def secret_words(home: Home, environment: Mapping[str, str] | None = None) -> list[str]:
    """Return everything below the secrets that must stand nowhere else; none of it is ever shown.

    Args:
        home: the state folder.
        environment: for the key that a variable holds; None: this process's.
    """
    found: set[str] = set()
    for file in sorted(home.secrets.rglob("*")) if home.secrets.is_dir() else ():
        if file.is_file() and not file.name.endswith(".lock"):
            try:
                found.update(_secrets_in(file))
            except PermissionError:
                raise UserError(
                    f"The file secrets/{file.name} of the state folder may not be read.",
                    expected="its owner, who alone can search for what it holds",
                    next_step="run this as the user who runs the services",
                ) from None
    if key_exists(home) or (environment or os.environ).get(KEY_VARIABLE):
        found.update(_forms(identity_key(home)))
    return sorted(word for word in found if len(word) >= SHORTEST_SECRET)


def _forms(key: bytes) -> Iterator[str]:
    yield key.hex()
    yield base64.b64encode(key).decode().rstrip("=")
    yield base64.urlsafe_b64encode(key).decode().rstrip("=")


def _secrets_in(file: Path) -> Iterator[str]:
    text = file.read_text(encoding="utf-8", errors="replace").strip()
    if file.suffix != ".json":
        if "\n" not in text:
            yield text.rstrip("=")
        else:
            yield from (line.strip().rstrip("=") for line in text.splitlines() if not line.startswith("-----"))
        return
    try:
        content = json.loads(text)
    except ValueError:
        return
    for name, value in content.items() if isinstance(content, dict) else ():
        if isinstance(value, str) and name.lower() not in NO_SECRETS:
            yield from _of_address(value) if "://" in value else (value,)


def _of_address(address: str) -> Iterator[str]:
    """Yield the password and the signed parts of an address."""
    parts = urlsplit(address)
    if parts.password:
        yield unquote(parts.password)
    for name, value in parse_qsl(parts.query):
        if re.search(r"pass|token|key|secret|sig", name.lower()):
            yield value


def logs_of(home: Home, unseen: list[str] | None = None) -> list[tuple[Run, str]]:
    """Return the logs of all runs that are still there, each once, with the newest run that read it.

    Args:
        home: the state folder.
        unseen: takes what is no longer there, in words.
    """
    logs: dict[str, tuple[Run, str]] = {}
    for run in last_runs(home, most=MOST_RUNS, inspections=True):
        settings = run.record.config.source.model_dump_json()
        where = run.record.input or _simulated(run)
        if where is not None:
            logs.setdefault(f"{where}\n{settings}", (run, where))
    there = []
    for run, where in logs.values():
        if "://" in where or any(mark in where for mark in "*?[") or Path(where).exists():
            there.append((run, where))
        elif unseen is not None:
            unseen.append(f"ids of the log {run.log_name}: it is no longer where the run {run.record.run_id} found it")
    return there


def _simulated(run: Run) -> str | None:
    if not any(record.stage == "simulate" for record in run.stages()):
        return None
    try:
        made = run.artifact("simulate")
    except UserError:
        return None  # cleared away
    return None if made is None else str(made.path / "events.csv")
