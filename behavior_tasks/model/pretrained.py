"""Pretrained checkpoints: the name of a GPT-2 checkpoint in, a model with its weights out.

A name is a local folder or an id on the Hugging Face hub. Only `safetensors` weights are read: a pickle can run
code when it is loaded, so a checkpoint that has nothing else is refused, and nothing is tried in its place.
"""

import json
from contextlib import suppress
from pathlib import Path

import httpx
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import GPT2Config, GPT2Model

from behavior_tasks.base.config import ModelConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.model.network import BehaviorModel, Inputs, backbone_config

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
PATTERNS = ["config.json", "*.safetensors", "model.safetensors.index.json"]


def build_pretrained(config: ModelConfig, *, vocabulary: int, inputs: Inputs) -> BehaviorModel:
    """Return a model that starts from a GPT-2 checkpoint; only the heads are new.

    Args:
        config: the checkpoint's name (a local folder or hub id), the longest text, dropout.
        vocabulary: number of token ids of the tokenizer that wrote the tokens.
        inputs: what it reads beside the text.

    Raises:
        UserError: not found, not GPT-2, pickled weights only, too small a vocabulary, too few positions.
    """
    checkpoint = config.checkpoint
    local = Path(checkpoint).expanduser()
    folder = local if local.is_dir() else _fetch(checkpoint)
    name = local.name if local.is_dir() else checkpoint
    architecture = _read_architecture(folder, name)
    _check_weights(folder, name)
    _check_size("vocab_size", architecture, vocabulary, name, "its own tokenizer")
    _check_size("n_positions", architecture, config.max_tokens, name, "a model.max_tokens within it")
    backbone = GPT2Model.from_pretrained(
        folder,
        config=backbone_config(architecture, dropout=config.dropout),
        use_safetensors=True,
        dtype=torch.float32,
        local_files_only=True,
    )
    return BehaviorModel(backbone, inputs)


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
            expected="scratch, a local folder with a GPT-2 checkpoint, or a hub id that this machine can reach",
            next_step="check the name and the network, or set model.checkpoint=scratch",
        ) from None


def _read_architecture(folder: Path, name: str) -> dict[str, object]:
    try:
        content = json.loads((folder / "config.json").read_bytes())
    except (FileNotFoundError, ValueError):
        content = {}
    kind = content.get("model_type") if isinstance(content, dict) else None
    if kind != "gpt2":
        raise UserError(
            f'The checkpoint "{name}" (model.checkpoint) is not a GPT-2.',
            found=f"model_type {kind}" if kind else "no readable config.json with a model_type",
            expected="model_type gpt2",
            next_step="set model.checkpoint=gpt2 or model.checkpoint=scratch",
        )
    defaults = GPT2Config()
    return {key: getattr(defaults, key) for key in ("vocab_size", "n_positions")} | content


def _check_weights(folder: Path, name: str) -> None:
    if any((folder / file).is_file() for file in WEIGHTS):
        return
    # Of a hub checkpoint only safetensors were fetched, so a pickle shows by their absence.
    pickles = sorted(file.name for file in folder.glob("*.bin"))
    raise UserError(
        f'The checkpoint "{name}" (model.checkpoint) has no safetensors weights. Pickled weights are refused, '
        "because loading a pickle can run any code it holds.",
        found=", ".join(pickles) or "no model.safetensors",
        expected="model.safetensors",
        next_step="save it again with save_pretrained of a current transformers, which writes safetensors",
    )


def _check_size(key: str, architecture: dict[str, object], needed: int, name: str, expected: str) -> None:
    size = architecture.get(key)
    if not isinstance(size, int) or size < needed:
        raise UserError(
            f'The checkpoint "{name}" (model.checkpoint) is too small for these texts: {key} = {size}.',
            found=f"{needed} needed",
            expected=expected,
            next_step="lower model.max_tokens" if key == "n_positions" else "keep the checkpoint's tokenizer files",
        )
