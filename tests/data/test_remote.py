"""Logs behind URLs: copied once for every version, named without what is secret."""

import functools
import http.server
import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from behavior_tasks.base.artifacts import hash_file
from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.data import remote
from behavior_tasks.data.inputs import find_inputs, resolve_inputs
from behavior_tasks.data.sources import hash_raw_files
from tests.data.stages import HEADER, run_to

ROWS = f"{HEADER}\nu1,browse,p1,1700000000\n"


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that were copied, in order."""
    copied: list[str] = []
    original = remote._copy

    def copy(system: Any, path: str, out: Any) -> None:
        copied.append(path)
        original(system, path, out)

    monkeypatch.setattr(remote, "_copy", copy)
    return copied


def test_a_url_is_copied_once_and_again_when_it_changed(memory: Any, copies: list[str], tmp_path: Path) -> None:
    home = Home(tmp_path)
    memory.pipe("/shop/log.csv", ROWS.encode())
    for _ in range(2):
        (file,) = resolve_inputs("memory://shop/log.csv", Config(), home)
        assert (file.name, file.shown) == ("log.csv", "memory://shop/log.csv")
        assert file.path.read_text() == ROWS
        assert file.sha256 == hash_file(file.path)
    assert len(copies) == 1
    memory.pipe("/shop/log.csv", ROWS.replace("u1", "u2").encode())
    (file,) = resolve_inputs("memory://shop/log.csv", Config(), home)
    assert "u2" in file.path.read_text()
    assert len(copies) == 2
    assert not list(home.raw.glob(".part-*"))


def test_a_folder_and_a_pattern(memory: Any, tmp_path: Path) -> None:
    for name in ("2026/a.csv", "b.csv", "notes.md", ".hidden/c.csv"):
        memory.pipe(f"/shop/{name}", ROWS.replace("u1", name[0]).encode())
    home = Home(tmp_path)
    assert [f.name for f in resolve_inputs("memory://shop", Config(), home)] == ["2026/a.csv", "b.csv"]
    assert [f.name for f in resolve_inputs("memory://shop/*.csv", Config(), home)] == ["b.csv"]
    assert [f.name for f in resolve_inputs("memory://shop/**/*.csv", Config(), home)] == ["2026/a.csv", "b.csv"]
    with pytest.raises(UserError, match=r"no log at memory://shop/\*\.zip"):
        resolve_inputs("memory://shop/*.zip", Config(), home)


def test_a_run_reads_the_copy_that_it_has_fixed(memory: Any, tmp_path: Path) -> None:
    memory.pipe("/shop/log.csv", ROWS.encode())
    home = Home(tmp_path)
    known = hash_raw_files("memory://shop/log.csv", Config(), home)
    memory.pipe("/shop/log.csv", b"something else")
    (file,) = find_inputs("memory://shop/log.csv", Config(), home, known=known).files
    assert file.path.read_text() == ROWS


def test_the_whole_path_works_from_a_url(memory: Any, tmp_path: Path) -> None:
    memory.pipe("/shop/log.csv", ROWS.encode())
    ingested = run_to("ingest", "memory://shop/log.csv", tmp_path)  # type: ignore[arg-type]
    assert ingested.manifest.rows.rows_out == 1


@pytest.mark.parametrize(
    ("url", "problem", "step"),
    [
        ("memory://shop/none.csv", "no log at memory://shop/none", "check the URL"),
        ("gsc://bucket/log.csv", "gsc:// in .* is no kind of URL", "did you mean gs://"),
        ("s3://bucket/log.csv", "needs a driver that is not installed", "pip install s3fs"),
        ("gs://bucket/log.csv", "needs a driver that is not installed", "pip install gcsfs"),
        ("abfs://bucket/log.csv", "needs a driver that is not installed", "pip install adlfs"),
        ("sftp://host/log.csv", "needs a driver that is not installed", "pip install paramiko"),
        ("http://127.0.0.1:9/log.csv", "can't be read", "check the URL, the network"),
    ],
)
def test_mistakes(url: str, problem: str, step: str, memory: Any, tmp_path: Path) -> None:
    if step.startswith("pip install") and importlib.util.find_spec(step.rpartition(" ")[2]):
        pytest.skip("the driver is installed here")
    with pytest.raises(UserError, match=problem) as caught:
        resolve_inputs(url, Config(), Home(tmp_path))
    assert step in str(caught.value)


def test_a_copy_that_breaks_off_leaves_nothing(memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.pipe("/shop/log.csv", ROWS.encode())

    def break_off(system: Any, path: str, out: Any) -> None:
        out.write(b"user_id")
        raise ConnectionResetError("gone")

    monkeypatch.setattr(remote, "_copy", break_off)
    with pytest.raises(UserError, match="can't be read"):
        resolve_inputs("memory://shop/log.csv", Config(), Home(tmp_path))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_full_disk_is_said(memory: Any, tmp_path: Path) -> None:
    memory.pipe("/shop/log.csv", ROWS.encode())
    config = Config.model_validate({"engine": {"min_free_disk_mb": 10**9}})
    with pytest.raises(UserError, match=r"disk of the state folder is full: memory://shop/log\.csv"):
        resolve_inputs("memory://shop/log.csv", config, Home(tmp_path))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A real web server on a folder, and the requests that it got."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.command)

    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "log.csv").write_text(ROWS, encoding="utf-8")
    handler = functools.partial(Handler, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}/log.csv", asked
        running.shutdown()


def test_a_web_server(server: tuple[str, list[str]], copies: list[str], tmp_path: Path) -> None:
    url, _ = server
    home = Home(tmp_path / "home")
    for _ in range(2):
        (file,) = resolve_inputs(url, Config(), home)
        assert file.path.read_text() == ROWS
    assert len(copies) == 1
    with pytest.raises(UserError, match="There is no file"):
        resolve_inputs(url.replace("log.csv", "none.csv"), Config(), home)


def test_a_signed_url_is_never_written_in_clear(server: tuple[str, list[str]], tmp_path: Path) -> None:
    url, _ = server
    home = Home(tmp_path / "home")
    (file,) = resolve_inputs(f"{url}?Signature=s3cr3t", Config(), home)
    assert file.name == "log.csv"
    assert file.path.read_text() == ROWS
    assert "s3cr3t" not in file.shown
    for path in home.root.rglob("*"):
        assert "s3cr3t" not in path.name
        assert not path.is_file() or b"s3cr3t" not in path.read_bytes()
