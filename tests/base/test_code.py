"""The code digest: a changed line changes it, a changed comment does not."""

from pathlib import Path

import pytest

from behavior_tasks.base import code


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in {
        "data/__init__.py": "",
        "data/clean.py": '"""Doc."""\nfrom behavior_tasks.base.schema import A\nX = A\n',
        "base/__init__.py": "",
        "base/schema.py": "A = 1\n",
        "base/errors.py": "E = 1\n",
        "data/words.yaml": "a: b\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(code, "PACKAGE_FOLDER", tmp_path)
    return tmp_path


def digest() -> str:
    code.code_digest.cache_clear()
    code.look_at.cache_clear()
    return code.code_digest("data.clean")


@pytest.mark.parametrize(
    ("file", "text", "changes"),
    [
        ("data/clean.py", '"""Other words."""\n# why\nfrom behavior_tasks.base.schema import A\n\nX = A\n', False),
        ("data/clean.py", '"""Doc."""\nfrom behavior_tasks.base.schema import A\nX = -A\n', True),
        ("base/schema.py", "A = 2\n", True),
        ("base/errors.py", "E = 2\n", False),
        ("data/words.yaml", "a: c\n", True),
    ],
)
def test_what_changes_the_digest(package: Path, file: str, text: str, changes: bool) -> None:
    before = digest()
    (package / file).write_text(text)
    assert (digest() != before) == changes
