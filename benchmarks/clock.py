"""A step's clock: when it is made in, how long it took since, by the wall and by the processors, out.

It stands by itself, so that a step whose memory is measured loads nothing for it.
"""

import os
import time


class Clock:
    """Wall and processor time of a step, from when it is made; worker processes that have ended are counted."""

    def __init__(self) -> None:
        self._began, self._used = time.monotonic(), self._cpu()

    def told(self) -> dict[str, float]:
        """Return `seconds` and `cpu_seconds` so far."""
        return {"seconds": time.monotonic() - self._began, "cpu_seconds": self._cpu() - self._used}

    @staticmethod
    def _cpu() -> float:
        times = os.times()
        return times.user + times.system + times.children_user + times.children_system
