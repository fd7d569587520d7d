"""A death at any step of lasting work: the steps in, a process that is killed before one of them out."""

import os
import signal
from collections.abc import Callable, Iterable
from typing import Any


def die_before_step(steps: Iterable[tuple[object, str]], survive: int) -> None:
    """Let this process be killed before the step that follows `survive` others.

    Args:
        steps: owner and name of each function that counts as one.
        survive: how many of them are done before.
    """
    done = 0

    def dying(step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal done
            if done == survive:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            return step(*arguments, **options)

        return call

    for owner, name in steps:
        setattr(owner, name, dying(getattr(owner, name)))
