"""A toy token set: whether the last word but one is `yes` is the label; everything else is noise."""

import hashlib
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate.state import AcceleratorState
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from behavior_tasks.base.artifacts import Artifact, Manifest, Rows, hash_file
from behavior_tasks.base.config import Config, ModelConfig, TrainConfig
from behavior_tasks.base.home import Home
from behavior_tasks.base.stage import Job
from behavior_tasks.model.train_process import train
from behavior_tasks.model.work_folder import TrainingJob, WorkFolder
from behavior_tasks.text.tokens import Encoding

WORDS = ["yes", "no", *(f"word{i}" for i in range(30))]
NUMBERS = ["recency_days", "purchases"]
MODEL = {"size": "tiny", "max_tokens": 16, "dropout": 0.1}
TRAIN = {"threads": 1, "device": "cpu", "seed": 3, "batch_size": 16, "learning_rate": 0.01, "distillation": 0.0}


@dataclass(frozen=True, kw_only=True)
class Toy:
    """The folders of an encode and a verbalize artifact, and the texts."""

    encode: Path
    verbalize: Path
    texts: list[str]
    labels: np.ndarray
    splits: np.ndarray


def make_toy(folder: Path, *, train_examples: int = 160, seed: int = 0) -> Toy:
    """Write a toy in the shape of the stages' artifacts."""
    random = np.random.default_rng(seed)
    splits = np.array(["train"] * train_examples + ["validation"] * 60 + ["test"] * 60)
    labels = (random.random(len(splits)) < 0.4).astype(int)
    texts = []
    for label in labels:
        noise = [f"word{i}" for i in random.integers(0, 30, random.integers(1, 12))]
        texts.append(" ".join([*noise, "yes" if label else "no", "word0"]))
    encode, verbalize = folder / "encode", folder / "verbalize"
    encode.mkdir(parents=True)
    verbalize.mkdir()
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="word0"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=core).save_pretrained(encode / "tokenizer")
    ids = [core.encode(text).ids for text in texts]
    np.save(encode / "tokens.npy", np.concatenate(ids).astype(np.uint16))
    np.save(encode / "offsets.npy", np.concatenate([[0], np.cumsum([len(i) for i in ids])]).astype(np.int64))
    index = pd.DataFrame(
        {
            "example": [f"s{i}@2026-01-01" for i in range(len(texts))],
            "shopper": [f"s{i}" for i in range(len(texts))],
            "split": splits,
            "cutoff": pd.Timestamp("2026-01-01"),
            "label": labels.astype(np.int32),
            "amount": np.where(labels == 1, np.exp(2 + 0.1 * random.standard_normal(len(texts))), np.nan),
            "weight": 1.0,
        }
    )
    index.to_parquet(encode / "index.parquet")
    numbers = random.standard_normal((len(texts), len(NUMBERS))).astype(np.float32)
    numbers[::7, 0] = np.nan
    np.save(encode / "numbers.npy", numbers)
    Encoding(
        examples=len(texts),
        tokens=sum(map(len, ids)),
        vocabulary=len(WORDS),
        numbers=tuple(NUMBERS),
        tokenizer=hash_file(encode / "tokenizer" / "tokenizer.json"),
        mask=None,
    ).save(encode)
    (verbalize / "text.json").write_text('{"language": "en"}')
    return Toy(encode=encode, verbalize=verbalize, texts=texts, labels=labels, splits=splits)


def make_work(folder: Path, toy: Toy, *, model: dict[str, Any] | None = None, **settings: Any) -> WorkFolder:
    """Write a work folder with a job on the toy."""
    folder.mkdir(parents=True)
    work = WorkFolder(folder)
    job = TrainingJob(
        tokens=toy.encode,
        text_settings=toy.verbalize / "text.json",
        model=ModelConfig(**MODEL | (model or {})),
        train=TrainConfig(**TRAIN | settings),
    )
    work.job.write_text(job.model_dump_json())
    return work


def train_here(work: WorkFolder) -> int:
    """Train inside the test's own process; its signal handler and thread count stay as they are."""
    with kept_as_it_is():
        return train(work.root, follow_stdin=False)


@contextmanager
def kept_as_it_is() -> Iterator[None]:
    """Leave the signal handler, the threads and accelerate's state of this process as they were."""
    handler, threads = signal.getsignal(signal.SIGTERM), torch.get_num_threads()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        torch.set_num_threads(threads)
        # One process, one precision: accelerate keeps the first that was asked for.
        AcceleratorState._reset_state(reset_partial_state=True)


def make_artifact(path: Path, stage: str, **facts: Any) -> Artifact:
    """Wrap a folder as the finished artifact of a stage."""
    manifest = Manifest(
        stage=stage,
        key="k",
        code="c",
        settings={},
        inputs={},
        rows=Rows(unit_in="x", unit_out="x", rows_in=0, rows_out=0),
        content_hash=None,
        facts=facts,
        files={},
        versions={},
        seconds=0.0,
        peak_memory_mb=0.0,
    )
    return Artifact(path=path, manifest=manifest)


def make_job(folder: Path, config: dict[str, Any], *inputs: Artifact) -> Job:
    """Return a job that writes into `folder/out`."""
    out = folder / "out"
    out.mkdir(parents=True)
    return Job(
        config=Config.model_validate(config),
        inputs={artifact.manifest.stage: artifact for artifact in inputs},
        out=out,
        key="0123456789",
        home=Home(folder / "home"),
        today=date(2026, 1, 1),
    )


def weights_hash(bundle: Path) -> str:
    """Return the SHA-256 of a bundle's weights."""
    return hashlib.sha256((bundle / "model.safetensors").read_bytes()).hexdigest()


def untimed(metrics: Path) -> list[dict[str, float]]:
    """Return the lines of `metrics.jsonl` without what a clock measured."""
    timed = ("seconds", "examples_per_second", "tokens_per_second")
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in timed} for line in lines]
