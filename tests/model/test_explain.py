"""What moved a prediction: the planted word is found, and the prediction is exactly that of `predict`."""

from pathlib import Path

import numpy as np
import pytest

from behavior_tasks.model.explain import Explanation, explain
from behavior_tasks.model.predict import Scorer, number_names, predict
from behavior_tasks.model.work_folder import WorkFolder
from behavior_tasks.text.tokens import TokenSet
from behavior_tasks.text.trace import FRAME, Trace, trace_tokens
from tests.model.toy import Toy


@pytest.fixture
def tokens(toy: Toy) -> TokenSet:
    return TokenSet.load(toy.encode)


def parts_of(text: str) -> list[str]:
    first, *others = text.split(" ")
    return [first, *(f" {word}" for word in others)]


def scorer_of(trained: WorkFolder) -> Scorer:
    return Scorer.load(trained.bundle, device="cpu", threads=1)


def explained(toy: Toy, trained: WorkFolder, tokens: TokenSet, row: int) -> tuple[Trace, Explanation]:
    trace = trace_tokens(trained.bundle / "tokenizer", parts_of(toy.texts[row]), max_tokens=16)
    numbers = dict(zip(tokens.sequences.number_names, tokens.sequences.numbers[row].tolist(), strict=True))
    return trace, explain(scorer_of(trained), trace, numbers)


def test_the_word_that_decides_moved_it_most(toy: Toy, trained: WorkFolder, tokens: TokenSet) -> None:
    rows = np.flatnonzero((toy.labels == 1) & (toy.splits == "test"))[:12]
    # What speaks for `no` is that there is no `yes`, which can't be taken away.
    found = [explained(toy, trained, tokens, int(row))[1].effects[0] for row in rows]
    right = [effect for effect in found if effect.name.strip() == "yes" and effect.change > 0.3]
    # By chance it would be about one of eight.
    assert len(right) >= 8


def test_the_prediction_is_that_of_predict(toy: Toy, trained: WorkFolder, tokens: TokenSet) -> None:
    rows = np.array([3, 250])
    expected = predict(trained.bundle, tokens.sequences, rows, device="cpu", threads=1)
    for place, row in enumerate(rows):
        trace, found = explained(toy, trained, tokens, int(row))
        start, end = tokens.sequences.offsets[row : row + 2]
        np.testing.assert_array_equal(trace.ids, tokens.sequences.tokens[start:end])
        np.testing.assert_allclose(found.prediction.probability, expected.probability[place], atol=1e-6)
        np.testing.assert_allclose(found.prediction.expected_amount, expected.expected_amount[place], rtol=1e-5)


def test_an_effect_is_the_change_when_the_part_or_number_alone_is_gone(
    toy: Toy, trained: WorkFolder, tokens: TokenSet
) -> None:
    row = 1
    trace, found = explained(toy, trained, tokens, row)
    effects = {(effect.kind, effect.place): effect.change for effect in found.effects}
    assert [abs(effect.change) for effect in found.effects] == sorted(map(abs, effects.values()), reverse=True)
    numbers = dict(zip(tokens.sequences.number_names, tokens.sequences.numbers[row].tolist(), strict=True))
    kept = [part for place, part in enumerate(trace.parts) if place != 1]
    without = trace_tokens(trained.bundle / "tokenizer", kept, max_tokens=16)
    scorer = scorer_of(trained)
    asked = explain(scorer, without, numbers, occlude=False)
    probability = found.prediction.probability[0]
    assert asked.effects == ()
    assert effects["part", 1] == pytest.approx(probability - asked.prediction.probability[0], abs=1e-6)
    assert number_names(trained.bundle) == tokens.sequences.number_names
    unknown = {**numbers, "purchases": float("nan")}
    asked = explain(scorer, trace, unknown)
    assert effects["number", 1] == pytest.approx(probability - asked.prediction.probability[0], abs=1e-6)
    # What is undefined already can't be taken away.
    assert not [effect for effect in asked.effects if (effect.kind, effect.name) == ("number", "purchases")]


def test_what_is_cut_off_has_no_effect_and_nothing_slides_in(toy: Toy, trained: WorkFolder, tokens: TokenSet) -> None:
    words = [f"word{number}" for number in range(20)]
    trace = trace_tokens(trained.bundle / "tokenizer", parts_of(" ".join([*words, "yes", "word0"])), max_tokens=16)
    assert (trace.cut, trace.read_parts, trace.begin) == (6, list(range(6, 22)), len(" ".join(words[:6])) + 1)
    assert trace.pieces[0].strip() == "word6"
    scorer, numbers = scorer_of(trained), dict.fromkeys(tokens.sequences.number_names, 0.5)
    found = explain(scorer, trace, numbers)
    places = {effect.place for effect in found.effects if effect.kind == "part"}
    assert places == set(trace.read_parts)
    shorter = trace_tokens(trained.bundle / "tokenizer", trace.parts[7:], max_tokens=16)
    alone = explain(scorer, shorter, numbers, occlude=False)
    effect = next(effect for effect in found.effects if effect.kind == "part" and effect.place == 6)
    expected = found.prediction.probability[0] - alone.prediction.probability[0]
    assert effect.change == pytest.approx(expected, abs=1e-6)


def test_pieces_and_parts_cover_the_text(tmp_path: Path) -> None:
    from behavior_tasks.text.tokenizer import train_tokenizer

    train_tokenizer(["用户A浏览了商品B，点击了商品C。"] * 3, 300, tmp_path)
    parts = ["用户A浏览了商品B", "，", "收藏了商品C", "。"]
    trace = trace_tokens(tmp_path, parts, 500)
    assert trace.cut == 0
    assert FRAME not in trace.part_of
    assert list(trace.part_of) == sorted(trace.part_of)
    # Tokens of whole characters are told as in the text; those of 收 and 藏, never seen before, are single bytes.
    told = ["".join(np.array(trace.pieces)[trace.part_of == part]) for part in range(4)]
    assert (told[0], told[1], told[3]) == (parts[0], parts[1], parts[3])
    assert told[2] != parts[2]
    assert told[2].endswith("了商品C")
