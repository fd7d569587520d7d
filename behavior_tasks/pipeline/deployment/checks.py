"""All checks at once: a deployment in, findings in the order of the table out, within a few seconds.

Each check runs in a thread of its own, so that one that fails or hangs takes nothing from the others. The one thing to
know: whatever a check says, the environment's secrets are taken out of it before anybody sees it.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from behavior_tasks.pipeline.deployment.finding import Finding, UnseenError, fail, unseen
from behavior_tasks.pipeline.deployment.settings import Deployment

LIMIT_SECONDS = 9.0
Check = Callable[[Deployment], Sequence[Finding]]


def run_checks(
    deployment: Deployment, checks: Mapping[str, Check], *, limit_seconds: float = LIMIT_SECONDS
) -> list[Finding]:
    """Run checks side by side and return what they found, in their order.

    Args:
        deployment: what is looked at.
        checks: name → a function that returns findings, or raises `UnseenError`.
        limit_seconds: for all of them together; what has not answered by then is a finding.
    """
    found: dict[str, Sequence[Finding]] = {}

    def work(name: str, check: Check) -> None:
        try:
            found[name] = check(deployment)
        except UnseenError as reason:
            found[name] = [unseen(name, str(reason))]

    # Daemons: what still waits for a dead server at the end does not hold up the command.
    threads = {name: threading.Thread(target=work, args=(name, check), daemon=True) for name, check in checks.items()}
    deadline = time.monotonic() + limit_seconds
    for thread in threads.values():
        thread.start()
    for thread in threads.values():
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"no answer within {limit_seconds:.0f} seconds"
    answers: list[Finding] = []
    for name, thread in threads.items():
        if name in found:
            answers += found[name]
        elif thread.is_alive():
            advice = "see whether its server and its name server answer at all"
            answers.append(fail(name, late, advice, passing=True))
        else:
            answers.append(fail(name, "this check itself failed", "the lines above say where; please report them"))
    return [_without_secrets(finding, deployment.hidden()) for finding in answers]


def _without_secrets(finding: Finding, hidden: Sequence[str]) -> Finding:
    said = finding.found, finding.advice
    for secret in hidden:
        said = said[0].replace(secret, "***"), said[1].replace(secret, "***")
    return replace(finding, found=said[0], advice=said[1])
