"""The page's texts: a language and a key in; the text out.

Each page has one file a language, `texts/engineer.en.yaml`, whose keys are joined by dots: `engineer.champion.title`.
The one thing to know: a key that is missing is an error, and a test holds the files of all languages to the same keys.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

LANGUAGES: Mapping[str, str] = {"en": "English", "zh": "中文"}
"""Code → the language's own name."""
FOLDER = Path(__file__).with_name("texts")


def text(language: str, key: str, **values: object) -> str:
    """Return a text with its `{names}` filled in.

    Raises:
        KeyError: when there is no such text, or a value is missing.

    >>> text("en", "shell.language"), text("zh", "shell.language")
    ('Language', '语言')
    """
    found = texts(language)[key]
    return found.format(**values) if values else found


@cache
def texts(language: str) -> dict[str, str]:
    """Return all texts of a language by key."""
    found: dict[str, str] = {}
    for file in sorted(FOLDER.glob(f"*.{language}.yaml")):
        page = file.name.split(".")[0]
        found |= _flat(yaml.safe_load(file.read_bytes()), page)
    return found


def preferred(asked: str | None, kept: str | None, accepted: str) -> str:
    """Return the language to answer in.

    Args:
        asked: in the address.
        kept: from an earlier visit.
        accepted: the browser's `Accept-Language`.

    >>> preferred(None, None, "zh-CN,zh;q=0.9,en;q=0.8"), preferred("en", "zh", "zh"), preferred("xx", None, "fr")
    ('zh', 'en', 'en')
    """
    wishes = [asked, kept, *(part.split(";")[0].strip().split("-")[0].lower() for part in accepted.split(","))]
    return next((wish for wish in wishes if wish in LANGUAGES), "en")


def _flat(found: Mapping[str, Any], prefix: str) -> dict[str, str]:
    return dict(_leaves(found, prefix))


def _leaves(found: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in found.items():
        key = f"{prefix}.{name}"
        if isinstance(value, Mapping):
            yield from _leaves(value, key)
        else:
            yield key, str(value)
