"""JSON lines, block by block: one object a line, its values as text cells.

In comes a stream of bytes; out come blocks as of any other log. The one thing to know: the lines of a block are parsed
as one list with a mark between every two, and one by one only when that list shows that a line is no object.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from behavior_tasks.base.errors import UserError
from behavior_tasks.data.blocks import Block, make_block, problem_columns
from behavior_tasks.data.bytesource import ByteSource
from behavior_tasks.data.lines import split_lines, undecodable_lines
from behavior_tasks.data.rawfile import BYTE_ORDER_MARK, SURROGATE, printable
from behavior_tasks.data.records import LONGEST_CELL

MARK = "314159265358979323846264338327950288"
"""A number that stands between two lines; a block that holds it itself is parsed line by line."""
DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
"""Numbers stay as they are written."""
HALF_CHARACTER = re.compile("[\ud800-\udfff]")


@dataclass(kw_only=True)
class _Rows:
    """The objects of a block; one that has a problem is empty."""

    objects: list[dict[str, Any]]
    problems: dict[int, tuple[str, str]]


def read_json_block(
    source: ByteSource, size: int, keys: Mapping[str, str], *, lines_before: int
) -> tuple[Block, int, int]:
    """Read the objects in the first `size` held bytes, which are whole lines.

    Args:
        keys: canonical column → key in the objects.

    Returns:
        the block, how many bytes were read, and how many lines.
    """
    lines = split_lines(source.held[:size])
    bad = undecodable_lines(lines)
    spans = zip(lines.starts.tolist(), lines.ends.tolist(), strict=True)
    contents = [lines.data[start:end] for start, end in spans]
    numbers = [number for number, content in enumerate(contents) if content.strip()]
    texts = [contents[n].decode("utf-8", source.errors if bad[n] else "strict") for n in numbers]
    rows = _parse(texts, bad[numbers].tolist())
    if b"\\u" in lines.data or len(max(texts, key=len, default="")) > LONGEST_CELL:
        _check_cells(rows, keys)
    columns = {f"raw_{name}": _column(rows.objects, texts, key) for name, key in keys.items()}
    columns |= problem_columns(rows.problems, len(numbers))
    at = np.array(numbers, np.int64) + (lines_before + 1)
    return make_block(columns, at, lambda position: printable(texts[position])), size, len(lines)


def _parse(texts: Sequence[str], bad: Sequence[bool]) -> _Rows:
    if not any(bad) and (objects := _parse_at_once(texts)) is not None:
        return _Rows(objects=objects, problems={})
    rows = _Rows(objects=[], problems={})
    for row, (text, is_bad) in enumerate(zip(texts, bad, strict=True)):
        item, problem = _parse_line(text, is_bad)
        rows.objects.append(item)
        if problem:
            rows.problems[row] = problem
    return rows


def _parse_at_once(texts: Sequence[str]) -> list[dict[str, Any]] | None:
    """Return the objects of all lines, or None when a line is not exactly one object.

    A line that leaves a bracket open takes the mark behind it with it, so that marks and objects no longer alternate.
    """
    joined = f",{MARK},".join(texts)
    if not texts or joined.count(MARK) != len(texts) - 1:
        return None
    try:
        items = DECODER.decode(f"[{joined}]")
    except (ValueError, RecursionError):
        return None
    objects = items[::2]
    alternate = len(items) == 2 * len(texts) - 1 and all(mark == MARK for mark in items[1::2])
    return objects if alternate and all(isinstance(item, dict) for item in objects) else None


def _parse_line(text: str, is_bad: bool) -> tuple[dict[str, Any], tuple[str, str] | None]:
    if is_bad:
        found = SURROGATE.search(text)
        return {}, ("bad_encoding", f"the byte {printable(found[0])}" if found else "a NUL byte")
    try:
        item = DECODER.decode(text)
    except json.JSONDecodeError as error:
        return {}, ("broken_json", f"{error.msg} at character {error.pos + 1}")
    except RecursionError:
        return {}, ("broken_json", "too many brackets within each other")
    return (item, None) if isinstance(item, dict) else ({}, ("broken_json", "a value, but no object"))


def _check_cells(rows: _Rows, keys: Mapping[str, str]) -> None:
    """Set aside objects whose values can't be cells; only escapes can bring in a NUL or half a character."""
    for row, item in enumerate(rows.objects):
        cells = [value for key in keys.values() if isinstance(value := item.get(key), str)]
        longest = max(map(len, cells), default=0)
        if any("\0" in cell for cell in cells):
            rows.problems[row] = ("bad_encoding", "a NUL byte")
        elif any(HALF_CHARACTER.search(cell) for cell in cells):
            rows.problems[row] = ("bad_encoding", "half of a character")
        elif longest > LONGEST_CELL:
            rows.problems[row] = ("cell_too_long", f"{longest} characters in one cell")
        if row in rows.problems:
            rows.objects[row] = {}


def _column(rows: Sequence[dict[str, Any]], texts: Sequence[str], key: str) -> pa.Array:
    values = [value if (value := row.get(key)) != "" else None for row in rows]
    try:
        return pa.array(values, pa.string())
    except pa.ArrowTypeError:
        return pa.array([_as_text(value, text, key) for value, text in zip(values, texts, strict=True)], pa.string())


def _as_text(value: object, text: str, key: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    # The numbers in a nested value have become texts, so it is read once more.
    return json.dumps(json.loads(text)[key], ensure_ascii=False, separators=(",", ":"))


def object_keys(lines: Sequence[str], *, shown: str) -> tuple[str, ...]:
    """Return the keys of all objects in the lines, in the order in which they are met: any line may leave some out.

    Args:
        shown: the file's name for messages.

    Raises:
        UserError: when no line is a JSON object.

    >>> object_keys(['{"b": 1}', "", "no object", '{"a": 1, "b": 2}'], shown="log.jsonl")
    ('b', 'a')
    """
    keys: dict[str, None] = {}
    for line in lines:
        text = line.removeprefix(BYTE_ORDER_MARK)
        keys |= dict.fromkeys(_parse_line(text, False)[0] if text.strip() else ())
    if not keys:
        raise UserError(
            f"No line of {shown} is a JSON object.",
            found=f"{len(lines):,} lines of something else",
            expected='one object a line: {"user_id": "u1", "action": "buy", …}',
            next_step="check the export; a list in [ ] must be written one object a line",
        )
    return tuple(keys)
