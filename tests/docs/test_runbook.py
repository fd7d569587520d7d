"""The runbook has an entry for everything that the code may say to whoever is on call, and for nothing else."""

import ast
import re

import pytest

from tests.docs import kinds
from tests.docs.commands import PROJECT

RUNBOOK = (PROJECT / "docs" / "operations.md").read_text(encoding="utf-8")
SPAN = re.compile(r"`([^`]+)`")


def first_cells(heading: str, page: str = RUNBOOK) -> set[str]:
    """Return what stands between backticks in the first column of the table below a heading."""
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return {span for row in rows for span in SPAN.findall(row.split(" | ")[0])}


@pytest.mark.parametrize(
    ("heading", "codes"),
    [
        ("Alerts of the watch", kinds.alerts()),
        ("Banners", kinds.banners()),
        ("What the doctor asks", kinds.doctor_findings()),
        ("Rows set aside", kinds.reasons()),
    ],
    ids=["alerts", "banners", "doctor", "reasons"],
)
def test_every_kind_has_its_entry_and_every_entry_its_kind(heading: str, codes: set[str]) -> None:
    named = first_cells(heading)
    assert len(codes) > 10
    assert sorted(code for code in codes if not kinds.is_named(code, named)) == []
    assert sorted(name for name in named if not any(kinds.is_named(code, {name}) for code in codes)) == []


def test_every_rule_of_the_gate_says_what_to_do_when_it_keeps() -> None:
    page = (PROJECT / "docs" / "gate.md").read_text(encoding="utf-8")
    told_elsewhere = {"above_language_model"}
    assert kinds.gate_rules() - told_elsewhere == first_cells("Rules", page)
    assert all(f"`{name}`" in page for name in told_elsewhere)


def test_every_message_is_one_of_the_codes() -> None:
    messages = first_cells("Messages")
    assert len(messages) > 12
    known = _messages({max(message.split("…"), key=len)[:20] for message in messages})
    assert sorted(message for message in messages if _shape(message) not in known) == []


def _messages(beginnings: set[str]) -> set[str]:
    """Return the problems that `UserError`s name, an ellipsis for what is put in, in files that hold a beginning."""
    found = set()
    for path in kinds.PACKAGE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        if not any(beginning in source for beginning in beginnings):
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("UserError", "BusyError") and node.args:
                found |= {_shape(text) for text in kinds.texts(node.args[0])}
    return found


def _shape(text: str) -> str:
    return re.sub(r"[….+/]*(?:…|\.\+)[….+/]*", "…", text).rstrip(".…")
