"""The measured steps of `scoring.py`: each scores the same examples, in a process of its own.

    python benchmarks/scoring_steps.py STEP ARGUMENTS     arguments as JSON; prints the answer as one line of JSON

What is timed is scoring with a model that is loaded already; imports and loading are left out for all alike. CPU
seconds, of all threads, are told beside: they are much the same on a busy machine.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from clock import Clock


def from_tokens(bundle: str, encoded: str, out: str, threads: int) -> dict[str, Any]:
    """Score the test split from the memory-mapped tokens and numbers of `encode`."""
    from behavior_tasks.model.predict import Scorer
    from behavior_tasks.text.tokens import TokenSet

    scorer = Scorer.load(Path(bundle), device="cpu", threads=threads)
    tokens = TokenSet.load(Path(encoded))
    rows = tokens.rows("test")
    started = Clock()
    probabilities = scorer.predict(tokens.sequences, rows).probability
    return _told(started, probabilities, out)


def from_parts(bundle: str, inputs: str, out: str, threads: int) -> dict[str, Any]:
    """Score texts in parts, as the champion's are, and the numbers beside them."""
    from behavior_tasks.model.predict import Scorer

    scorer = Scorer.load(Path(bundle), device="cpu", threads=threads)
    table = pd.read_parquet(inputs)
    parts = [list(text) for text in table.pop("parts")]
    started = Clock()
    probabilities = scorer.score_parts(parts, table).probability
    return _told(started, probabilities, out)


def from_texts(bundle: str, inputs: str, out: str, threads: int) -> dict[str, Any]:
    """Score whole texts, as the served model does, and the numbers beside them."""
    from behavior_tasks.model.predict import Scorer

    scorer = Scorer.load(Path(bundle), device="cpu", threads=threads)
    table = pd.read_parquet(inputs)
    texts = ["".join(text) for text in table.pop("parts")]
    started = Clock()
    probabilities = scorer.score_texts(texts, table).probability
    return _told(started, probabilities, out)


def from_pipeline(
    checkpoint: str, inputs: str, out: str, threads: int, max_tokens: int, batch_size: int
) -> dict[str, Any]:
    """Score whole texts with `transformers.pipeline`; `batch_size` 1 is its default."""
    import torch
    from transformers import pipeline

    torch.set_num_threads(threads)
    texts = ["".join(text) for text in pd.read_parquet(inputs, columns=["parts"])["parts"]]
    classify = pipeline("text-classification", model=checkpoint, device="cpu")
    started = Clock()
    # It would stop at a text that is longer than the positions, so it cuts as our encoding does: from the left.
    answers = classify(texts, batch_size=batch_size, truncation=True, max_length=max_tokens)
    return _told(started, np.array([answer["score"] for answer in answers]), out)


def _told(started: Clock, probabilities: np.ndarray, out: str) -> dict[str, Any]:
    told = started.told()
    np.save(out, probabilities)
    return {**told, "examples": len(probabilities)}


STEPS: dict[str, Callable[..., dict[str, Any]]] = {
    function.__name__: function for function in (from_tokens, from_parts, from_texts, from_pipeline)
}

if __name__ == "__main__":
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    print(json.dumps(STEPS[sys.argv[1]](**json.loads(sys.argv[2]))))
