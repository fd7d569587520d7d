"""The steps that `encode.py` measures, each called by name in a process of its own (`fresh.py`).

In come JSON arguments, out comes one line of JSON with `seconds`. The one thing to know: ours is timed with reading
the texts and writing the tokens, the Hugging Face tokenizer without either.
"""

import hashlib
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from clock import Clock
from steps import open_clean
from tokenizers import Tokenizer

from behavior_tasks.base.config import EngineConfig
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.tables import bucket_file, bucket_files, connect, quote, write_parquet
from behavior_tasks.data.events import open_events
from behavior_tasks.text.encode import encode_parts, train_texts
from behavior_tasks.text.parts import TEXT_SQL
from behavior_tasks.text.token_files import ArrayFile, map_array, read_parts
from behavior_tasks.text.tokenizer import load_tokenizer, token_kind, train_tokenizer
from behavior_tasks.text.tokenizer_source import fetch_tokenizer

TEXTS_AT_ONCE = 20_000
BRACKETED = re.compile(r"\[[^\[\]]+\]")
LONGEST = 1024


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    texts: Path
    tokenizer: Path
    out: Path


def make_examples(home: str, run_id: str, out: str, cutoffs: int) -> dict[str, Any]:
    """Write one example a shopper and cutoff, a week apart, with the profile columns that a text reads."""
    clock, clean, rows = Clock(), open_clean(home, run_id), 0
    last = datetime.fromisoformat(clean.facts["last"]) + timedelta(seconds=1)
    instants = ", ".join(f"TIMESTAMP '{last - timedelta(weeks=back)}'" for back in reversed(range(cutoffs)))
    Path(out).mkdir()
    for number, bucket in enumerate(open_events(clean)):
        with connect() as connection:
            bucket.create_view(connection)
            query = f"""
                SELECT shopper || '@' || cutoff AS example, shopper, '' AS product_id, 'train' AS split, cutoff,
                       1 AS label, CAST(0 AS DOUBLE) AS amount, CAST(1 AS DOUBLE) AS weight, max(gender) AS gender,
                       CAST(max(age) AS DOUBLE) AS age,
                       CAST(count(*) FILTER (action = 'purchase') AS DOUBLE) AS purchases
                FROM events, unnest([{instants}]) AS t(cutoff) WHERE timestamp < cutoff
                GROUP BY shopper, cutoff ORDER BY cutoff, shopper
            """
            write_parquet(connection, query, bucket_file(Path(out), number))
            rows += connection.execute(f"SELECT count(*) FROM {quote(bucket_file(Path(out), number))}").fetchall()[0][0]
    return {**clock.told(), "examples": rows}


def make_tokenizer(texts: str, checkpoint: str, vocabulary: int, out: str) -> dict[str, Any]:
    """Train a tokenizer on all the texts, or take a checkpoint's; bracketed words are special tokens of both."""
    files = bucket_files(Path(texts))
    parts = {part for file in files for lists in read_parts(file) for part in lists.flatten().unique().to_pylist()}
    special = sorted({word for part in parts for word in BRACKETED.findall(part)})
    clock = Clock()
    if checkpoint == "scratch":
        train_tokenizer(train_texts(files, special), vocabulary, Path(out), special)
    else:
        fetch_tokenizer(checkpoint, Path(out), special)
    return {**clock.told(), "parts": len(parts)}


def encode_ours(texts: str, tokenizer: str, out: str, workers: int) -> dict[str, Any]:
    """Encode all texts by their parts, in so many processes, and write the tokens."""
    os.environ["RAYON_NUM_THREADS"] = "1"
    engine = EngineConfig(workers=workers)
    Path(out).mkdir()
    clock = Clock()
    jobs = [
        _Bucket(texts=file, tokenizer=Path(tokenizer), out=Path(out) / f"{file.stem}.npy")
        for file in bucket_files(Path(texts))
    ]
    counts = run_buckets(_encode_bucket, jobs, engine=engine, what="tokens")
    told = clock.told()
    digest = hashlib.sha256()
    for job in jobs:
        digest.update(map_array(job.out).astype(np.uint32).tobytes())
    return {**told, "texts": sum(n for n, _ in counts), "tokens": sum(n for _, n in counts), "hash": digest.hexdigest()}


def encode_theirs(texts: str, tokenizer: str, threads: int) -> dict[str, Any]:
    """Encode all texts as the Hugging Face tokenizer does; only its own call is timed."""
    os.environ.update(RAYON_NUM_THREADS=str(threads), TOKENIZERS_PARALLELISM="true")
    fast = Tokenizer.from_file(str(Path(tokenizer) / "tokenizer.json"))
    fast.no_truncation()
    fast.no_padding()
    digest, told, tokens = hashlib.sha256(), Counter[str](), 0
    for file in bucket_files(Path(texts)):
        rows = connect().execute(f"SELECT {TEXT_SQL} FROM read_parquet({quote(file)})")
        while batch := [text for (text,) in rows.fetchmany(TEXTS_AT_ONCE)]:
            clock = Clock()
            found = fast.encode_batch_fast(batch)
            told.update(clock.told())
            for encoding in found:
                digest.update(np.array(encoding.ids, dtype=np.uint32).tobytes())
                tokens += len(encoding.ids)
    return {**told, "tokens": tokens, "hash": digest.hexdigest()}


def _encode_bucket(bucket: _Bucket) -> tuple[int, int]:
    texts = total = 0
    with ArrayFile(bucket.out, token_kind(load_tokenizer(bucket.tokenizer))) as file:
        for parts in read_parts(bucket.texts):
            tokens, offsets = encode_parts(bucket.tokenizer, parts, LONGEST * LONGEST)
            file.append(tokens)
            texts, total = texts + len(offsets) - 1, total + len(tokens)
    return texts, total


STEPS: dict[str, Callable[..., dict[str, Any]]] = {
    function.__name__: function for function in (make_examples, make_tokenizer, encode_ours, encode_theirs)
}

if __name__ == "__main__":
    print(json.dumps(STEPS[sys.argv[1]](**json.loads(sys.argv[2]))))
