"""Chromium, for tests of pages as people see them; without it such a test is skipped."""

import shutil
import subprocess
from pathlib import Path

import pytest

QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")


def run_chromium(url: str, folder: Path, *flags: str) -> str:
    """Open a page in Chromium and return what it prints, e.g. the page itself with `--dump-dom`."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed; everything but the page itself was checked")
    own = ("--headless", "--no-sandbox", "--disable-gpu", *QUIET, f"--user-data-dir={folder / 'chromium'}")
    command = [chromium, *own, *flags, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
