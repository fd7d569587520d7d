"""Bytes of a text file as a stream that can be looked ahead into, always as UTF-8.

In comes a file, compressed or not, in any encoding; out come blocks of whole lines and single lines. The one thing to
know: text in another encoding is written as UTF-8 with what could not be decoded kept as lone surrogates, so that a
bad line is invalid UTF-8 here too.
"""

import codecs
import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Literal, cast

import pyarrow as pa

from behavior_tasks.base.errors import UserError

Compression = Literal["none", "gzip", "zstd"]
LINE_END = re.compile(rb"\r\n?|\n")
LONGEST_LINE = 32 << 20
"""Bytes. A longer line is never held whole."""
CHUNK_BYTES = 1 << 20
FOUND_LENGTH = 200
TEST_COMMANDS = {"gzip": "gzip --test", "zstd": "zstd --test"}


def damage(shown: str, kind: str, found: str, test: str = "") -> UserError:
    """Return the error that says that a file is damaged, and the command that tests it."""
    step = f"{test} {shown}; copy or export the file again" if test else "copy or export the file again"
    return UserError(f"The {kind} {shown} is damaged.", found=found[:FOUND_LENGTH], next_step=step)


def wrong_encoding(shown: str, encoding: str, error: UnicodeError) -> UserError:
    """Return the error that says that a text as a whole can't be decoded."""
    return UserError(
        f"The file {shown} can't be read as {encoding}.",
        found=str(error),
        next_step="set the encoding that the export used, e.g. --set source.encoding=utf-8",
    )


@contextmanager
def damaged(shown: str, kind: str, test: str = "") -> Iterator[None]:
    """Turn what libraries raise over damaged data into a `UserError`."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        found = (str(error) or type(error).__name__).splitlines()[0]
        raise damage(shown, kind, found, test) from None


@contextmanager
def open_bytes(path: Path, compression: Compression, *, shown: str) -> Iterator[IO[bytes]]:
    """Open a file's bytes without their compression; all members and frames are read.

    Raises:
        UserError: when the compressed data is damaged or cut short; also while reading.
    """
    if compression == "none":
        with path.open("rb") as raw:
            yield raw
        return
    with damaged(shown, "compressed file", TEST_COMMANDS[compression]):
        if compression == "gzip":
            with gzip.open(path, "rb") as unpacked:
                yield cast("IO[bytes]", unpacked)
        else:
            with pa.input_stream(str(path), compression="zstd", buffer_size=CHUNK_BYTES) as stream:
                yield stream


class ByteSource:
    """The bytes still to be read, as many of them held as somebody asked for."""

    def __init__(self, read: Callable[[int], bytes], *, offset: int, errors: str) -> None:
        self._read = read
        self.held = b""
        self.offset = offset
        """Place of the first held byte in the text."""
        self.stop: int | None = None
        """Where the text to be read ends, always at a line end; bytes behind it are only looked at."""
        self.ended = False
        self.errors = errors
        """How lines with undecodable bytes are decoded."""

    def hold(self, size: int) -> None:
        """Hold at least so many bytes, or all that are left."""
        parts, held = [self.held], len(self.held)
        while held < size and not self.ended:
            more = self._read(max(size - held, CHUNK_BYTES))
            self.ended = not more
            parts.append(more)
            held += len(more)
        if len(parts) > 1:
            self.held = b"".join(parts)

    def drop(self, size: int) -> None:
        """Forget the first so many held bytes."""
        self.held = self.held[size:]
        self.offset += size

    def skip(self, mark: bytes) -> None:
        """Drop a byte order mark if the text begins with it."""
        self.hold(len(mark))
        if self.held.startswith(mark):
            self.drop(len(mark))

    @property
    def at_stop(self) -> bool:
        """Whether everything up to `stop` has been dropped."""
        return self.stop is not None and self.offset >= self.stop

    def cut(self, size: int) -> int:
        """Hold about so many bytes and return how many are whole lines; 0 when the next line is too long to be held."""
        while True:
            most = size if self.stop is None else min(size, self.stop - self.offset)
            self.hold(most + 1)
            if most < size or len(self.held) <= most:
                return min(most, len(self.held))
            end = self.held.rfind(b"\n", 0, size) + 1
            if not end and self.held[size : size + 1] != b"\n":
                end = self.held.rfind(b"\r", 0, size) + 1
            if end or size >= LONGEST_LINE:
                return end
            size *= 2

    def stop_after_next_line(self) -> None:
        """Move the end of the text behind the next line."""
        next(self.lines(0), None)
        self.stop = self.offset + self.end_of_lines(0, 1)

    def lines(self, position: int) -> Iterator[str]:
        """Yield the physical lines from a place in the held bytes on, line ends kept.

        A line that is too long to be held comes as its beginning and is the last.
        """
        while True:
            found = LINE_END.search(self.held, position)
            if found and (found.end() < len(self.held) or self.ended or found[0] != b"\r"):
                yield self.held[position : found.end()].decode("utf-8", self.errors)
                position = found.end()
            elif self.ended or len(self.held) - position > LONGEST_LINE:
                if rest := self.held[position : position + LONGEST_LINE]:
                    yield rest.decode("utf-8", self.errors)
                return
            else:
                self.hold(len(self.held) + max(CHUNK_BYTES, len(self.held) - position))

    def end_of_lines(self, position: int, count: int) -> int:
        """Return the place after so many lines, all of them held."""
        for _ in range(count):
            found = LINE_END.search(self.held, position)
            position = found.end() if found else len(self.held)
        return position

    def skip_line(self) -> int:
        """Drop one line without holding it whole; return its bytes without the line end."""
        size = 0
        while True:
            found = LINE_END.search(self.held)
            if found and (found.end() < len(self.held) or self.ended or found[0] != b"\r"):
                size += found.start()
                self.drop(found.end())
                return size
            # A carriage return at the very end is kept: its line feed may follow.
            gone = len(self.held) - (1 if found else 0)
            size += gone
            self.drop(gone)
            if self.ended:
                return size
            self.hold(len(self.held) + CHUNK_BYTES)


@contextmanager
def open_source(path: Path, compression: Compression, *, encoding: str, shown: str, start: int) -> Iterator[ByteSource]:
    """Open a text file from a byte on.

    Args:
        start: first byte; other than 0 only for uncompressed UTF-8.

    Raises:
        UserError: when the compressed data or the text as a whole is broken; also while reading.
    """
    with open_bytes(path, compression, shown=shown) as stream:
        if codecs.lookup(encoding).name == "utf-8":
            if start:
                stream.seek(start)
            yield ByteSource(stream.read, offset=start, errors="surrogateescape")
            return
        try:
            with TextIOWrapper(stream, encoding=encoding, errors="surrogateescape", newline="") as text:
                yield ByteSource(
                    lambda size: text.read(size).encode("utf-8", "surrogatepass"), offset=0, errors="surrogatepass"
                )
        except UnicodeError as error:
            raise wrong_encoding(shown, encoding, error) from None
