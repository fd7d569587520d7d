"""Logs behind URLs: listed and copied through fsspec, once for every version.

In comes a URL such as `s3://bucket/logs/2026-*.csv.gz`; out come copies in the state folder. The one thing to know: a
file is fetched again only when its ETag, size or time says that it changed; where a server tells none, every time.
"""

import importlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from behavior_tasks.base.addresses import scheme_of, shown_address
from behavior_tasks.base.errors import UserError, nearest
from behavior_tasks.base.home import Home
from behavior_tasks.data.formats import ENDINGS, has_known_ending
from behavior_tasks.data.rawstore import Writable, copy_name, keep_copy, remember, remembered

MAGIC = set("*?[")
VERSION_KEYS = ("ETag", "etag", "md5Hash", "Content-MD5", "Digest", "LastModified", "Last-Modified", "last_modified",
                "mtime", "updated", "created", "generation")  # fmt: skip
"""What file systems call that which changes with a file's content."""
PACKAGES = {"http": "aiohttp requests", "https": "aiohttp requests", "sftp": "paramiko", "ssh": "paramiko"}
DRIVER_ERRORS = (
    ("aiohttp", "ClientError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("azure.core.exceptions", "AzureError"),
    ("paramiko", "SSHException"),
)
"""What drivers raise that is no OSError; each is caught only where its package is installed."""
CHUNK_BYTES = 8 << 20
log = logging.getLogger("behavior")


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """One copied file."""

    path: Path
    name: str
    """Relative to the place that the URL names."""
    shown: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where copies go, and what the run knows already."""

    home: Home
    min_free_mb: int
    known: Mapping[str, str]
    """Name → SHA-256 of the files that this run has fixed; such a copy is taken without asking the server."""


def fetch_all(url: str, place: Place) -> list[Fetched]:
    """Copy every file that a URL names and return the copies, sorted by name.

    Args:
        url: a file, a folder, or a pattern with * ? [ ].

    Raises:
        UserError: for an unknown scheme, a missing driver, nothing there, or a server that refuses.
    """
    shown = shown_address(url)
    with _said(shown):
        system, path = _open_system(url, shown)
        base, found = _list(system, path, url)
        if not found:
            raise UserError(
                f"There is no log at {shown}.",
                expected=f"files that end in {', '.join(ENDINGS[::3])}, …",
                next_step="check the URL, and that it is readable with your credentials",
            )
        return [_fetch(system, item, base, url, place) for item in sorted(found)]


def _open_system(url: str, shown: str) -> tuple[Any, str]:
    import fsspec
    from fsspec.registry import known_implementations

    scheme = scheme_of(url)
    if scheme not in fsspec.available_protocols():
        close = nearest(scheme, fsspec.available_protocols())
        raise UserError(
            f"{scheme}:// in {shown} is no kind of URL that can be read here.",
            expected="s3://, gs://, abfs://, https://, sftp://, postgresql:// or a path",
            next_step=f"did you mean {close}://?" if close else "check the URL",
        )
    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        module = known_implementations.get(scheme, {}).get("class", scheme).partition(".")[0]
        package = PACKAGES.get(scheme, str(error.name or scheme) if module == "fsspec" else module)
        raise UserError(
            f"Reading {shown} needs a driver that is not installed.",
            found=str(error),
            next_step=f"pip install {package}",
        ) from None


def _list(system: Any, path: str, url: str) -> tuple[str, list[str]]:
    """Return the folder that names are relative to, and the paths of all files."""
    is_web = scheme_of(url) in {"http", "https"}
    if MAGIC & set(path) and not (is_web and "?" in path):
        fixed = path[: min(path.find(c) for c in MAGIC if c in path)].rpartition("/")[0]
        held = [str(p) for p in system.glob(path) if not system.isdir(p)]
        return fixed, _logs_among(held, fixed) or held
    # A web server has no folders, only pages.
    if not is_web and system.isdir(path):
        return path, _logs_among([str(p) for p in system.find(path)], path)
    return path.rpartition("/")[0], [path] if is_web or system.exists(path) else []


def _logs_among(paths: list[str], base: str) -> list[str]:
    names = {path: path.removeprefix(base).lstrip("/") for path in paths}
    return [
        p for p, n in names.items() if has_known_ending(Path(n)) and not any(x[0] == "." for x in n.split("/") if x)
    ]


def _fetch(system: Any, path: str, base: str, url: str, place: Place) -> Fetched:
    name = path.partition("?")[0].removeprefix(base).lstrip("/")
    shown = shown_address(f"{scheme_of(url)}://{path.split('://')[-1].lstrip('/')}")
    suffix = "".join(PurePosixPath(name).suffixes[-2:])
    fixed = place.home.raw / copy_name(place.known.get(name, "-"), suffix)
    if fixed.is_file():
        return Fetched(path=fixed, name=name, shown=shown, sha256=place.known[name])
    address = f"{scheme_of(url)}://{path}"
    info = system.info(path)
    version = {key: str(info[key]) for key in VERSION_KEYS if info.get(key) is not None}
    identity = json.dumps({**version, "size": info.get("size")}, sort_keys=True)
    held = remembered(place.home, address)
    copied = place.home.raw / copy_name(str(held.get("sha256")), suffix)
    if version and held.get("identity") == identity and copied.is_file():
        return Fetched(path=copied, name=name, shown=shown, sha256=held["sha256"])
    log.info("source: copying %s", shown)
    copy = keep_copy(
        place.home,
        lambda out: _copy(system, path, out),
        suffix=suffix,
        shown=shown,
        min_free_mb=place.min_free_mb + (info.get("size") or 0) // (1 << 20),
    )
    if info.get("size") not in (None, copy.bytes) and system.info(path).get("size") != copy.bytes:
        raise UserError(
            f"{shown} changed while it was copied.",
            found=f"{copy.bytes:,} bytes",
            expected=f"{info['size']:,} bytes",
            next_step="wait until the export has finished, then run again",
        )
    remember(place.home, address, {"identity": identity, "sha256": copy.sha256})
    return Fetched(path=copy.path, name=name, shown=shown, sha256=copy.sha256)


def _copy(system: Any, path: str, out: Writable) -> None:
    with system.open(path, "rb") as stream:
        shutil.copyfileobj(stream, out, CHUNK_BYTES)


@contextmanager
def _said(shown: str) -> Iterator[None]:
    """Turn what a driver raises into one screen."""
    try:
        yield
    except FileNotFoundError as error:
        # The web driver says the same of a server that can't be reached or refuses.
        cause = error.__cause__
        status = getattr(cause, "status", None)
        if isinstance(cause, OSError) or status in {401, 403}:
            raise _unreadable(shown, cause) from None
        raise UserError(f"There is no file {shown}.", next_step="check the URL of the input (--input)") from None
    except PermissionError:
        raise UserError(
            f"{shown} may not be read.", found="access denied", next_step="check the credentials and the file's rights"
        ) from None
    except _driver_errors() as error:
        raise _unreadable(shown, error) from None


def _unreadable(shown: str, error: BaseException | None) -> UserError:
    # What a driver says may repeat the URL with its signature, so only words before one are shown.
    line = (str(error).splitlines() or [""])[0].partition("://")[0]
    return UserError(
        f"{shown} can't be read.",
        found=f"{type(error).__name__}: {line[:200]}",
        next_step="check the URL, the network and the credentials",
    )


def _driver_errors() -> tuple[type[Exception], ...]:
    found: list[type[Exception]] = [OSError, ValueError]
    for module, name in DRIVER_ERRORS:
        try:
            found.append(getattr(importlib.import_module(module), name))
        except ImportError:
            continue
    return tuple(found)
