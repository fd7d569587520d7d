"""What a training step does differently from the one before: its learning rate and its random numbers.

Both follow from the step's number alone, never from what ran before, so a resumed training meets the same ones.
"""

import math

import numpy as np

WARMUP_FRACTION = 0.1
FINAL_RATE_FRACTION = 0.05


def learning_rate(step: int, total_steps: int, peak: float) -> float:
    """Return the learning rate of a step: linear warm-up to the peak, then half a cosine down to a twentieth.

    >>> [round(learning_rate(step, 100, 1.0), 3) for step in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.525, 0.05]
    """
    warmup = max(1, int(total_steps * WARMUP_FRACTION))
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, total_steps - warmup)
    cosine = (1 + math.cos(math.pi * done)) / 2
    return peak * (FINAL_RATE_FRACTION + (1 - FINAL_RATE_FRACTION) * cosine)


def seed_of(*parts: int) -> int:
    """Return a seed for torch, below 2^63, that differs for every tuple of numbers, e.g. (seed, step)."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
