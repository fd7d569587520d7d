"""Encode: texts become token ids, by a tokenizer trained on the train split or by a checkpoint's own.

In come the texts and the features by bucket; out come one long memory-mapped array of token ids, the offsets of each
text in it, the features as numbers, an index of the examples in the same order, and the tokenizer. `encode_texts` and
`encode_parts` give the same tokens for training and for scoring; a text longer than `max_tokens` loses its beginning.
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from behavior_tasks.base.artifacts import Artifact, Output, Rows, hash_file
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_files, combine_hashes, connect, hash_rows, parquet_sql, write_parquet
from behavior_tasks.text.token_files import ArrayFile, map_array
from behavior_tasks.text.tokenizer import frame_of, load_tokenizer, mask_of, token_kind, train_tokenizer, vocabulary_of
from behavior_tasks.text.tokenizer_source import SCRATCH, checkpoint_identity, fetch_tokenizer
from behavior_tasks.text.tokens import INDEX_COLUMNS, INDEX_FILE, TOKENIZER_FILE, TOKENIZER_FOLDER, Encoding

__all__ = ["checkpoint_identity", "encode_parts", "encode_stage", "encode_texts"]

READ_ROWS = 20_000
MANY_CUT = 0.5
"""A share of shortened texts above which the log says so."""
ARRAYS = ("tokens", "lengths", "numbers")
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
    if model.checkpoint == SCRATCH:
        train_tokenizer(_train_texts(files), model.vocabulary, tokenizer)
    else:
        fetch_tokenizer(model.checkpoint, tokenizer)
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
    run_buckets(_encode_bucket, buckets, engine=job.config.engine, what="tokens", rows=rows)
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
    return _encode_whole(load_tokenizer(tokenizer_folder), texts, max_tokens)


def encode_parts(
    tokenizer_folder: Path, parts: Sequence[Sequence[str]], max_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """Encode texts that are given in parts: what `encode_texts` gives for the joined parts, faster."""
    return _encode_whole(load_tokenizer(tokenizer_folder), ["".join(text) for text in parts], max_tokens)


def _encode_whole(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    before, after = frame_of(tokenizer)
    room = max(max_tokens - len(before) - len(after), 0)
    found = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    kept = [[*before, *(ids[-room:] if room else ()), *after] for ids in (encoding.ids for encoding in found)]
    offsets = np.zeros(len(kept) + 1, dtype=np.int64)
    np.cumsum([len(ids) for ids in kept], out=offsets[1:])
    kind = token_kind(tokenizer)
    return np.fromiter(chain.from_iterable(kept), dtype=kind, count=int(offsets[-1])), offsets


def _number_names(features: Artifact) -> tuple[str, ...]:
    categorical = set(features.facts["categorical"])
    return tuple(name for name in features.facts["features"] if name not in categorical)


def _encode_bucket(bucket: _Bucket) -> None:
    """Write the arrays of one bucket."""
    bucket.out.mkdir(parents=True)
    kind = token_kind(load_tokenizer(bucket.tokenizer))
    with (
        ArrayFile(bucket.out / "tokens.npy", kind) as tokens_file,
        ArrayFile(bucket.out / "lengths.npy", np.dtype(np.int64)) as lengths_file,
    ):
        for parts in _read_parts(bucket.texts):
            tokens, offsets = encode_parts(bucket.tokenizer, parts, bucket.max_tokens)
            tokens_file.append(tokens)
            lengths_file.append(np.diff(offsets))
    _write_numbers(bucket)


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
    there = pq.read_schema(files[0]).names
    columns = [name if name in there else f"CAST(NULL AS DOUBLE) AS {name}" for name in INDEX_COLUMNS]
    return f"SELECT {', '.join(columns)} FROM {parquet_sql(files)}"


def _read_parts(file: Path, condition: pa.compute.Expression | None = None) -> Iterator[list[list[str]]]:
    column = "parts" if "parts" in pq.read_schema(file).names else "text"
    for batch in pq.ParquetFile(file).iter_batches(READ_ROWS, columns=[column]):
        values = batch.column(column).to_pylist()
        yield values if column == "parts" else [[text] for text in values]


def _train_texts(files: Sequence[Path]) -> Iterator[str]:
    for file in files:
        column = "parts" if "parts" in pq.read_schema(file).names else "text"
        for batch in pq.ParquetFile(file).iter_batches(READ_ROWS, columns=[column, "split"]):
            for value, split in zip(batch.column(column).to_pylist(), batch.column("split").to_pylist(), strict=True):
                if split == "train":
                    yield "".join(value)
