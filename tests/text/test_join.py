"""Joined parts have exactly the tokens of the whole text: every kind of tokenizer, both languages, any cut."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from behavior_tasks.text.encode import encode_parts, encode_texts
from behavior_tasks.text.join import Joiner
from behavior_tasks.text.tokenizer import load_tokenizer, untrained_tokenizer
from tests.text.tokenizers_here import EN, JOINED, READ_WHOLE, SPECIAL, ZH, cut, gpt2, minilm, scratch, word_piece

ALL = (*JOINED, *READ_WHOLE)
SIGNS = " ,.:;，。（）、后'sltABx12é中\u0301\u0308\u1100\u1161\u11a8\uff9e\u0000\u200b\n[<buy]>"
WORDS = [*(word for text in [*EN, *ZH] for word in text.split(" ")), *SPECIAL, " ", ", ", "，", "[2-", "days]"]
PIECES = st.one_of(st.sampled_from(WORDS), st.text(st.sampled_from(SIGNS), max_size=8), st.text(max_size=4))
TEXTS = st.lists(st.lists(PIECES, max_size=12), min_size=1, max_size=4)
ORDINARY = [
    ["User A", " browsed", " product", ",", " then bought it", " once", "[2-days]", "[buy]", " mug"],
    ["用户", "，", "点击了商品", "（茶）", "，", "[2-days]", "[buy]", "商品"],
]


@pytest.fixture(scope="module")
def joiners(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Joiner]:
    folder = tmp_path_factory.mktemp("tokenizers")
    return {maker.__name__: Joiner(load_tokenizer(maker(folder / maker.__name__))) for maker in ALL}


def check_equal(joiner: Joiner, texts: list[list[str]], max_tokens: int) -> None:
    joined = joiner.encode(texts, max_tokens)
    whole = joiner.encode_whole(["".join(parts) for parts in texts], max_tokens)
    assert joined.tokens.tolist() == whole.tokens.tolist()
    assert joined.offsets.tolist() == whole.offsets.tolist()
    assert joined.tokens.dtype == whole.tokens.dtype


@pytest.mark.parametrize("name", [maker.__name__ for maker in ALL])
def test_any_parts_have_the_tokens_of_the_whole_text(joiners: dict[str, Joiner], name: str) -> None:
    @settings(max_examples=25, deadline=None, derandomize=True, database=None)
    @given(TEXTS, st.sampled_from([16, 1024]))
    def check(texts: list[list[str]], max_tokens: int) -> None:
        check_equal(joiners[name], texts, max_tokens)

    check()


@pytest.mark.parametrize("name", [maker.__name__ for maker in ALL])
def test_ordinary_texts_cut_anywhere(joiners: dict[str, Joiner], name: str) -> None:
    @settings(max_examples=15, deadline=None, derandomize=True, database=None)
    @given(
        st.lists(
            st.tuples(st.sampled_from([*EN, *ZH]), st.lists(st.integers(0, 120), max_size=20)), min_size=1, max_size=5
        )
    )
    def check(cuts: list[tuple[str, list[int]]]) -> None:
        check_equal(joiners[name], [cut(text, places) for text, places in cuts], 1024)

    check()


def test_parts_that_end_where_words_end_are_joined_and_not_read_again(joiners: dict[str, Joiner]) -> None:
    for name in ("gpt2", "minilm"):
        assert joiners[name].encode(ORDINARY[:1], 1024).slowed is None
    assert joiners["scratch"].encode(ORDINARY[1:], 1024).slowed is None
    # A comma and the word behind it are one word of the tokenizer from scratch.
    assert joiners["scratch"].encode(ORDINARY[:1], 1024).slowed == '"," and " then bought it"'
    # This [buy] takes the blanks around it.
    assert joiners["word_piece"].encode([["a", "[buy]", " b"]], 1024).slowed == '"a" and "[buy]"'


@pytest.mark.parametrize(
    ("name", "why"),
    [("unigram", "normalizer Replace"), ("whole_words", "no pre-tokenizer"), ("metaspace", "Metaspace")],
)
def test_a_tokenizer_that_looks_too_far_reads_whole_texts_and_says_so(
    joiners: dict[str, Joiner], name: str, why: str
) -> None:
    slowed = joiners[name].encode(ORDINARY, 1024).slowed
    assert slowed
    assert why in slowed


def changed(folder: Path, **steps: object) -> str | None:
    """What is said against the GPT-2-like tokenizer when parts of its file are changed."""
    content = json.loads((gpt2(folder) / "tokenizer.json").read_text())
    content |= steps
    return Joiner(Tokenizer.from_str(json.dumps(content))).encode([["a", " b"]], 16).slowed


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
SPLIT = {"type": "Split", "pattern": {"Regex": "a+?(?=b.*c)"}, "behavior": "Isolated", "invert": False}
STEPS = {
    "blank": {"pre_tokenizer": {**BYTES, "add_prefix_space": True}},
    "not split": {"pre_tokenizer": {**BYTES, "use_regex": False}},
    "not known": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [SPLIT, BYTES]}},
    "Strip": {"normalizer": {"type": "Strip", "strip_left": True, "strip_right": True}},
}


@pytest.mark.parametrize("why", STEPS)
def test_every_step_that_is_not_known_to_look_near_is_refused(tmp_path: Path, why: str) -> None:
    slowed = changed(tmp_path / "gpt2", **STEPS[why])
    assert slowed
    assert why in slowed
    assert changed(tmp_path / "same") is None


def test_a_sample_that_differs_ends_the_joining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a proof wrong, the tokens would still be right, and the log would say so."""
    monkeypatch.setattr("behavior_tasks.text.boundary.Boundaries.holds", lambda *_: True)
    joiner = Joiner(load_tokenizer(scratch(tmp_path / "scratch")))
    texts = [["User A brow", "sed pro", "duct B"]]
    check_equal(joiner, texts, 1024)
    assert "a sample of texts" in str(joiner.encode(texts, 1024).slowed)


@pytest.mark.parametrize("maker", [minilm, word_piece])
def test_a_bert_frames_texts_and_cuts_their_beginning(tmp_path: Path, maker: Callable[[Path], Path]) -> None:
    folder = maker(tmp_path / "bert")
    before = 1 if maker is minilm else 2
    parts = [[f" word{n}" for n in range(40)], [" word1"], []]
    long, _ = encode_texts(folder, ["".join(parts[0])], 1024)
    for tokens, offsets in (
        encode_parts(folder, parts, 16),
        encode_texts(folder, ["".join(text) for text in parts], 16),
    ):
        first = tokens[: offsets[1]].tolist()
        assert first == [*long[:before].tolist(), *long[before - 16 :].tolist()]
        assert offsets[1] == 16
        last = tokens[offsets[2] :].tolist()
        assert last == [*first[:before], first[-1]]
    tokenizer = load_tokenizer(folder)
    assert long.tolist() == tokenizer.encode("".join(parts[0]), add_special_tokens=True).ids


def test_arrow_lists_slices_and_dictionaries_are_read_as_they_stand(tmp_path: Path) -> None:
    joiner = Joiner(load_tokenizer(scratch(tmp_path / "scratch")))
    lists = pa.array([["x"], *ORDINARY, [], ["", " mug", ""]], type=pa.list_(pa.string()))
    coded = pa.ListArray.from_arrays(lists.offsets, lists.flatten().dictionary_encode())
    expected = joiner.encode_whole(["".join(parts) for parts in lists.to_pylist()[1:]], 64)
    for texts in (lists[1:], coded[1:], lists.to_pylist()[1:]):
        found = joiner.encode(texts, 64)
        assert found.tokens.tolist() == expected.tokens.tolist()
        assert found.offsets.tolist() == expected.offsets.tolist()
    assert joiner.encode([], 64).offsets.tolist() == [0]


def test_words_are_counted_as_the_whole_texts_have_them() -> None:
    joiner = Joiner(untrained_tokenizer(SPECIAL), count_only=True)
    counts = joiner.count(pa.array([*ORDINARY, ORDINARY[0]], type=pa.list_(pa.string())))
    assert counts[", then"] == 2
    assert counts["[2-days]"] == 3
    assert "," not in counts
