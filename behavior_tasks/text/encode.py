"""Encode: texts become token ids, by a tokenizer trained on the train split or by a checkpoint's own.

In come the texts and the features by bucket; out come one long memory-mapped array of token ids, the offsets of each
text in it, the features as numbers, an index of the examples in the same order, and the tokenizer. `encode_texts` and
`encode_parts` give the same tokens for training and for scoring; a text longer than `max_tokens` loses its beginning.
"""

import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from behavior_tasks.base.artifacts import Artifact, Output, Rows, hash_file
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_files, combine_hashes, connect, hash_rows, parquet_sql, write_parquet
from behavior_tasks.text.join import Joiner
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.text.token_files import READ_ROWS, ArrayFile, map_array, read_parts
from behavior_tasks.text.tokenizer import (
    load_tokenizer,
    mask_of,
    token_kind,
    train_tokenizer,
    untrained_tokenizer,
    vocabulary_of,
)
from behavior_tasks.text.tokenizer_source import SCRATCH, checkpoint_identity, fetch_tokenizer
from behavior_tasks.text.tokens import INDEX_COLUMNS, INDEX_FILE, TOKENIZER_FILE, TOKENIZER_FOLDER, Encoding
from behavior_tasks.text.verbalize import SETTINGS_FILE

__all__ = ["checkpoint_identity", "encode_parts", "encode_stage", "encode_texts", "train_texts"]

MANY_CUT = 0.5
"""A share of shortened texts above which the log says so."""
MOST_COUNTED = 1_000_000
"""Words up to which a tokenizer is trained on all of them, one by one."""
log = logging.getLogger("behavior")


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    texts: Path
    features: Path
    numbers: tuple[str, ...]
    tokenizer: Path
    max_tokens: int
    out: Path
    """An empty folder for `tokens.npy`, `lengths.npy` and `numbers.npy` of this bucket."""


def encode_stage(job: Job) -> Output:
    """Make or fetch the tokenizer and encode every text.

    Raises:
        UserError: when the checkpoint can't be had or is of another kind.
    """
    model, files = job.config.model, bucket_files(job.inputs["verbalize"].path / "texts")
    features, tokenizer = job.inputs["features"], job.out / TOKENIZER_FOLDER
    special = TextSettings.load(job.inputs["verbalize"].path / SETTINGS_FILE).special_tokens()
    if model.checkpoint == SCRATCH:
        train_tokenizer(train_texts(files, special), model.vocabulary, tokenizer, special)
    else:
        fetch_tokenizer(model.checkpoint, tokenizer, special)
    names = _number_names(features) if model.numbers else ()
    buckets = [
        _Bucket(
            texts=texts,
            features=examples,
            numbers=names,
            tokenizer=tokenizer,
            max_tokens=model.max_tokens,
            out=job.out / "buckets" / texts.stem,
        )
        for texts, examples in zip(files, bucket_files(features.path / "examples"), strict=True)
    ]
    rows = sum(pq.read_metadata(file).num_rows for file in files)
    done = run_buckets(_encode_bucket, buckets, engine=job.config.engine, what="tokens", rows=rows)
    if slowed := next(filter(None, done), None):
        log.info(
            "Tokenising takes longer than it could, because texts can't be put together of all their parts: %s", slowed
        )
    encoding, lengths = _join_buckets(buckets, job.out)
    connection = connect(memory_mb=job.config.engine.memory_mb)
    write_parquet(connection, _index_sql(files), job.out / INDEX_FILE)
    encoding.save(job.out)
    cut = float(np.mean(lengths == model.max_tokens)) if len(lengths) else 0.0
    if cut > MANY_CUT:
        log.warning("%.0f %% of the texts reach model.max_tokens = %d and may be cut", 100 * cut, model.max_tokens)
    arrays = [hash_file(job.out / f"{name}.npy") for name in ("tokens", "numbers")]
    return Output(
        rows=Rows(unit_in="examples", unit_out="examples", rows_in=rows, rows_out=len(lengths)),
        content_hash=combine_hashes([hash_rows(connection, job.out / INDEX_FILE), *arrays]),
        facts={
            "vocabulary": encoding.vocabulary,
            "numbers": len(names),
            "tokens": encoding.tokens,
            "mean_tokens": round(float(lengths.mean()), 1) if len(lengths) else 0.0,
            "p95_tokens": int(np.quantile(lengths, 0.95, method="higher")) if len(lengths) else 0,
            "reach_max_tokens": round(cut, 4),
        },
    )


def encode_texts(tokenizer_folder: Path, texts: Sequence[str], max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Encode texts, keeping at most `max_tokens` tokens of each: its end, within what a tokenizer frames texts with.

    Returns:
        Token ids of all texts, one after the other, shape (all tokens,), uint16 when the vocabulary allows it,
        else uint32; and offsets, shape (texts + 1,), int64.

    Raises:
        UserError: when the tokenizer can't be read.
    """
    encoded = _joiner(tokenizer_folder).encode_whole(texts, max_tokens)
    return encoded.tokens, encoded.offsets


def encode_parts(
    tokenizer_folder: Path, parts: pa.ListArray | Sequence[Sequence[str]], max_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """Encode texts that are given in parts: exactly what `encode_texts` gives for the joined parts, much faster."""
    encoded = _joiner(tokenizer_folder).encode(parts, max_tokens)
    return encoded.tokens, encoded.offsets


def _number_names(features: Artifact) -> tuple[str, ...]:
    categorical = set(features.facts["categorical"])
    return tuple(name for name in features.facts["features"] if name not in categorical)


def _encode_bucket(bucket: _Bucket) -> str | None:
    """Write the arrays of one bucket; return why parts, or whole texts, had to be read together."""
    bucket.out.mkdir(parents=True)
    joiner = _joiner(bucket.tokenizer)
    with (
        ArrayFile(bucket.out / "tokens.npy", joiner.kind) as tokens_file,
        ArrayFile(bucket.out / "lengths.npy", np.dtype(np.int64)) as lengths_file,
    ):
        slowed = None
        for parts in read_parts(bucket.texts):
            encoded = joiner.encode(parts, bucket.max_tokens)
            tokens_file.append(encoded.tokens)
            lengths_file.append(np.diff(encoded.offsets))
            slowed = slowed or encoded.slowed
    _write_numbers(bucket)
    return slowed


def _write_numbers(bucket: _Bucket) -> None:
    """Write the features of a bucket's examples, which must stand in the order of the texts."""
    texts, features = (pq.read_table(file, columns=["example"])["example"] for file in (bucket.texts, bucket.features))
    if not texts.equals(features):
        raise AssertionError(f"the examples of the bucket {bucket.texts.stem} stand in another order in the features")
    row = (len(bucket.numbers),)
    with ArrayFile(bucket.out / "numbers.npy", np.dtype(np.float32), row) as file:
        for batch in pq.ParquetFile(bucket.features).iter_batches(READ_ROWS, columns=list(bucket.numbers)):
            values = np.empty((len(batch), *row), dtype=np.float32)
            for place, name in enumerate(bucket.numbers):
                values[:, place] = batch.column(name).to_numpy(zero_copy_only=False)
            file.append(values)


def _join_buckets(buckets: Sequence[_Bucket], out: Path) -> tuple[Encoding, np.ndarray]:
    """Put the buckets' arrays behind one another; return what they hold, and the lengths of all texts."""
    folder = out / TOKENIZER_FOLDER
    tokenizer, names = load_tokenizer(folder), buckets[0].numbers
    with (
        ArrayFile(out / "tokens.npy", token_kind(tokenizer)) as tokens,
        ArrayFile(out / "numbers.npy", np.dtype(np.float32), (len(names),)) as numbers,
    ):
        for bucket in buckets:
            tokens.append_file(bucket.out / "tokens.npy")
            numbers.append_file(bucket.out / "numbers.npy")
    lengths = np.concatenate([map_array(bucket.out / "lengths.npy") for bucket in buckets])
    np.save(out / "offsets.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    shutil.rmtree(buckets[0].out.parent)
    encoding = Encoding(
        examples=len(lengths),
        tokens=int(lengths.sum()),
        vocabulary=vocabulary_of(tokenizer),
        numbers=names,
        tokenizer=hash_file(folder / TOKENIZER_FILE),
        mask=mask_of(folder, tokenizer),
    )
    return encoding, lengths


def _index_sql(files: Sequence[Path]) -> str:
    return f"SELECT {', '.join(INDEX_COLUMNS)} FROM {parquet_sql(files)}"


def train_texts(files: Sequence[Path], special_tokens: Sequence[str] = ()) -> Iterator[str]:
    """Yield the words of the train texts, as often as they come, or where they are very many a fraction as often."""
    joiner, counts = Joiner(untrained_tokenizer(special_tokens), count_only=True), Counter[str]()
    for file in files:
        for parts in read_parts(file, "train"):
            counts.update(joiner.count(parts))
    rate = max(1.0, counts.total() / MOST_COUNTED)
    for word, times in sorted(counts.items()):
        yield from repeat(word, max(1, round(times / rate)))


def _joiner(folder: Path) -> Joiner:
    """Return the joiner of a tokenizer, which remembers the parts that this process has seen."""
    stat = (folder / TOKENIZER_FILE).stat() if (folder / TOKENIZER_FILE).is_file() else None
    return _open_joiner(folder, stat and (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=2)
def _open_joiner(folder: Path, version: tuple[int, int] | None) -> Joiner:
    return Joiner(load_tokenizer(folder))
