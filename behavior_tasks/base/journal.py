"""Files of lines that are only ever added to: a file and a new line in; the line durably behind those before it, out.

The one thing to know: a crash may leave half a line at the end; it counts for nothing and goes before the next one
comes. Who writes beside others holds a lock of its own around both reading and writing.
"""

import os
from collections.abc import Callable
from pathlib import Path

EVERYBODY_READS, OWNER_ONLY = 0o644, 0o600
"""Modes of a file that is new."""


def whole_lines(content: bytes) -> bytes:
    r"""Return content without the half line that a crash may have left at its end.

    >>> whole_lines(b"one\ntwo\nthr")
    b'one\ntwo\n'
    """
    return content[: content.rfind(b"\n") + 1]


def append_line(path: Path, make: Callable[[bytes], bytes], *, mode: int = EVERYBODY_READS) -> None:
    """Add a line and flush it to disk.

    Args:
        path: the file; its folder is there.
        make: called with the whole lines that stand there, returns the new one with its end; nothing is changed when
            it raises.
        mode: of the file, if it is new.
    """
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, mode), "r+b") as stream:
        whole = whole_lines(stream.read())
        line = make(whole)
        stream.truncate(len(whole))
        stream.seek(len(whole))
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())
