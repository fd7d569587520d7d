"""The verdict on the screen: what failed stands first, with its rule's name, and the advice is not lost."""

from dataclasses import asdict

from behavior_tasks.cli.verdict import verdict_lines
from behavior_tasks.verdict.gate import judge
from tests.verdict.judged import CONFIG, changed, evidence


def test_what_failed_comes_first_with_its_name_and_the_advice_above_it() -> None:
    found = changed(evidence(candidate=40, boosting=20), "clean", value=False, of="audit")
    lines = verdict_lines(asdict(judge(found, CONFIG))).plain.splitlines()
    assert lines[0].startswith("keep: the log could not be audited")
    assert lines[1].startswith("Advice: use the simpler one: gradient boosting")
    assert lines[2].startswith("  ✗ audit: ")
    assert lines[3].startswith("  ✗ against_boosting: ")
    assert lines[4].startswith("  ✓ ")
    after = next(
        number for number, line in enumerate(lines) if line.startswith("Gradient boosting, judged in its place")
    )
    assert [line[:10] for line in lines[after + 1 :]] == ["  ✗ audit:"], "of its rules, only what failed"


def test_an_approval_that_is_still_missing_is_said() -> None:
    lines = verdict_lines(asdict(judge(evidence(), CONFIG.model_copy(update={"approval": "required"})))).plain
    assert "A person must approve" in lines
    assert "✗" not in lines
    assert "A person must approve" not in verdict_lines(asdict(judge(evidence(), CONFIG))).plain
