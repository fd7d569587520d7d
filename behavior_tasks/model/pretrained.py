"""Pretrained checkpoints: the name of a GPT-2 or BERT checkpoint in, a model with its weights out.

A name is a local folder or an id on the Hugging Face hub. Only `safetensors` weights are read: a pickle can run
code when it is loaded, so a checkpoint that has nothing else is refused. The one thing to know: nothing is filled in
silently. Every weight of the backbone comes from the checkpoint, or the checkpoint is refused; only the rows of tokens
that were added to its tokenizer are new, and begin at the mean of the others.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from logging import getLogger

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import BertForMaskedLM, PreTrainedModel
from transformers.utils import logging

from behavior_tasks.base.config import ModelConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.model.backbones import Architecture, backbone_config, token_embedding
from behavior_tasks.model.checkpoint_files import CheckpointFiles, open_checkpoint
from behavior_tasks.model.lora import add_adapters
from behavior_tasks.model.network import BehaviorModel, Inputs

log = getLogger("behavior")
OTHER_CHOICE = "take a whole copy of the checkpoint, or set model.checkpoint=scratch"


def build_pretrained(config: ModelConfig, *, vocabulary: int, inputs: Inputs) -> BehaviorModel:
    """Return a model that starts from a checkpoint; only the heads and the rows of added tokens are new.

    Args:
        config: the checkpoint's name (a local folder or hub id), the longest text, dropout, the rank of adapters.
            `config.architecture` plays no part: the checkpoint says what it is.
        vocabulary: number of token ids of the tokenizer that wrote the tokens.
        inputs: what it reads beside the text.

    Raises:
        UserError: not found, of another architecture, pickled weights only, damaged or incomplete weights, a
            vocabulary smaller than its own tokenizer's, too few positions.
    """
    files = open_checkpoint(config.checkpoint)
    _check_positions(files, config.max_tokens)
    _check_vocabulary(files, vocabulary)
    backbone, language = _load(files, config.dropout)
    added = vocabulary - token_embedding(backbone).num_embeddings
    if added > 0:
        _add_rows(backbone, added)
    model = BehaviorModel(backbone, inputs, pretrained=True)
    if language and not model.architecture.causal and "next_token" in model.heads:
        known = language.pop("bias")
        model.language.load_state_dict(language, strict=False)
        model.language.bias.data[: len(known)] = known
    if config.lora_rank:
        add_adapters(backbone, config.lora_rank)
        # The rows of added tokens know nothing yet, so they can't be frozen with the rest.
        token_embedding(backbone).weight.requires_grad_(added > 0)
    return model


def _check_positions(files: CheckpointFiles, needed: int) -> None:
    positions = files.size(files.architecture.positions)
    if positions < needed:
        raise UserError(
            f'The checkpoint "{files.name}" (model.checkpoint) reads shorter texts than these.',
            found=f"{files.architecture.positions} = {positions} in its config.json, model.max_tokens = {needed}",
            expected=f"model.max_tokens of at most {positions}",
            next_step=f"set model.max_tokens={positions}",
        )


def _check_vocabulary(files: CheckpointFiles, vocabulary: int) -> None:
    rows, own = files.size("vocab_size"), files.own_vocabulary()
    # Tokens that were added to its tokenizer get new rows; a tokenizer that never fitted the weights doesn't.
    if (own if own is not None else vocabulary) > rows:
        raise UserError(
            f'The checkpoint "{files.name}" (model.checkpoint) does not fit its tokenizer.',
            found=f"vocab_size = {rows} in its config.json, {own if own is not None else vocabulary} token ids",
            expected="a row of the embedding for every token id",
            next_step="keep the weights and the tokenizer files of one and the same checkpoint together",
        )


def _load(files: CheckpointFiles, dropout: float) -> tuple[PreTrainedModel, dict[str, torch.Tensor]]:
    """Return the backbone with the checkpoint's weights, and those of BERT's language head when it has them."""
    kind = files.architecture
    # BERT's language head is only there in the whole model; GPT-2's is the embedding.
    whole = kind.model if kind.causal else BertForMaskedLM
    try:
        config = backbone_config(kind, files.config, dropout=dropout)
        with _quiet():
            model, report = whole.from_pretrained(
                files.folder,
                config=config,
                use_safetensors=True,
                dtype=torch.float32,
                local_files_only=True,
                output_loading_info=True,
            )
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise _unreadable(files, (str(error).splitlines() or [type(error).__name__])[0]) from None
    missing = sorted(report["missing_keys"])
    if kind.causal:
        _check_complete(files, missing, report["unexpected_keys"])
        return model, {}
    head = [name for name in missing if name.startswith("cls.")]
    _check_complete(files, [name for name in missing if name not in head], report["unexpected_keys"])
    if head:
        log.info("The checkpoint %s has no language head of its own; a new one is learned.", files.name)
    predictions = model.cls.predictions
    learned = {f"transform.{name}": tensor for name, tensor in predictions.transform.state_dict().items()}
    return model.bert, {} if head else learned | {"bias": predictions.bias.data}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's table of missing and surplus weights to itself: we look through the same list."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _check_complete(files: CheckpointFiles, missing: list[str], unexpected: set[str]) -> None:
    """Refuse a checkpoint without some of the backbone's weights, or with layers that config.json doesn't tell of."""
    surplus = sorted(name for name in unexpected if _is_layer(files.architecture, name))
    if not missing and not surplus:
        return
    names = missing or surplus
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    raise _unreadable(files, f"no {shown}" if missing else f"{shown}, in layers that config.json doesn't have")


def _is_layer(architecture: Architecture, name: str) -> bool:
    marks = ("h.",) if architecture.causal else ("encoder.layer.",)
    inner = name.removeprefix("transformer.").removeprefix("bert.")
    # Old GPT-2 files hold the causal mask itself, which is no weight.
    return inner.startswith(marks) and not inner.endswith((".attn.bias", ".attn.masked_bias"))


def _add_rows(backbone: PreTrainedModel, added: int) -> None:
    """Give the tokens that were added to the tokenizer rows of the embedding that begin at the mean of the others."""
    old_VD = token_embedding(backbone).weight.data
    new_VD = torch.cat([old_VD, old_VD.mean(dim=0, keepdim=True).expand(added, -1)])
    backbone.set_input_embeddings(nn.Embedding.from_pretrained(new_VD, freeze=False))
    backbone.config.vocab_size = len(new_VD)


def _unreadable(files: CheckpointFiles, found: str) -> UserError:
    return UserError(
        f'The weights of the checkpoint "{files.name}" (model.checkpoint) can\'t be read as its config.json says.',
        found=found.replace(str(files.folder), files.name),
        expected=f"all weights of a {files.architecture.kind} in model.safetensors",
        next_step=OTHER_CHOICE,
    )
