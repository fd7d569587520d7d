import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from behavior_tasks.base.config import Config, load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.base.tables import bucket_file, connect, write_parquet
from behavior_tasks.text.encode import (
    TokenSet,
    checkpoint_identity,
    encode_stage,
    encode_texts,
    fetch_tokenizer,
    train_tokenizer,
)
from tests.examples.little import Artifact, ArtifactStore, Output, Rows, little_config, run

END = " Profile: female, 25-34, two purchases. Features: recency-q2 bought-recency-none events-q4."
TRAIN = [
    f"User A browsed products B (shoes), C, {n} days later purchased product B for {n}.5, hours ago.{END}"
    for n in range(2, 9)
] * 9
OTHER = [f"User A clicked product ZZ and nothing else, 千 ago.{END}", f"User A did nothing yet.{END}"]


def texts(folder: Path, *, train: list[str] = TRAIN) -> Artifact:
    """An artifact of `verbalize` with two buckets; each begins with train rows and ends with test rows."""

    def write(out: Path, key: str) -> Output:
        (out / "texts").mkdir()
        for bucket in range(2):
            rows = [("train", text) for text in train[bucket::2]] + [("test", text) for text in OTHER]
            values = ", ".join(f"({n}, '{split}', '{text}')" for n, (split, text) in enumerate(rows))
            query = f"""
                SELECT 's' || n || '@{bucket}' AS example, 's' || n AS shopper, split,
                       TIMESTAMP '2026-01-01' AS cutoff, n % 2 AS label, 1::DOUBLE AS weight, [text] AS parts
                FROM (VALUES {values}) AS t(n, split, text) ORDER BY n
            """
            write_parquet(connect(), query, bucket_file(out / "texts", bucket))
        return Output(rows=Rows(unit_in="a", unit_out="b", rows_in=0, rows_out=0))

    folder.mkdir(parents=True, exist_ok=True)
    settings = {"texts": train}
    return ArtifactStore(folder).build(stage="verbalize", code="", settings=settings, inputs={}, work=write).artifact


def encoded(folder: Path, config: Config | None = None, **how: list[str]) -> Artifact:
    return run("encode", encode_stage, config or little_config(), [texts(folder, **how)], folder)


def decode(made: Artifact, tokens: np.ndarray) -> str:
    return Tokenizer.from_file(str(made.path / "tokenizer/tokenizer.json")).decode(list(tokens))


def test_every_text_comes_back_in_its_place(tmp_path: Path) -> None:
    made = encoded(tmp_path)
    tokens = TokenSet.load(made.path)
    expected = [text for bucket in range(2) for text in [*TRAIN[bucket::2], *OTHER]]
    pairs = zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)
    assert [decode(made, tokens.tokens[start:end]) for start, end in pairs] == expected
    assert isinstance(tokens.tokens, np.memmap)
    assert (tokens.tokens.dtype, tokens.offsets.dtype) == (np.uint16, np.int64)
    assert tokens.tokens.ndim == 1
    assert list(tokens.index.columns) == ["example", "shopper", "split", "cutoff", "label", "weight"]
    assert tokens.index["example"].iloc[[0, 1, -1]].tolist() == ["s0@0", "s1@0", f"s{len(TRAIN[1::2]) + 1}@1"]
    first = len(TRAIN[0::2])
    assert tokens.rows("test").tolist() == [first, first + 1, len(expected) - 2, len(expected) - 1]
    assert made.facts["tokens"] == len(tokens.tokens)
    assert {path.name for path in made.path.iterdir()} == {
        *("tokens.npy", "offsets.npy", "index.parquet", "tokenizer", "manifest.json"),
    }


def test_words_are_single_tokens_and_numbers_stay_whole(tmp_path: Path) -> None:
    made = encoded(tmp_path)
    tokens, _ = encode_texts(made.path / "tokenizer", [TRAIN[0]], 1024)
    words = [decode(made, [token]) for token in tokens]
    for whole in (
        "User A",
        " products B",
        ", C",
        ", 2 days",
        " product B",
        " 2.5",
        " recency-q2",
        " bought-recency-none",
    ):
        assert whole in words
    assert len(words) == 27


def test_the_same_function_and_tokens_for_training_and_scoring(tmp_path: Path) -> None:
    made = encoded(tmp_path)
    stored = TokenSet.load(made.path)
    for row in (0, 3, len(stored.index) - 1):
        text = decode(made, stored.tokens[stored.offsets[row] : stored.offsets[row + 1]])
        again, offsets = encode_texts(made.path / "tokenizer", [text], little_config().model.max_tokens)
        assert again.tolist() == stored.tokens[stored.offsets[row] : stored.offsets[row + 1]].tolist()
        assert offsets.tolist() == [0, len(again)]


def test_a_long_text_keeps_its_end(tmp_path: Path) -> None:
    whole = encoded(tmp_path / "whole")
    made = encoded(tmp_path / "cut", little_config(model__max_tokens=17))
    tokens, long = TokenSet.load(made.path), TokenSet.load(whole.path)
    assert np.diff(tokens.offsets).tolist() == np.minimum(np.diff(long.offsets), 17).tolist()
    start, end = tokens.offsets[:2]
    assert tokens.tokens[start:end].tolist() == long.tokens[long.offsets[1] - 17 : long.offsets[1]].tolist()
    assert decode(made, tokens.tokens[start:end]).endswith(END)
    assert made.facts["reach_max_tokens"] == 1


def test_no_text_gives_no_token(tmp_path: Path) -> None:
    made = encoded(tmp_path)
    tokens, offsets = encode_texts(made.path / "tokenizer", ["", "User A", ""], 16)
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
    tokens = TokenSet.load(made.path)
    assert tokens.tokens[: len(expected)].tolist() == expected.tolist()


def refused(checkpoint: str, folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        fetch_tokenizer(checkpoint, folder / "tokenizer")
    assert "model.checkpoint=scratch" in str(caught.value)
    assert checkpoint in str(caught.value)
    assert not (folder / "tokenizer").exists()
    return str(caught.value)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    message = refused(str(checkpoint_folder(tmp_path / "bert", "bert")), tmp_path)
    assert "is not a GPT-2 model" in message
    assert "model_type bert" in message


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
