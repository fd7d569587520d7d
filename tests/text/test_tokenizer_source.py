"""Tokenizers of checkpoints: what they keep, what is added to them, and everything that makes one unusable."""

import json
import shutil
from pathlib import Path

import pytest

from behavior_tasks.base.errors import UserError
from behavior_tasks.text.encode import encode_parts, encode_texts
from behavior_tasks.text.tokenizer import frame_of, load_tokenizer, mask_of, vocabulary_of
from behavior_tasks.text.tokenizer_source import fetch_tokenizer
from tests.text.tokenizers_here import SPECIAL, gpt2, minilm_folder


def bert(folder: Path) -> Path:
    """The real small BERT without its weights."""
    shutil.copytree(minilm_folder(), folder, ignore=shutil.ignore_patterns("*.safetensors", "1_Pooling"))
    return folder


def gpt2_checkpoint(folder: Path) -> Path:
    gpt2(folder)
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    return folder


def settings_of(folder: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((folder / "tokenizer_config.json").read_text())
    return content


def test_a_real_bert_keeps_its_tokens_and_gets_ours(tmp_path: Path) -> None:
    fetch_tokenizer(str(bert(tmp_path / "bert")), tmp_path / "out", SPECIAL)
    tokenizer = load_tokenizer(tmp_path / "out")
    assert frame_of(tokenizer) == ([101], [102])
    assert mask_of(tmp_path / "out", tokenizer) == 103
    assert vocabulary_of(tokenizer) == 30_522 + len(SPECIAL)
    assert settings_of(tmp_path / "out")["pad_token"] == "[PAD]"
    parts = [" tea pot[2-days]", "[buy]", " mug, 2 days later" * 60]
    tokens, _ = encode_parts(tmp_path / "out", [parts], 1024)
    known = tokenizer.encode("".join(parts)).tokens
    assert [tokenizer.id_to_token(token) for token in tokens] == known
    # Its own file cuts and pads texts to 128 tokens.
    assert len(known) > 200
    assert known[:6] == ["[CLS]", "tea", "pot", "[2-days]", "[buy]", "mug"]


def test_a_bert_with_only_its_word_list_is_the_same(tmp_path: Path) -> None:
    fetch_tokenizer(str(bert(tmp_path / "bert")), tmp_path / "whole")
    (tmp_path / "bert" / "tokenizer.json").unlink()
    fetch_tokenizer(str(tmp_path / "bert"), tmp_path / "listed")
    text = "A mug, naïve 用户A浏览了商品B"
    one, other = (encode_texts(tmp_path / name, [text], 64)[0].tolist() for name in ("whole", "listed"))
    assert one == other


def test_a_tokenizer_without_pad_token_gets_one_that_it_has(tmp_path: Path) -> None:
    fetch_tokenizer(str(gpt2_checkpoint(tmp_path / "gpt2")), tmp_path / "out", SPECIAL)
    tokenizer = load_tokenizer(tmp_path / "out")
    assert settings_of(tmp_path / "out")["pad_token"] in tokenizer.get_vocab()
    assert vocabulary_of(tokenizer) == vocabulary_of(load_tokenizer(tmp_path / "gpt2"))
    assert frame_of(tokenizer) == ([], [])
    assert mask_of(tmp_path / "out", tokenizer) is None


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        fetch_tokenizer(str(folder), folder.parent / "out")
    assert not (folder.parent / "out").exists()
    return str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": {"type": "BPE", "vocab": {"a', "no json"])
def test_a_damaged_tokenizer_is_named(tmp_path: Path, content: str) -> None:
    folder = gpt2_checkpoint(tmp_path / "here")
    (folder / "tokenizer.json").write_text(content)
    assert "here/tokenizer.json is damaged" in refused(folder)
    # A bundle's tokenizer is opened by the same function.
    with pytest.raises(UserError, match=r"here/tokenizer\.json is damaged"):
        encode_parts(folder, [["a"]], 16)
    (folder / "tokenizer.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="damaged"):
        encode_texts(folder, ["a"], 16)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="missing"):
        encode_texts(folder, ["a"], 16)


@pytest.mark.parametrize("content", ["[]", '{"model_type": "t5"}', "{}"])
def test_another_architecture_is_refused(tmp_path: Path, content: str) -> None:
    folder = gpt2_checkpoint(tmp_path / "here")
    (folder / "config.json").write_text(content)
    assert "neither a GPT-2 nor a BERT model" in refused(folder)


def test_a_tokenizer_of_python_alone_is_refused(tmp_path: Path) -> None:
    folder = bert(tmp_path / "slow")
    (folder / "tokenizer.json").unlink()
    settings = settings_of(folder) | {"tokenizer_class": "CanineTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert "CanineTokenizer, which is written in Python alone" in refused(folder)


def test_word_lists_that_can_not_be_read_are_refused(tmp_path: Path) -> None:
    folder = bert(tmp_path / "here")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_bytes(b"\xff\xfe\x00")
    assert "can't be loaded" in refused(folder)
    old = tmp_path / "old"
    old.mkdir()
    (old / "config.json").write_text('{"model_type": "gpt2"}')
    (old / "vocab.json").write_text('{"a": 0}')
    assert "can't be loaded" in refused(old)
