"""The documentation builds as a site: links lead somewhere, pages have their place, nothing comes from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.commands import PAGES, PROJECT

PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)#]+)[^)]*\)")
LIST_IN_PARAGRAPH = re.compile(r"<p>(?:(?!</p>).)*?\n(?:- |\d+\. |\|)[^\n]*", re.DOTALL)
MOST_BYTES = 250_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(folder),
    ]
    calm = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=PROJECT, env=calm, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built_and_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in PAGES:
        if page.parent.name != "docs":
            continue
        html = (site / page.with_suffix(".html").name).read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*src="([^"]+)"|<link[^>]*stylesheet[^>]*href="([^"]+)"', html)
        assert [each for pair in loaded for each in pair if each.startswith(("http", "//"))] == []
        assert LIST_IN_PARAGRAPH.findall(html) == [], "a list or a table needs an empty line before it"


@pytest.mark.parametrize("page", [page for page in PAGES if page.exists()], ids=lambda page: page.name)
def test_pictures_say_what_they_show_and_are_small(page: Path) -> None:
    for words, place in PICTURE.findall(page.read_text(encoding="utf-8")):
        assert len(words) > 8, f"{place} has no alternative text"
        assert (page.parent / place).stat().st_size < MOST_BYTES, place


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_links_of_the_readme_lead_somewhere(name: str) -> None:
    text = (PROJECT / name).read_text(encoding="utf-8")
    places = [place for place in LINK.findall(text) if not place.startswith("http")]
    assert len(places) > 15
    assert [place for place in places if not (PROJECT / place).exists()] == []


def test_both_readmes_have_the_same_commands_pictures_and_links() -> None:
    english, chinese = ((PROJECT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md"))
    assert set(LINK.findall(english)) - {"README.zh.md"} == set(LINK.findall(chinese)) - {"README.md"}
    assert [place for _, place in PICTURE.findall(english)] == [place for _, place in PICTURE.findall(chinese)]
    fences = re.compile(r"```(?:sh|csv)\n(.*?)```", re.DOTALL)
    shown = [[re.sub(r"\s*#.*", "", block) for block in fences.findall(text)] for text in (english, chinese)]
    assert shown[0] == shown[1]
