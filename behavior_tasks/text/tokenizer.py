"""Tokenizers: training one on the train split's texts, and opening any that stands in a folder.

In come texts, out comes a folder as `save_pretrained` writes it. The one thing to know: what a tokenizer can't reach
across (PIECES) decides both which words become one token and where texts may be cut into parts.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from behavior_tasks.base.errors import UserError
from behavior_tasks.text.tokens import TOKENIZER_FILE

PAD, END, MASK = "<pad>", "<end>", "<mask>"
_SIGNS = "，。：；、（）？！"
PIECES = (
    r",? ?\d+ [a-z]+"
    rf"| ?products? [A-Z]{{1,3}}(?![^\s,.:;{_SIGNS}])"
    rf"|[^\s,.:;{_SIGNS}后]*后"
    rf"|,? ?[^\s,:;{_SIGNS}]*[^\s,.:;{_SIGNS}]"
    rf"|[,.:;{_SIGNS}]|\s+"
)
"""What a token can't reach across: a word with the blank and the comma before it. A number stays whole and keeps
its unit ("2 days"), a product's letter the word "product" ("product B"): 30 % fewer tokens than single words. Chinese
has no blanks; there it is what stands between two signs, and a gap ends with its 后 ("2天后" | "购买了商品D")."""


_TAKE_WHOLE = "run again to make it anew; of a checkpoint or a model, take a whole copy"


def untrained_tokenizer(special_tokens: Sequence[str] = ()) -> Tokenizer:
    """Return the tokenizer that `train_tokenizer` trains, which splits texts as it will."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([PAD, END, MASK, *special_tokens])
    return tokenizer


def train_tokenizer(texts: Iterable[str], vocabulary: int, folder: Path, special_tokens: Sequence[str] = ()) -> None:
    """Train a byte-level BPE (Sennrich et al., 2016; Radford et al., 2019) and save it with `save_pretrained`.

    It counts words, so the order of the texts plays no part, nor whether a text comes whole or in parts that end
    where words do. The vocabulary is smaller than asked for when the texts have no more to merge.

    Args:
        special_tokens: words that are one token whatever stands around them; part of the vocabulary, and above its
            size if there are very many.
    """
    from transformers import PreTrainedTokenizerFast

    tokenizer, special = untrained_tokenizer(special_tokens), [PAD, END, MASK, *special_tokens]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # The trainer would spend its merges on the special tokens too.
    outside = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))))
    tokenizer.train_from_iterator((piece for text in texts for piece in outside.split(text) if piece), trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        mask_token=MASK,
        clean_up_tokenization_spaces=False,
    )
    wrapped.save_pretrained(folder)


@contextmanager
def bare_errors_as_value_errors() -> Iterator[None]:
    """Raise as ValueError what the library tokenizers raises as a bare Exception: whatever it can't read."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise ValueError(str(error)) from None


def load_tokenizer(folder: Path) -> Tokenizer:
    """Open the tokenizer of a folder; it neither pads nor cuts, whatever its file says.

    Raises:
        UserError: when the file is missing or damaged.
    """
    name = f"{folder.name}/{TOKENIZER_FILE}"
    try:
        with bare_errors_as_value_errors():
            tokenizer = Tokenizer.from_str((folder / TOKENIZER_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"The tokenizer {name} is missing.", next_step=_TAKE_WHOLE) from None
    except ValueError as error:
        raise UserError(
            f"The tokenizer {name} is damaged.",
            found=(str(error).splitlines() or [type(error).__name__])[0],
            expected="a file that the library tokenizers wrote",
            next_step=_TAKE_WHOLE,
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def vocabulary_of(tokenizer: Tokenizer) -> int:
    """Return the number of rows that an embedding needs: more than there are tokens when their ids have gaps."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1


def token_kind(tokenizer: Tokenizer) -> np.dtype:
    """Return the smallest kind of number that holds every id."""
    return np.dtype(np.uint16 if vocabulary_of(tokenizer) <= np.iinfo(np.uint16).max + 1 else np.uint32)


def frame_of(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the ids that a tokenizer puts before and after every text: BERT's [CLS] and [SEP], GPT-2's none.

    What a model was pretrained with it is given again, in training and in scoring; no other place decides this.
    """
    encoding = tokenizer.encode("a", add_special_tokens=True)
    inner = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
    if not inner:
        return encoding.ids, []
    return encoding.ids[: inner[0]], encoding.ids[inner[-1] + 1 :]


def mask_of(folder: Path, tokenizer: Tokenizer) -> int | None:
    """Return the id of the token that stands for a hidden one, or None where the tokenizer has none."""
    names = json.loads((folder / "tokenizer_config.json").read_bytes())
    mask = names.get("mask_token")
    content = mask["content"] if isinstance(mask, dict) else mask
    return None if content is None else tokenizer.token_to_id(content)
