"""Answers: what a model said of texts, kept so that no text is read twice.

In come the texts of one bucket, in parts; out comes what each tells by itself, from the file of kept answers where it
stands there, from the model else. The one thing to know: a file is named by the model's content and holds hashes of
texts, no text and no id; one that is damaged, or can't be written, costs time and a line in the log, never an answer.
"""

import hashlib
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from behavior_tasks.base.artifacts import hash_file
from behavior_tasks.base.code import code_digest
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.base.workfolder import sweep, work_folder

if TYPE_CHECKING:
    from behavior_tasks.model.predict import Scorer

MOST_ANSWERS = 1 << 25
"""Kept answers of one model, in all buckets together: about a gigabyte. Those that were used longest ago go first."""
MOST_OF_BUCKET = 1 << 20
MOST_MODELS = 6
"""Models whose answers are kept: those that answered last."""
DIGEST_BYTES = 16
READING = "model.predict", "text.encode"
"""Modules whose code decides what a model says of a text."""
KEY = np.dtype([("high", "<u8"), ("low", "<u8")])
log = logging.getLogger("behavior")


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the texts of a bucket tell."""

    told: np.ndarray
    """Float32, shape (n, H)."""
    asked: int
    """Texts that the model had to read; equal ones count once."""


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """The folder with the kept answers of one model."""

    folder: Path
    most: int
    """Answers kept of one bucket."""

    @classmethod
    def open(cls, home: Home, model: Path, device: str, *, buckets: int) -> Self:
        """Return a model's shelf, made if need be; what killed processes left on it, and old models' shelves, go.

        Args:
            home: the state folder.
            model: a bundle; another content has another shelf, and so has another version of the code.
            device: kind of device that reads the texts, whose arithmetic is its own.
            buckets: how many share the shelf.
        """
        every = home.cache / "scores"
        folder = make_folder(every / model_key(model, device))
        folder.touch()
        sweep(folder)
        for old in sorted(every.iterdir(), key=_changed, reverse=True)[MOST_MODELS:]:
            shutil.rmtree(old, ignore_errors=True)
        return cls(folder=folder, most=min(MOST_OF_BUCKET, max(MOST_ANSWERS // max(buckets, 1), 1)))

    def tell(self, scorer: "Scorer", parts: pa.ListArray, bucket: str) -> Told:
        """Return what texts tell, and keep what was not kept before.

        Args:
            scorer: whose shelf this is.
            parts: n texts in parts.
            bucket: names the file; the answers do not depend on it.
        """
        keys, first, place = _different(text_keys(parts))
        file = self.folder / bucket
        kept = _read(file, scorer.answers)
        told, there = _find(kept, keys, scorer.answers)
        if not there.all():
            told[~there] = scorer.read_parts(parts.take(pa.array(first[~there])))
        merged = _merged(kept, keys, told, self.most)
        if len(merged) != len(kept) or not np.array_equal(merged["used"], kept["used"]):
            self._keep(file, merged)
        return Told(told=told[place], asked=int((~there).sum()))

    def _keep(self, file: Path, records: np.ndarray) -> None:
        """Put a file in the place of the old one, whole or not at all."""
        content = records.tobytes()
        try:
            with work_folder(self.folder, "kept") as folder:
                (folder / file.name).write_bytes(_digest(content) + content)
                (folder / file.name).replace(file)
        except (OSError, UserError) as error:
            log.warning("Answers can't be kept for the next time: %s", str(error).splitlines()[0])


def model_key(model: Path, device: str) -> str:
    """Return what names all that a text's answer depends on beside the text: weights, tokenizer, code, device.

    Calibration and threshold are applied afterwards, so a shelf outlives them.
    """
    files = [model / "config.json", model / "model.safetensors", *sorted((model / "tokenizer").rglob("*"))]
    told = [device, code_digest(*READING)]
    told += [f"{file.relative_to(model).as_posix()} {hash_file(file)}" for file in files if file.is_file()]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def _changed(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def text_keys(parts: pa.ListArray) -> np.ndarray:
    """Return a hash of 128 bits of each text, however it is cut into parts, as KEY, shape (n,)."""
    joined = pc.binary_join(parts.cast(pa.list_(pa.string())), "").cast(pa.binary())
    hashes = b"".join(hashlib.blake2b(text, digest_size=KEY.itemsize).digest() for text in joined.to_pylist())
    return np.frombuffer(hashes, dtype=KEY)


def _different(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return different keys, where each stands first, and which of them stands where."""
    # As plain bytes, which numpy sorts faster than pairs of numbers.
    plain, first, place = np.unique(keys.view(f"V{KEY.itemsize}"), return_index=True, return_inverse=True)
    return plain.view(KEY), first, place


def _find(kept: np.ndarray, keys: np.ndarray, answers: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what is kept of different keys, shape (n, H), and of which of them anything is, shape (n,)."""
    told = np.full((len(keys), answers), np.nan, dtype=np.float32)
    if not len(kept):
        return told, np.zeros(len(keys), dtype=bool)
    place = np.minimum(np.searchsorted(kept["high"], keys["high"]), len(kept) - 1)
    there = (kept["high"][place] == keys["high"]) & (kept["low"][place] == keys["low"])
    told[there] = kept["told"][place[there]]
    return told, there


def _merged(kept: np.ndarray, keys: np.ndarray, told: np.ndarray, most: int) -> np.ndarray:
    """Return the records to keep, sorted: of different keys these, of others those that were used last."""
    new = np.zeros(len(keys), dtype=kept.dtype)
    new["high"], new["low"], new["told"] = keys["high"], keys["low"], told
    latest = int(kept["used"].max()) if len(kept) else 0
    # Who asks the same again makes no turn of its own, so nothing need be written.
    is_same = np.isin(keys["high"], kept["high"][kept["used"] == latest]).all()
    new["used"] = latest + (not is_same)
    every = np.concatenate([new, kept])
    every = every[np.unique(every["high"], return_index=True)[1]]
    if len(every) > most:
        every = every[np.sort(np.argsort(-every["used"].astype(np.int64), kind="stable")[:most])]
    return every


def _read(file: Path, answers: int) -> np.ndarray:
    """Return a file's records; none when there is no file, or not the one that was written."""
    kind = np.dtype([*KEY.descr, ("told", "<f4", (answers,)), ("used", "<u4")])
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return np.zeros(0, dtype=kind)
    except OSError as error:
        log.warning(
            "Kept answers of bucket %s can't be read (%s); its texts are read again.", file.name, error.strerror
        )
        return np.zeros(0, dtype=kind)
    digest, records = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if digest != _digest(records) or len(records) % kind.itemsize:
        log.warning("Kept answers of bucket %s are damaged; its texts are read again.", file.name)
        return np.zeros(0, dtype=kind)
    return np.frombuffer(records, dtype=kind)


def _digest(records: bytes) -> bytes:
    return hashlib.blake2b(records, digest_size=DIGEST_BYTES).digest()
