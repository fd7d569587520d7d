import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from behavior_tasks.base.config import Config, load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.base.tables import bucket_file, bucket_files, connect, write_parquet
from behavior_tasks.text.encode import checkpoint_identity, encode_parts, encode_stage, encode_texts, train_texts
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.text.tokenizer import load_tokenizer, train_tokenizer
from behavior_tasks.text.tokenizer_source import fetch_tokenizer
from behavior_tasks.text.tokens import INDEX_COLUMNS, TokenSet
from behavior_tasks.text.words import load_templates
from tests.examples.little import Artifact, ArtifactStore, Output, Rows, little_config, run, shop
from tests.text.test_tokenizer_source import bert
from tests.text.test_verbalize import staged, texts_in

END = " Profile: female, 25-34, two purchases. Features: recency-q2 bought-recency-none events-q4."
TRAIN = [
    f"User A browsed products B (shoes), C, {n} days later purchased product B for {n}.5, hours ago.{END}"
    for n in range(2, 9)
] * 9
OTHER = [f"User A clicked product ZZ and nothing else, 千 ago.{END}", f"User A did nothing yet.{END}"]


def in_parts(text: str) -> list[str]:
    """A text in parts, each of which begins with its own blank, comma or bracket."""
    return re.findall(r",? ?[^ ,]+|[ ,]", text)


def rows_of(train: list[str]) -> list[list[tuple[str, str]]]:
    """Two buckets of (split, text); each begins with train rows and ends with test rows."""
    return [[("train", text) for text in train[n::2]] + [("test", text) for text in OTHER] for n in range(2)]


def texts(folder: Path, *, train: list[str] = TRAIN) -> Artifact:
    """An artifact of `verbalize` with two buckets."""

    def write(out: Path, key: str) -> Output:
        (out / "texts").mkdir()
        templates = load_templates("en")
        TextSettings(
            style="sentence",
            language="en",
            templates=templates,
            last_events=8,
            lookback_days=90,
            bins={},
            categories=[],
        ).save(out / "text.json")
        for bucket, rows in enumerate(rows_of(train)):
            values = ", ".join(f"({n}, '{split}', {in_parts(text)})" for n, (split, text) in enumerate(rows))
            query = f"""
                SELECT 's' || n || '@{bucket}' AS example, 's' || n AS shopper, split,
                       TIMESTAMP '2026-01-01' AS cutoff, n % 2 AS label,
                       CASE WHEN n % 2 = 1 THEN n::DOUBLE END AS amount, 1::DOUBLE AS weight, parts
                FROM (VALUES {values}) AS t(n, split, parts) ORDER BY n
            """
            write_parquet(connect(), query, bucket_file(out / "texts", bucket))
        return Output(rows=Rows(unit_in="a", unit_out="b", rows_in=0, rows_out=0))

    return stored("verbalize", {"texts": train}, write, folder)


def features(folder: Path, *, train: list[str] = TRAIN) -> Artifact:
    """An artifact of `features` for the same examples: row n has n events, and every third no price level."""

    def write(out: Path, key: str) -> Output:
        (out / "examples").mkdir()
        for bucket, rows in enumerate(rows_of(train)):
            query = f"""
                SELECT 's' || n || '@{bucket}' AS example, n::DOUBLE AS events, 'shoes' AS category,
                       CASE WHEN n % 3 > 0 THEN n / 4 END AS price_level
                FROM range({len(rows)}) AS t(n) ORDER BY n
            """
            write_parquet(connect(), query, bucket_file(out / "examples", bucket))
        facts = {"features": ["events", "category", "price_level"], "categorical": ["category"]}
        return Output(rows=Rows(unit_in="a", unit_out="b", rows_in=0, rows_out=0), facts=facts)

    return stored("features", {"rows": len(train)}, write, folder)


def stored(stage: str, settings: dict[str, Any], work: Callable[[Path, str], Output], folder: Path) -> Artifact:
    folder.mkdir(parents=True, exist_ok=True)
    return ArtifactStore(folder).build(stage=stage, code="", settings=settings, inputs={}, work=work).artifact


def encoded(folder: Path, config: Config | None = None, **how: list[str]) -> Artifact:
    inputs = [texts(folder, **how), features(folder, **how)]
    return run("encode", encode_stage, config or little_config(), inputs, folder)


def sequences_of(tokens: TokenSet) -> list[list[int]]:
    arrays = tokens.sequences
    return [arrays.tokens[a:b].tolist() for a, b in zip(arrays.offsets[:-1], arrays.offsets[1:], strict=True)]


def decode(made: Artifact, tokens: Sequence[int]) -> str:
    return Tokenizer.from_file(str(made.path / "tokenizer/tokenizer.json")).decode(list(tokens))


def test_every_text_comes_back_in_its_place(tmp_path: Path) -> None:
    made = encoded(tmp_path)
    tokens = TokenSet.load(made.path)
    expected = [text for bucket in range(2) for text in [*TRAIN[bucket::2], *OTHER]]
    assert [decode(made, ids) for ids in sequences_of(tokens)] == expected
    arrays = tokens.sequences
    assert isinstance(arrays.tokens, np.memmap)
    assert (arrays.tokens.dtype, arrays.offsets.dtype, arrays.numbers.dtype) == (np.uint16, np.int64, np.float32)
    assert len(arrays) == len(expected)
    assert tuple(tokens.index.columns) == INDEX_COLUMNS
    assert tokens.index["amount"].iloc[:4].tolist() == pytest.approx([np.nan, 1, np.nan, 3], nan_ok=True)
    assert tokens.index["example"].iloc[[0, 1, -1]].tolist() == ["s0@0", "s1@0", f"s{len(TRAIN[1::2]) + 1}@1"]
    first = len(TRAIN[0::2])
    assert tokens.rows("test").tolist() == [first, first + 1, len(expected) - 2, len(expected) - 1]
    assert made.facts["tokens"] == len(arrays.tokens)
    assert {path.name for path in made.path.iterdir()} == {
        *("tokens.npy", "offsets.npy", "numbers.npy", "index.parquet", "encoding.json", "tokenizer", "manifest.json"),
    }


def test_the_numbers_are_all_features_but_words_in_the_order_of_the_texts(tmp_path: Path) -> None:
    sequences = TokenSet.load(encoded(tmp_path / "with").path).sequences
    assert sequences.number_names == ("events", "price_level")
    rows = [np.arange(len(rows), dtype=np.float32) for rows in rows_of(TRAIN)]
    assert sequences.numbers[:, 0].tolist() == np.concatenate(rows).tolist()
    assert sequences.numbers[:5, 1].tolist() == pytest.approx([np.nan, 0.25, 0.5, np.nan, 1], nan_ok=True)
    without = TokenSet.load(encoded(tmp_path / "without", little_config(model__numbers=False)).path).sequences
    assert without.numbers.shape == (len(sequences), 0)
    assert without.number_names == ()
    assert without.tokens.tolist() == sequences.tokens.tolist()


def test_words_are_single_tokens_and_numbers_stay_whole(tmp_path: Path) -> None:
    made = encoded(tmp_path)
    tokens, _ = encode_texts(made.path / "tokenizer", [TRAIN[0]], 1024)
    words = [decode(made, [token]) for token in tokens]
    for whole in (
        "User",
        " products B",
        ", C",
        ", 2 days",
        " product B",
        " 2.5",
        " recency-q2",
        " bought-recency-none",
    ):
        assert whole in words
    assert len(words) == 28


def test_the_same_function_and_tokens_for_training_and_scoring(tmp_path: Path) -> None:
    made = encoded(tmp_path)
    ids, most = sequences_of(TokenSet.load(made.path)), little_config().model.max_tokens
    whole = [text for rows in rows_of(TRAIN) for _, text in rows]
    for again, offsets in (
        encode_texts(made.path / "tokenizer", whole, most),
        encode_parts(made.path / "tokenizer", [in_parts(text) for text in whole], most),
    ):
        assert again.tolist() == [token for text in ids for token in text]
        assert np.diff(offsets).tolist() == [len(text) for text in ids]


def test_a_long_text_keeps_its_end(tmp_path: Path) -> None:
    whole = sequences_of(TokenSet.load(encoded(tmp_path / "whole").path))
    made = encoded(tmp_path / "cut", little_config(model__max_tokens=17))
    cut = sequences_of(TokenSet.load(made.path))
    assert cut == [text[-17:] for text in whole]
    assert decode(made, cut[0]).endswith(END)
    assert made.facts["reach_max_tokens"] == 1


def test_no_text_gives_no_token(tmp_path: Path) -> None:
    made = encoded(tmp_path)
    tokens, offsets = encode_texts(made.path / "tokenizer", ["", "User", ""], 16)
    assert offsets.tolist() == [0, 0, 1, 1]
    assert len(tokens) == 1


def test_the_tokenizer_learns_from_train_only_and_in_any_order(tmp_path: Path) -> None:
    def content(made: Artifact) -> bytes:
        return (made.path / "tokenizer/tokenizer.json").read_bytes()

    made, again = encoded(tmp_path / "a"), encoded(tmp_path / "b", train=TRAIN[::-1])
    assert content(made) == content(again)
    vocabulary = json.loads(content(made))["model"]["vocab"]
    assert not any("ZZ" in word for word in vocabulary)
    assert encoded(tmp_path / "c").manifest.content_hash == made.manifest.content_hash


def test_the_vocabulary_has_its_size_and_special_tokens(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    made = encoded(tmp_path, little_config(model__vocabulary=300))
    assert made.facts["vocabulary"] == 300
    tokenizer = AutoTokenizer.from_pretrained(made.path / "tokenizer", local_files_only=True)
    assert (tokenizer.pad_token, tokenizer.pad_token_id, tokenizer.eos_token) == ("<pad>", 0, "<end>")
    tokens, _ = encode_texts(made.path / "tokenizer", [TRAIN[0]], 1024)
    assert tokenizer(TRAIN[0])["input_ids"] == tokens.tolist()


def test_a_large_vocabulary_needs_wider_numbers(tmp_path: Path) -> None:
    words = {f"w{n}": n for n in range(65_537)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    tokens, _ = encode_texts(tmp_path, ["w1 w65536"], 16)
    assert tokens.tolist() == [1, 65_536]
    assert tokens.dtype == np.uint32


def checkpoint_folder(folder: Path, model_type: str = "gpt2") -> Path:
    train_tokenizer(iter(TRAIN), 300, folder)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return folder


def test_a_local_checkpoint_brings_its_own_tokenizer(tmp_path: Path) -> None:
    folder = checkpoint_folder(tmp_path / "gpt2-here")
    made = encoded(tmp_path / "run", little_config(model__checkpoint=str(folder)))
    expected, _ = encode_texts(folder, [TRAIN[0]], 1024)
    assert sequences_of(TokenSet.load(made.path))[0] == expected.tolist()


def refused(checkpoint: str, folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        fetch_tokenizer(checkpoint, folder / "tokenizer")
    assert "model.checkpoint=scratch" in str(caught.value)
    assert checkpoint in str(caught.value)
    assert not (folder / "tokenizer").exists()
    return str(caught.value)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    message = refused(str(checkpoint_folder(tmp_path / "t5", "t5")), tmp_path)
    assert "is neither a GPT-2 nor a BERT model" in message
    assert "model_type t5" in message


def test_folders_that_are_missing_or_not_complete_are_named(tmp_path: Path) -> None:
    assert "does not exist" in refused(str(tmp_path / "nowhere"), tmp_path)
    assert "does not exist" in refused("./models/mine", tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no config.json and no tokenizer.json" in refused(str(empty), tmp_path)
    (empty / "config.json").write_text('{"model_type": "gpt2"}')
    assert "no tokenizer.json" in refused(str(empty), tmp_path)
    (empty / "config.json").write_text("no json")
    (empty / "tokenizer.json").write_text("{}")
    assert "can't be loaded" in refused(str(empty), tmp_path)


def test_a_hub_that_does_not_answer_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert "does not answer" in refused("gpt2", tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refused("someone/gpt2-like", tmp_path)


def test_other_files_in_a_local_checkpoint_are_another_input(tmp_path: Path) -> None:
    def identity(checkpoint: str) -> dict[str, str]:
        config = load_config("canonical", overrides={"model.checkpoint": checkpoint})
        return checkpoint_identity(None, config, Home(tmp_path))

    folder = checkpoint_folder(tmp_path / "here")
    before = identity(str(folder))
    assert before == identity(str(folder))
    (folder / "model.safetensors").write_bytes(b"other weights")
    assert identity(str(folder)) != before
    assert identity("scratch") == identity("gpt2") == {}


@pytest.mark.parametrize(
    ("style", "language", "checkpoint"),
    [
        ("compact", "en", "scratch"),
        pytest.param("compact", "zh", "bert", marks=pytest.mark.slow),
        ("sentence", "en", "bert"),
        ("sentence", "zh", "scratch"),
    ],
)
def test_real_texts_have_the_tokens_of_whole_texts(
    tmp_path: Path, style: str, language: str, checkpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = str(bert(tmp_path / "bert")) if checkpoint == "bert" else checkpoint
    config = little_config(text__style=style, text__language=language, model__checkpoint=name, model__max_tokens=96)
    made = staged(tmp_path, shop(shoppers=8), config)
    with caplog.at_level("INFO", logger="behavior"):
        encode = run("encode", encode_stage, config, [made["verbalize"], made["features"]], tmp_path)
    stored, folder = TokenSet.load(encode.path), encode.path / "tokenizer"
    whole = texts_in(made["verbalize"]).loc[stored.index["example"], "text"]
    tokens, offsets = encode_texts(folder, whole.tolist(), 96)
    assert stored.sequences.tokens.tolist() == tokens.tolist()
    assert stored.sequences.offsets.tolist() == offsets.tolist()
    settings = TextSettings.load(made["verbalize"].path / "text.json")
    special = [load_tokenizer(folder).token_to_id(word) for word in settings.special_tokens()]
    assert None not in special
    assert (style == "compact") == bool(set(special) & set(tokens.tolist()))
    if style == "compact" or checkpoint == "bert":
        assert "can't be put together" not in caplog.text


def test_a_tokenizer_learns_from_parts_what_it_would_from_whole_texts(tmp_path: Path) -> None:
    made = encoded(tmp_path / "run", little_config(model__vocabulary=400))
    train_tokenizer(TRAIN, 400, tmp_path / "whole")
    files = [made.path / "tokenizer/tokenizer.json", tmp_path / "whole/tokenizer.json"]
    one, other = (json.loads(file.read_bytes())["model"] for file in files)
    assert one == other


def test_of_very_many_words_each_comes_in_its_proportion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = bucket_files(texts(tmp_path).path / "texts")
    all_words = Counter(train_texts(files))
    monkeypatch.setattr("behavior_tasks.text.encode.MOST_COUNTED", all_words.total() // 9)
    fewer = Counter(train_texts(files))
    assert set(fewer) == set(all_words)
    assert {word: max(1, round(times / 9)) for word, times in all_words.items()} == pytest.approx(fewer, abs=1)
    assert "".join(all_words).count("千") == 0
