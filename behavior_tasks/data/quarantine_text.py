"""The original text of rows that stand aside, read in the log again: nothing of it is kept anywhere.

In come the files of a log and lines of them; out come the rows as they are written there. The one thing to know: a
file is read only while it is the one that was ingested, byte for byte, or its lines would be other rows.
"""

from collections.abc import Collection, Mapping

from behavior_tasks.base.config import SourceConfig
from behavior_tasks.data.inputs import RawFile, check_unchanged
from behavior_tasks.data.pieces import PieceEnd, whole_piece
from behavior_tasks.data.rawfile import printable
from behavior_tasks.data.readers import read_piece
from behavior_tasks.data.sources import layout_of

Place = tuple[str, int]
"""Name of the file and line, from 1."""


def read_texts(
    files: Collection[RawFile], wanted: Mapping[str, Collection[int]], config: SourceConfig
) -> dict[Place, str]:
    """Return the text of each wanted row that is there.

    Args:
        files: of the log, as they were ingested.
        wanted: name of the file → lines on which rows start, from 1 (rows of Parquet).
        config: how the log is read.

    Raises:
        UserError: when a file can't be read, or changes while it is.
    """
    texts: dict[Place, str] = {}
    for file in files:
        if lines := set(wanted.get(file.name, ())):
            texts |= {(file.name, line): text for line, text in _lines_of(file, lines, config).items()}
            check_unchanged(file)
    return texts


def _lines_of(file: RawFile, lines: set[int], config: SourceConfig) -> dict[int, str]:
    layout, found, last = layout_of(file, config), dict[int, str](), max(lines)
    piece = whole_piece(file.path, file.shown, config)
    for block in read_piece(piece, layout, delimiter=config.delimiter, encoding=config.encoding, is_first=True):
        if isinstance(block, PieceEnd):
            break
        held = block.cells["line"].to_pylist()
        places = [place for place, line in enumerate(held) if line in lines]
        found |= {held[place]: printable(text) for place, text in zip(places, block.texts(places), strict=True)}
        if held[-1] >= last:
            break
    return found
