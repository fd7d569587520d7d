"""Joined parts have exactly the tokens of the whole text: every kind of tokenizer, both languages, any cut."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior_tasks.text.encode import encode_parts, encode_texts
from tests.text.tokenizers_here import EN, JOINED, READ_WHOLE, SPECIAL, ZH, cut

Maker = Callable[[Path], Path]
ALL = (*JOINED, *READ_WHOLE)
MARKS = st.text(
    st.sampled_from(" ,.:;，。（）、后'sltABx12é中\u0301\u0308\u1100\u1161\u11a8\uff9e\u0000\u200b\n[<buy]>"),
    max_size=12,
)
PIECES = st.one_of(
    st.sampled_from(
        [*(word for text in [*EN, *ZH] for word in text.split(" ")), *SPECIAL, " ", ", ", "，", "[2-", "days]"]
    ),
    MARKS,
    st.text(max_size=6),
)
TEXTS = st.lists(st.lists(PIECES, max_size=14), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {maker.__name__: maker(tmp_path_factory.mktemp("tokenizers") / maker.__name__) for maker in ALL}


@pytest.mark.parametrize("name", [maker.__name__ for maker in ALL])
@pytest.mark.parametrize("max_tokens", [16, 1024])
def test_any_parts_have_the_tokens_of_the_whole_text(folders: dict[str, Path], name: str, max_tokens: int) -> None:
    @settings(max_examples=150, deadline=None, derandomize=True, database=None)
    @given(TEXTS)
    def check(texts: list[list[str]]) -> None:
        tokens, offsets = encode_parts(folders[name], texts, max_tokens)
        expected, starts = encode_texts(folders[name], ["".join(parts) for parts in texts], max_tokens)
        assert tokens.tolist() == expected.tolist()
        assert offsets.tolist() == starts.tolist()
        assert tokens.dtype == expected.dtype

    check()


@pytest.mark.parametrize("name", [maker.__name__ for maker in ALL])
def test_ordinary_texts_cut_anywhere(folders: dict[str, Path], name: str) -> None:
    @settings(max_examples=150, deadline=None, derandomize=True, database=None)
    @given(st.sampled_from([*EN, *ZH]), st.lists(st.integers(0, 120), max_size=20))
    def check(text: str, places: list[int]) -> None:
        tokens, _ = encode_parts(folders[name], [cut(text, places)], 1024)
        assert tokens.tolist() == encode_texts(folders[name], [text], 1024)[0].tolist()

    check()
