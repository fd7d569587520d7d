"""What a model learned from, it is asked with: tokens of the stages, texts and parts give the same answers."""

import dataclasses
from typing import Literal

import numpy as np
import pandas as pd
import pytest

from behavior_tasks.model.predict import Scorer
from behavior_tasks.text.parts import join_parts
from behavior_tasks.text.tokens import TokenSet
from tests.verdict.world import World


@pytest.mark.parametrize("architecture", ["gpt2", "bert"])
def test_tokens_texts_and_parts_give_the_same_answers(architecture: Literal["gpt2", "bert"], world: World) -> None:
    scorer = Scorer.load(world.model(1, architecture=architecture).path / "model", device="cpu", threads=1)
    tokens = TokenSet.load(world.artifacts["encode"].path)
    texts = pd.read_parquet(world.artifacts["verbalize"].path / "texts").set_index("example")
    features = pd.read_parquet(world.artifacts["features"].path / "examples").set_index("example")
    parts = [list(of) for of in texts["parts"].loc[tokens.index["example"]]]
    numbers = features.loc[tokens.index["example"]]

    learned = scorer.predict(tokens.sequences)
    for asked in (
        scorer.score_parts(parts, numbers),
        scorer.score_texts([join_parts(of) for of in parts], numbers.reset_index()),
    ):
        for field in dataclasses.fields(learned):
            # The same tokens and numbers in the same batches: the same bits.
            np.testing.assert_array_equal(getattr(asked, field.name), getattr(learned, field.name))
    assert learned.probability.std() > 0.01
    assert learned.expected_amount.std() > 0
    # Without its numbers an example would have been answered otherwise.
    other = scorer.score_parts(parts, numbers.iloc[::-1])
    assert not np.allclose(other.probability, learned.probability)
