"""A verdict on the screen: content of `verdict.json` in; its lines, the failed rules first and in bold, out."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text


def verdict_lines(verdict: Mapping[str, Any]) -> Text:
    """Return the reason, every rule's words, and what a person had better do.

    What failed comes first, with its rule's name, because that is what somebody looks for; the name leads to
    docs/gate.md, which says what to do about it.
    """
    lines = Text()
    lines.append(f"{verdict['reason']}\n", style="bold")
    if verdict["advice"]:
        lines.append(f"Advice: {verdict['advice']}\n", style="bold yellow")
    lines.append(_rules(verdict["rules"]))
    boosting = verdict["boosting_rules"]
    if boosting is not None:
        passed = sum(rule["passed"] for rule in boosting)
        lines.append(f"Gradient boosting, judged in its place, passes {passed} of {len(boosting)} rules:\n")
        lines.append(_rules([rule for rule in boosting if not rule["passed"]]))
    if verdict["decision"] == "promote" and verdict["approval"] == "required":
        lines.append("A person must approve before it becomes the champion (gate.approval).\n", style="yellow")
    return lines


def _rules(rules: Sequence[Mapping[str, Any]]) -> Text:
    lines = Text()
    for rule in sorted(rules, key=lambda rule: rule["passed"]):
        if rule["passed"]:
            lines.append("  ✓ ", style="green")
            lines.append(f"{rule['words']}\n")
        else:
            lines.append(f"  ✗ {rule['name']}: {rule['words']}\n", style="bold red")
    return lines
