"""The files of a pretrained checkpoint: a local folder or hub id in, its folder and checked `config.json` out.

Nothing of the weights is read here. The one thing to know: what is missing or of another kind is named before anything
is loaded, with what to type instead.
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from behavior_tasks.base.errors import UserError
from behavior_tasks.model.backbones import ARCHITECTURES, Architecture
from behavior_tasks.text.tokenizer import load_tokenizer, vocabulary_of
from behavior_tasks.text.tokenizer_source import TOKENIZER_FILES

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
PATTERNS = ["config.json", "*.safetensors", "model.safetensors.index.json", *TOKENIZER_FILES]
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True, kw_only=True)
class CheckpointFiles:
    """A checkpoint whose configuration is readable and whose weights are there in a safe form."""

    name: str
    """As it is told to users: no path."""
    folder: Path
    architecture: Architecture
    config: dict[str, Any]
    """Content of config.json."""

    def size(self, key: str) -> int:
        """Return a size from config.json, or what the architecture has where it is silent.

        Raises:
            UserError: it is not a number.
        """
        value = self.config.get(key, getattr(self.architecture.config(), key))
        if isinstance(value, int):
            return value
        raise UserError(
            f'The checkpoint "{self.name}" (model.checkpoint) has a config.json that can\'t be used.',
            found=f"{key} = {value!r}",
            expected=f"a whole number for {key}",
            next_step="take a whole copy of the checkpoint, or set model.checkpoint=scratch",
        )

    def own_vocabulary(self) -> int | None:
        """Return the number of token ids of the checkpoint's own tokenizer; None when it has no tokenizer files."""
        if (self.folder / "tokenizer.json").is_file():
            return vocabulary_of(load_tokenizer(self.folder))
        if (self.folder / "vocab.json").is_file():
            return len(json.loads((self.folder / "vocab.json").read_bytes()))
        if (self.folder / "vocab.txt").is_file():
            return len((self.folder / "vocab.txt").read_text(encoding="utf-8").splitlines())
        return None


def open_checkpoint(checkpoint: str) -> CheckpointFiles:
    """Return the files of a checkpoint, fetched from the hub when it is not a local folder.

    Raises:
        UserError: not found, neither GPT-2 nor BERT, or without safetensors weights.
    """
    local = Path(checkpoint).expanduser()
    folder = local if local.is_dir() else _fetch(checkpoint)
    name = local.name if local.is_dir() else checkpoint
    config = _read_config(folder)
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        raise UserError(
            f'The checkpoint "{name}" (model.checkpoint) is neither a GPT-2 nor a BERT.',
            found=f"model_type {kind}" if kind else "no readable config.json with a model_type",
            expected=f"model_type {' or '.join(ARCHITECTURES)}",
            next_step="set model.checkpoint to gpt2, bert-base-uncased, a local folder or scratch",
        )
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise UserError(
            f'The checkpoint "{name}" (model.checkpoint) has positions of a kind that is not supported.',
            found=f"position_embedding_type {config['position_embedding_type']}",
            expected="position_embedding_type absolute",
            next_step="set model.checkpoint to another BERT, e.g. bert-base-uncased",
        )
    _check_weights(folder, name)
    return CheckpointFiles(name=name, folder=folder, architecture=ARCHITECTURES[kind], config=config)


def _fetch(checkpoint: str) -> Path:
    """Return the folder of a hub checkpoint: the cached one when it is whole, else a fresh download."""
    try:
        with suppress(LocalEntryNotFoundError):
            cached = Path(snapshot_download(checkpoint, allow_patterns=PATTERNS, local_files_only=True))
            if any((cached / file).is_file() for file in WEIGHTS):
                return cached
        return Path(snapshot_download(checkpoint, allow_patterns=PATTERNS))
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise UserError(
            f'The checkpoint "{checkpoint}" (model.checkpoint) is neither a local folder nor could it be '
            "fetched from the Hugging Face hub.",
            found=str(error).splitlines()[0],
            expected="scratch, a local folder with a GPT-2 or BERT checkpoint, or a hub id that this machine can reach",
            next_step="check the name and the network, or set model.checkpoint=scratch",
        ) from None


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / "config.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _check_weights(folder: Path, name: str) -> None:
    if any((folder / file).is_file() for file in WEIGHTS):
        return
    # Of a hub checkpoint only safetensors were fetched, so a pickle shows by their absence.
    pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    raise UserError(
        f'The checkpoint "{name}" (model.checkpoint) has no safetensors weights. Pickled weights are refused, '
        "because loading a pickle can run any code it holds.",
        found=", ".join(pickles) or "no model.safetensors",
        expected="model.safetensors",
        next_step="save it again with save_pretrained of a current transformers, which writes safetensors",
    )
