"""Tokenizers of checkpoints: a local folder or a hub id in, its own tokenizer in our folder out.

The one thing to know: nothing is ever taken instead of what was asked for. What can't be had, or can't be used, is
an error that names the choices.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from tokenizers import AddedToken

from behavior_tasks.base.artifacts import hash_file, hash_of
from behavior_tasks.base.errors import UserError
from behavior_tasks.text.tokenizer import bare_errors_as_value_errors, load_tokenizer
from behavior_tasks.text.tokens import TOKENIZER_FILE

SCRATCH = "scratch"
MODEL_TYPES = ("gpt2", "bert")
"""Checkpoints that the network can be built from, by `model_type` of their config.json."""
TOKENIZER_FILES = (TOKENIZER_FILE, "vocab.json", "vocab.txt")
"""A checkpoint's folder has at least one of them when it has a tokenizer."""
HUB_SECONDS = 5.0
"""How long the hub may take to answer at all; its own client would try for minutes."""


def fetch_tokenizer(checkpoint: str, folder: Path, special_tokens: Sequence[str] = ()) -> None:
    """Save the tokenizer of a local folder or a hub id, with special tokens added to it.

    Raises:
        UserError: naming the choice, when the checkpoint is not there, can't be reached, or is of another kind.
    """
    from transformers import AutoTokenizer

    local = _local_folder(checkpoint)
    only_local = local is not None or not _must_download(checkpoint)
    source = str(local or checkpoint)
    try:
        if local is not None and (local / TOKENIZER_FILE).is_file():
            _check_tokenizer(local)
        _check_model_type(checkpoint, source, only_local)
        with bare_errors_as_value_errors():
            tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=only_local)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(
            f'The checkpoint "{checkpoint}" (model.checkpoint) can\'t be loaded.',
            found=_first_line(error, source, checkpoint),
            expected="a GPT-2 or BERT checkpoint with config.json, weights and tokenizer",
            next_step=_other_choices(),
        ) from None
    if not tokenizer.is_fast:
        raise UserError(
            f'The tokenizer of the checkpoint "{checkpoint}" (model.checkpoint) can\'t be used.',
            found=f"{type(tokenizer).__name__}, which is written in Python alone",
            expected="a fast tokenizer, which can be saved as tokenizer.json",
            next_step=_other_choices(),
        )
    tokenizer.add_tokens([AddedToken(word, normalized=False, special=True) for word in special_tokens])
    if tokenizer.pad_token is None:
        # GPT-2 has no padding of its own; padded places are masked, so any token that it knows will do.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
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
            missing.append("tokenizer.json (or vocab.json and merges.txt, or vocab.txt)")
        if missing:
            raise UserError(
                f'The checkpoint folder "{checkpoint}" (model.checkpoint) is not complete.',
                found=f"no {' and no '.join(missing)}",
                expected="a folder written by save_pretrained of a GPT-2 or BERT model and of its tokenizer",
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


def _check_tokenizer(folder: Path) -> None:
    """Raise as ValueError what `load_tokenizer` says; transformers would raise anything."""
    try:
        load_tokenizer(folder)
    except UserError as error:
        raise ValueError(f"{error.problem} {error.found}") from None


def _check_model_type(checkpoint: str, source: str, only_local: bool) -> None:
    from transformers.utils import cached_file

    path = cached_file(source, "config.json", local_files_only=only_local)
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    kind = content.get("model_type") if isinstance(content, dict) else None
    if kind not in MODEL_TYPES:
        raise UserError(
            f'The checkpoint "{checkpoint}" (model.checkpoint) is neither a GPT-2 nor a BERT model.',
            found=f"model_type {kind} in its config.json",
            expected=f"model_type {' or '.join(MODEL_TYPES)}",
            next_step=_other_choices(),
        )


def _other_choices() -> str:
    return (
        "--set model.checkpoint=scratch trains a model from scratch on this log; "
        "--set model.checkpoint=/path/to/folder takes one that is already here"
    )


def _first_line(error: Exception, source: str, checkpoint: str) -> str:
    """The library's reason in one line, naming the checkpoint only as the user did."""
    return (str(error).splitlines() or [type(error).__name__])[0].replace(source, checkpoint)
