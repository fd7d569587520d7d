"""Blocks of raw rows: the cells that matter as text columns, and the original text of any row on demand.

In come columns of text with the lines on which their rows start; out comes a `Block`. The one thing to know: `plain`
promises that trimming a column or looking for null words in it would change nothing, so a query may leave both out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from behavior_tasks.data.parse import NULL_WORDS, WHITESPACE

SPACES = tuple(space.encode() for space in WHITESPACE)
NARROW_SPACES = tuple(space for space in SPACES if len(space) == 1)
FIRST_BYTES = np.isin(np.arange(256), [space[0] for space in SPACES])
LAST_BYTES = np.isin(np.arange(256), [space[-1] for space in SPACES])
NULL_BEGINS = np.isin(np.arange(256), [ord(case) for word in NULL_WORDS if word for case in (word[0], word[0].upper())])
SHORTEST_NULL, LONGEST_NULL = (pick(len(word) for word in NULL_WORDS if word) for pick in (min, max))
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some rows of a log, in the order of the file."""

    cells: pa.Table
    """One row a record: `position` (from 0), `line` (from 1, counted from where the piece began), `problem` (a reason
    code or null), `problem_found`, and `raw_<canonical column>` as text; an empty cell is null."""
    plain: frozenset[str]
    """`raw_` columns in which no cell needs trimming and none is a null word."""
    text_of: Callable[[int], str]

    def texts(self, positions: Sequence[int]) -> list[str]:
        """Return the original text of the records at these positions."""
        return [self.text_of(position) for position in positions]


def make_block(columns: Mapping[str, pa.Array], lines: Numbers, text_of: Callable[[int], str]) -> Block:
    """Put a block together from its raw columns, `problem` and `problem_found` among them.

    Args:
        columns: name → array, all as long as `lines`.
        lines: line on which each record starts.
    """
    places = {"position": pa.array(np.arange(len(lines))), "line": pa.array(lines, pa.int64())}
    plain = frozenset(name for name, column in columns.items() if name.startswith("raw_") and _is_plain(column))
    return Block(cells=pa.table({**places, **columns}), plain=plain, text_of=text_of)


def _is_plain(column: pa.Array) -> bool:
    """Whether no cell begins or ends with white space, and none is a null word."""
    if column.null_count == len(column):
        return True
    offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
    held = np.frombuffer(column.buffers()[2], np.uint8)
    starts, sizes = offsets[:-1], np.diff(offsets)
    # Every null word begins with an n or a backslash, and is no longer than four characters.
    short = np.flatnonzero((sizes >= SHORTEST_NULL) & (sizes <= LONGEST_NULL))
    doubtful = [short[NULL_BEGINS[held[starts[short]]]]]
    everything = held[offsets[0] : offsets[-1]].tobytes()
    # Looking for one byte is many times as fast as for several.
    if any(space in everything for space in (NARROW_SPACES if everything.isascii() else SPACES)):
        filled = np.flatnonzero(sizes)
        edges = FIRST_BYTES[held[starts[filled]]] | LAST_BYTES[held[offsets[1:][filled] - 1]]
        doubtful.append(filled[edges])
    if not any(map(len, doubtful)):
        return True
    cells = column.take(pa.array(np.concatenate(doubtful)))
    trimmed = pc.utf8_trim(cells, characters=WHITESPACE)
    nulls = pc.is_in(pc.utf8_lower(cells), value_set=pa.array(NULL_WORDS))
    return bool(pc.all(pc.equal(cells, trimmed)).as_py()) and not pc.any(nulls).as_py()


def text_column(values: Sequence[str | None]) -> pa.Array:
    """Return texts as a column in which an empty one is null."""
    return pa.array([value or None for value in values], pa.string())


def problem_columns(problems: Mapping[int, tuple[str, str]], rows: int) -> dict[str, pa.Array]:
    """Return the columns of reasons and of what was found.

    Args:
        problems: position → reason code and what was found.
        rows: records of the block.
    """
    columns = {}
    for place, name in enumerate(("problem", "problem_found")):
        values = [problems[row][place] if row in problems else None for row in range(rows)] if problems else None
        columns[name] = pa.nulls(rows, pa.string()) if values is None else pa.array(values, pa.string())
    return columns


def problem_block(names: Iterable[str], *, line: int, problem: tuple[str, str], text: str) -> Block:
    """Return a block of one record that has a problem (reason, what was found) and no cells.

    Args:
        names: the canonical columns.
    """
    columns = {"problem": pa.array([problem[0]]), "problem_found": pa.array([problem[1]])}
    columns |= {f"raw_{name}": pa.nulls(1, pa.string()) for name in names}
    return make_block(columns, np.array([line], np.int64), lambda _: text)


def without_first(block: Block) -> Block:
    """Return a block without its first record."""
    rest = block.cells.slice(1)
    columns = {name: rest[name].combine_chunks() for name in rest.column_names if name not in ("position", "line")}
    return make_block(columns, rest["line"].to_numpy(), lambda position: block.text_of(position + 1))
