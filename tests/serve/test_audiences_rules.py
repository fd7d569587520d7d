"""The rules of audiences: what a file says, and everything that is wrong with one."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behavior_tasks.base.config import AUDIENCES_FILE, load_config, presets
from behavior_tasks.base.errors import UserError
from behavior_tasks.serve.audiences_conditions import COLUMNS, Condition, can_match, read_condition
from behavior_tasks.serve.audiences_rules import audiences_file, load_audiences, read_audiences


def problems(*audiences: dict[str, Any], **more: Any) -> list[str]:
    return read_audiences({"audiences": list(audiences), **more})[1]


def test_the_file_that_comes_with_the_package_holds_and_is_no_preset() -> None:
    rules = load_audiences(audiences_file(""))
    assert [one.name for one in rules.audiences] == [
        *("cart-left-behind", "high-spenders", "likely-buyers", "lapsing-valuable", "leave-alone")
    ]
    assert AUDIENCES_FILE.stem not in presets()
    with pytest.raises(UserError, match='no preset "audiences"'):
        load_config("audiences")


def test_every_problem_is_told_at_once_with_the_nearest_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        """
overlap: firts
audiences:
  - {name: one, where: {probabilty: {min: 0.5}}}
  - {name: one, tpo: 3}
  - {name: two, where: {visits: {min: 5, max: 1}}, exclude: [tree]}
  - {name: three, where: {probability: {min: 1.5}}, top: 5, top_share: 0.1}
""",
        encoding="utf-8",
    )
    with pytest.raises(UserError) as raised:
        load_audiences(path)
    told = str(raised.value)
    assert "mine.yaml has 8 mistakes" in told
    for words in (
        "overlap: 'firts'",
        "one.where.probabilty: there is no such column; did you mean probability?",
        "one: 2 audiences have this name",
        "one.tpo: unknown key; did you mean top?",
        "two.where.visits: min 5 is above max 1",
        "two.exclude: there is no audience tree; did you mean three?",
        "three.where.probability.min: 1.5; probability lies between 0 and 1",
        "three: holds both `top` and `top_share`",
    ):
        assert words in told


@pytest.mark.parametrize(
    ("where", "matches"),
    [
        ({"all": [{"probability": {"min": 0.5}}, {"probability": {"max": 0.2}}]}, False),
        ({"all": [{"probability": {"min": 0.5}}, {"not": {"probability": {"min": 0.5}}}]}, False),
        ({"decision": True, "not": {"decision": True}}, False),
        ({"days_since_purchase": {"missing": True}, "not": {"days_since_purchase": {"missing": True}}}, False),
        ({"not": {"open_carts": {"min": 0}}}, False),
        ({"not": {"days_since_cart": {"min": 0}}}, True),
        ({"all": [{"visits": {"min": 2}}, {"visits": {"max": 2}}]}, True),
        ({"any": [{"all": [{"visits": {"min": 3}}, {"visits": {"max": 2}}]}, {"events": {"min": 9}}]}, True),
        (None, True),
    ],
)
def test_a_condition_that_nobody_can_meet_is_found(where: Any, matches: bool) -> None:
    mistakes: list[str] = []
    assert can_match(read_condition(where, "where", mistakes)) is matches
    assert not mistakes


def test_audiences_that_cannot_be_reached_are_found() -> None:
    high, low = {"probability": {"min": 0.6}}, {"probability": {"min": 0.3}}
    assert problems({"name": "a", "where": low}, {"name": "b", "where": high}) == [
        "b: whoever fits it stands in an audience above already, so it stays empty; put it further up, or set "
        "`overlap: allow`"
    ]
    assert not problems({"name": "a", "where": low}, {"name": "b", "where": high}, overlap="allow")
    assert not problems({"name": "a", "where": low, "top": 5}, {"name": "b", "where": high})
    assert not problems({"name": "a", "where": high}, {"name": "b", "where": low})
    assert "a: excludes itself" in problems({"name": "a", "exclude": ["a"]})[0]
    assert "leaves nobody out" not in "".join(
        problems({"name": "a", "where": low, "exclude": ["b"]}, {"name": "b", "where": high})
    )
    assert "can never match" in problems({"name": "a", "where": high, "exclude": ["b"]}, {"name": "b", "where": low})[0]


@pytest.mark.parametrize(
    "odd",
    [
        {"contacts": 5, "top": 5},
        {"contact": False, "contacts": 5},
        {"costs": {"contact_cost": 0.1}},
        {"costs": {"margin": 0.3, "value_of_sale": 3}},
        {"holdout": 0.7},
        {"name": "No capitals"},
        {"where": []},
        {"where": {"decision": 1}},
        {"where": {"visits": {"min": "many"}}},
        {"where": {"visits": {"missing": True}}},
    ],
)
def test_odd_rules_are_refused(odd: dict[str, Any]) -> None:
    assert len(problems({"name": "a", **odd})) == 1


BOUNDS = st.sampled_from([0.0, 0.25, 0.5, 1.0])


def ranges() -> st.SearchStrategy[Condition]:
    def of(column: str, low: float, high: float) -> Condition:
        return Condition(kind="range", column=column, low=min(low, high), high=max(low, high))

    missing = st.just(Condition(kind="range", column="past_spend_quantile", missing=True))
    return st.builds(of, st.sampled_from(["probability", "past_spend_quantile"]), BOUNDS, BOUNDS) | missing


def trees() -> st.SearchStrategy[Condition]:
    def group(kind: str, children: list[Condition]) -> Condition:
        return Condition(kind=kind, children=tuple(children))

    return st.recursive(
        ranges(),
        lambda inner: (
            st.builds(group, st.sampled_from(["all", "any"]), st.lists(inner, min_size=1, max_size=3))
            | st.builds(lambda child: Condition(kind="not", children=(child,)), inner)
        ),
        max_leaves=5,
    )


@given(trees())
@settings(max_examples=150, deadline=None)
def test_a_condition_can_match_exactly_when_some_shopper_meets_it(tree: Condition) -> None:
    # Every bound, every gap between bounds, and no value: whatever such a tree can tell apart.
    values = [0.0, 0.1, 0.25, 0.3, 0.5, 0.7, 1.0]
    rows = [(one, two) for one in values for two in [*values, np.nan]]
    table = pd.DataFrame(rows, columns=["probability", "past_spend_quantile"])
    assert can_match(tree) is bool(tree.mask(table).any())
    assert (Condition(kind="not", children=(tree,)).mask(table) == ~tree.mask(table)).all()


def test_every_column_is_described() -> None:
    assert all(column.description for column in COLUMNS.values())
