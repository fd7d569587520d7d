"""Encode: texts become token ids, by a tokenizer trained on the train split or by a checkpoint's own.

In come the texts by bucket; out come one long memory-mappable array of token ids, the offsets of each text in
it, an index of the examples in the same order, and the tokenizer. `encode_texts` is the one function for
training and scoring; a text longer than `max_tokens` loses its beginning, the oldest events, and keeps its end.
"""

import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
import pandas as pd
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from behavior_tasks.base.artifacts import Output, Rows, hash_file, hash_of
from behavior_tasks.base.config import ModelConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_files, combine_hashes, connect, hash_rows, quote, write_parquet
from behavior_tasks.base.timeline import Split
from behavior_tasks.text.parts import TEXT_SQL

SCRATCH = "scratch"
PAD, END = "<pad>", "<end>"
MODEL_TYPES = ("gpt2",)
"""Checkpoints that the network can be built from, by `model_type` of their config.json."""
TOKENIZER_FILES = ("tokenizer.json", "vocab.json")
"""A checkpoint's folder has at least one of them when it has a tokenizer."""
PIECES = r",? ?\d+ [a-z]+| ?[^\s,.:;]+ [A-Z]{1,3}(?![^\s,.:;])|,? ?[^\s,:;]*[^\s,.:;]|[,.:;]|\s+"
"""What a token can't reach across: a word with the blank and the comma before it. A number stays whole and keeps
its unit ("2 days"), a product's letter the word before it ("product B"): 30 % fewer tokens than single words."""
HUB_SECONDS = 5.0
"""How long the hub may take to answer at all; its own client would try for minutes."""
READ_ROWS = 20_000
MANY_CUT = 0.5
"""A share of shortened texts above which the log says so."""
log = logging.getLogger("behavior")


@dataclass(frozen=True, kw_only=True)
class TokenSet:
    """The encoded examples; row i's tokens are `tokens[offsets[i]:offsets[i + 1]]`."""

    tokens: np.ndarray
    """Token ids, shape (all tokens,), uint16 or uint32, memory-mapped."""
    offsets: np.ndarray
    """Shape (examples + 1,), int64."""
    index: pd.DataFrame
    """example, shopper, split, cutoff, label, weight; one row a text, in the order of the offsets."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Open the artifact of `encode`."""
        return cls(
            tokens=np.load(folder / "tokens.npy", mmap_mode="r"),
            offsets=np.load(folder / "offsets.npy", mmap_mode="r"),
            index=pd.read_parquet(folder / "index.parquet"),
        )

    def rows(self, split: Split) -> np.ndarray:
        """Return the row numbers of a split, rising, int64."""
        return np.flatnonzero((self.index["split"] == split).to_numpy())


def encode_stage(job: Job) -> Output:
    """Make or fetch the tokenizer and encode every text.

    Raises:
        UserError: when the checkpoint can't be had or is of another kind.
    """
    model, files = job.config.model, bucket_files(job.inputs["verbalize"].path / "texts")
    folder = job.out / "tokenizer"
    if model.checkpoint == SCRATCH:
        train_tokenizer(_train_texts(files), model.vocabulary, folder)
    else:
        fetch_tokenizer(model.checkpoint, folder)
    lengths = _write_tokens(files, job.out, folder, model)
    connection = connect(memory_mb=job.config.engine.memory_mb)
    index = job.out / "index.parquet"
    listed = "[" + ", ".join(quote(file) for file in files) + "]"
    write_parquet(
        connection, f"SELECT example, shopper, split, cutoff, label, weight FROM read_parquet({listed})", index
    )
    np.save(job.out / "offsets.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    cut = float(np.mean(lengths == model.max_tokens)) if len(lengths) else 0.0
    if cut > MANY_CUT:
        log.warning("%.0f %% of the texts reach model.max_tokens = %d and may be cut", 100 * cut, model.max_tokens)
    return Output(
        rows=Rows(unit_in="examples", unit_out="examples", rows_in=len(lengths), rows_out=len(lengths)),
        content_hash=combine_hashes([hash_rows(connection, index), hash_file(job.out / "tokens.npy")]),
        facts={
            "vocabulary": _load(folder).get_vocab_size(),
            "tokens": int(lengths.sum()),
            "mean_tokens": round(float(lengths.mean()), 1) if len(lengths) else 0.0,
            "p95_tokens": int(np.quantile(lengths, 0.95, method="higher")) if len(lengths) else 0,
            "reach_max_tokens": round(cut, 4),
        },
    )


def encode_texts(tokenizer_folder: Path, texts: Sequence[str], max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Encode texts, keeping at most the last `max_tokens` tokens of each.

    Returns:
        Token ids of all texts, one after the other, shape (all tokens,), uint16 when the vocabulary allows it,
        else uint32; and offsets, shape (texts + 1,), int64.
    """
    tokenizer = _load(tokenizer_folder)
    kept = [
        encoding.ids[-max_tokens:] for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    ]
    offsets = np.zeros(len(kept) + 1, dtype=np.int64)
    np.cumsum([len(ids) for ids in kept], out=offsets[1:])
    kind = np.uint16 if tokenizer.get_vocab_size() <= np.iinfo(np.uint16).max + 1 else np.uint32
    return np.fromiter((token for ids in kept for token in ids), dtype=kind, count=int(offsets[-1])), offsets


def train_tokenizer(texts: Iterator[str], vocabulary: int, folder: Path) -> None:
    """Train a byte-level BPE (Sennrich et al., 2016; Radford et al., 2019) and save it with `save_pretrained`.

    It counts pieces, so the order of the texts plays no part. The vocabulary is smaller than asked for when the
    texts have no more to merge.
    """
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, clean_up_tokenization_spaces=False
    )
    wrapped.save_pretrained(folder)


def fetch_tokenizer(checkpoint: str, folder: Path) -> None:
    """Save the tokenizer of a local folder or a hub id.

    Raises:
        UserError: naming the choice, when the checkpoint is not there, can't be reached, or is of another kind.
    """
    from transformers import AutoTokenizer

    local = _local_folder(checkpoint)
    only_local = local is not None or not _must_download(checkpoint)
    source = str(local or checkpoint)
    try:
        _check_model_type(checkpoint, source, only_local)
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=only_local)
    except (OSError, ValueError) as error:
        raise UserError(
            f'The checkpoint "{checkpoint}" (model.checkpoint) can\'t be loaded.',
            found=_first_line(error, source, checkpoint),
            expected="a GPT-2 checkpoint with config.json, weights and tokenizer",
            next_step=_other_choices(),
        ) from None
    if tokenizer.pad_token is None:
        # GPT-2 has no padding of its own; padded places are masked, so any token that it knows will do.
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)


def checkpoint_identity(raw: Path | None, config: Any, home: Any) -> dict[str, str]:
    """Return the hash of a local checkpoint's files, so that other weights under the same name are another input.

    (The shape of a stage's `outside`.) A hub id and `scratch` are told by their name alone.
    """
    folder = Path(config.model.checkpoint).expanduser()
    if config.model.checkpoint == SCRATCH or not folder.is_dir():
        return {}
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return {"checkpoint": hash_of({file.name: hash_file(file) for file in files})}


def _local_folder(checkpoint: str) -> Path | None:
    """Return the folder that a checkpoint names, or None when it is a hub id."""
    folder = Path(checkpoint).expanduser()
    if folder.is_dir():
        missing = [] if (folder / "config.json").is_file() else ["config.json"]
        if not any((folder / name).is_file() for name in TOKENIZER_FILES):
            missing.append("tokenizer.json (or vocab.json and merges.txt)")
        if missing:
            raise UserError(
                f'The checkpoint folder "{checkpoint}" (model.checkpoint) is not complete.',
                found=f"no {' and no '.join(missing)}",
                expected="a folder written by save_pretrained of a GPT-2 model and of its tokenizer",
                next_step=_other_choices(),
            )
        return folder
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", checkpoint):
        raise UserError(
            f'The checkpoint folder "{checkpoint}" (model.checkpoint) does not exist.',
            found="neither a folder nor a hub id such as gpt2 or distilbert/distilgpt2",
            next_step=_other_choices(),
        )
    return None


def _must_download(checkpoint: str) -> bool:
    """Say whether a hub id has to be fetched; refuse at once when the hub can't be reached.

    The hub is asked once, briefly: the client library would retry for minutes, per file.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if any(isinstance(try_to_load_from_cache(checkpoint, name), str) for name in TOKENIZER_FILES):
        return False
    if constants.is_offline_mode():
        raise _unreachable(checkpoint, "HF_HUB_OFFLINE is set, and the checkpoint is not in the local cache")
    try:
        httpx.head(constants.ENDPOINT, timeout=HUB_SECONDS, follow_redirects=False)
    except httpx.HTTPError as error:
        raise _unreachable(checkpoint, f"the model hub does not answer ({type(error).__name__})") from None
    return True


def _unreachable(checkpoint: str, found: str) -> UserError:
    return UserError(
        f'The checkpoint "{checkpoint}" (model.checkpoint) is neither a local folder nor can it be downloaded.',
        found=found,
        expected="a folder with the checkpoint, or a machine that reaches the hub",
        next_step=_other_choices(),
    )


def _check_model_type(checkpoint: str, source: str, only_local: bool) -> None:
    from transformers.utils import cached_file

    path = cached_file(source, "config.json", local_files_only=only_local)
    kind = json.loads(Path(path).read_text(encoding="utf-8")).get("model_type")
    if kind not in MODEL_TYPES:
        raise UserError(
            f'The checkpoint "{checkpoint}" (model.checkpoint) is not a GPT-2 model.',
            found=f"model_type {kind} in its config.json",
            expected=f"model_type {' or '.join(MODEL_TYPES)}",
            next_step=_other_choices(),
        )


def _other_choices() -> str:
    return (
        "--set model.checkpoint=scratch trains a compact GPT-2 on this log; "
        "--set model.checkpoint=/path/to/folder takes one that is already here"
    )


def _first_line(error: Exception, source: str, checkpoint: str) -> str:
    """The library's reason in one line, naming the checkpoint only as the user did."""
    return (str(error).splitlines() or [type(error).__name__])[0].replace(source, checkpoint)


def _load(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def _train_texts(files: Sequence[Path]) -> Iterator[str]:
    for file in files:
        for batch in _read(f"SELECT {TEXT_SQL} FROM read_parquet({quote(file)}) WHERE split = 'train'"):
            yield from batch


def _read(query: str) -> Iterator[list[str]]:
    rows = connect().execute(query)
    while batch := rows.fetchmany(READ_ROWS):
        yield [text for (text,) in batch]


def _write_tokens(files: Sequence[Path], out: Path, tokenizer_folder: Path, model: ModelConfig) -> np.ndarray:
    """Write `tokens.npy` piece by piece, so that memory stays flat; return the length of every text."""
    raw, lengths = out / "tokens.raw", [np.zeros(0, dtype=np.int64)]
    kind: np.dtype = np.dtype(np.uint16)
    with raw.open("wb") as stream:
        for file in files:
            for texts in _read(f"SELECT {TEXT_SQL} FROM read_parquet({quote(file)})"):
                tokens, offsets = encode_texts(tokenizer_folder, texts, model.max_tokens)
                kind = tokens.dtype
                stream.write(tokens.tobytes())
                lengths.append(np.diff(offsets))
    # The header of an .npy file needs the total, which is known only now.
    with raw.open("rb") as source, (out / "tokens.npy").open("wb") as target:
        shape = (raw.stat().st_size // kind.itemsize,)
        np.lib.format.write_array_header_1_0(
            target, {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        )
        while block := source.read(1 << 24):
            target.write(block)
    raw.unlink()
    return np.concatenate(lengths)
