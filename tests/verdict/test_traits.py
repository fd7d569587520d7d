"""Traits of hand-made features and events: what is read, from when, and with whose bounds."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from behavior_tasks.base.artifacts import Artifact, Manifest, Rows
from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home
from behavior_tasks.base.schema import SHOPPER_COLUMNS
from behavior_tasks.base.stage import Job
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.verdict.traits import Traits, quantile_of_counts, read_traits

DAY = timedelta(days=1)
CUTOFF = datetime(2026, 3, 1)
BEFORE = CUTOFF - 30 * DAY


def event(shopper: str, days_ago: float, category: str = "unknown", cutoff: datetime = CUTOFF) -> dict[str, Any]:
    given = {"shopper": shopper, "timestamp": cutoff - days_ago * DAY, "action": "click", "category": category}
    return {column.name: given.get(column.name) for column in SHOPPER_COLUMNS}


def example(shopper: str, split: str = "test", **features: Any) -> dict[str, Any]:
    defaults = {"purchases": 0.0, "events": 5.0, "events_30d": 5.0, "age_band": None, "gender": None}
    cutoff = CUTOFF if split == "test" else BEFORE
    return {"example": f"{shopper}@{split}", "shopper": shopper, "split": split, "cutoff": cutoff} | defaults | features


def traits(
    folder: Path, examples: list[dict[str, Any]], events: list[dict[str, Any]], *, lookback_days: int = 100
) -> Traits:
    """Read the traits of the test examples, in the order given."""
    table = pd.DataFrame(examples).astype({"age_band": "float64", "gender": "object"})
    wanted = table.loc[table["split"] == "test", "example"].tolist()
    log = pd.DataFrame(events)
    for name, frame in (("features/examples", table), ("clean/events", log)):
        (folder / name).mkdir(parents=True)
        # Two buckets, and rows in an order that nobody asked for.
        first = frame["shopper"] < "m"
        for number, part in enumerate((frame[first], frame[~first])):
            part.iloc[::-1].to_parquet(folder / name / f"{number:04d}.parquet", index=False)
    made = {"examples": {"lookback_days": lookback_days, "horizon_days": 7, "unit": "shopper"}}
    columns = [name for name in table.columns if name not in ("example", "shopper", "split", "cutoff")]
    job = Job(
        config=Config.model_validate({"engine": {"workers": 1}}),
        inputs={
            "features": artifact(folder / "features", {"features": columns}, {**made, "source": {"timezone": "UTC"}}),
            "clean": artifact(folder / "clean", {}, {}),
        },
        out=folder,
        key="key",
        home=Home(folder / "home"),
        today=date(2026, 3, 1),
    )
    return read_traits(job, wanted, TEXT)


def artifact(path: Path, facts: Mapping[str, Any], settings: Mapping[str, Any]) -> Artifact:
    rows = Rows(unit_in="rows", unit_out="rows", rows_in=1, rows_out=1)
    fields = {"stage": path.name, "key": "k", "code": "c", "settings": settings, "inputs": {}, "facts": facts}
    return Artifact(path=path, manifest=Manifest.model_construct(**fields, rows=rows, files={}))


TEXT = TextSettings.model_construct(**{"language": "zh", "categories": [f"kind{place}" for place in range(1, 13)]})


def words(told: Traits, name: str) -> list[str]:
    (found,) = (trait for trait in told.told if trait.name == name)
    return found.values.tolist()


def test_the_favourite_category_is_that_of_most_events_before_the_cutoff(tmp_path: Path) -> None:
    events = [
        *(event("a", days, "kind2") for days in (1, 2)),
        *(event("a", days, "kind1") for days in (-1, -2, -3, 0)),  # at the cutoff and after it
        *(event("a", days, "kind3") for days in (101, 102, 103)),  # before the lookback
        *(event("a", days, "unknown") for days in (4, 5, 6)),
        *(event("b", 3, kind) for kind in ("kind5", "kind4")),  # a tie: the first by name
        *(event("z", 3, kind) for kind in ("kind11",)),  # the eleventh on train
        event("n", 3),
    ]
    told = traits(tmp_path, [example(name) for name in ("z", "a", "n", "b")], events)
    assert words(told, "category") == ["other", "kind2", "unknown", "kind4"]


def test_bounds_come_from_train_and_each_shopper_counts_once_a_cutoff(tmp_path: Path) -> None:
    train = [example(f"t{n}", "train", events=float(n), events_30d=float(n)) for n in (1, 2, 3, 4, 5, 6)]
    # Another product of the same shopper at the same cutoff says nothing new.
    train += [{**train[5], "example": f"again {n}"} for n in range(20)]
    test = [example(f"s{n}", events=float(n), events_30d=float(n)) for n in (2, 3, 4, 5, 900)]
    told = traits(tmp_path, [*test, *train], [event("s2", 1)])
    assert words(told, "activity") == ["quiet", "quiet", "active", "active", "active"]
    assert words(told, "history_length") == ["short", "medium", "medium", "long", "long"]
    (activity,) = (trait for trait in told.told if trait.name == "activity")
    assert activity.meanings["quiet"] == "at most 3 events in the last 30 days, the median of train"


def test_history_age_gender_and_language_are_words(tmp_path: Path) -> None:
    test = [
        example("a", purchases=0.0, age_band=0.0, gender="female"),
        example("b", purchases=2.0, age_band=2.0),
        example("c", age_band=6.0, gender="male"),
        example("d"),
    ]
    told = traits(tmp_path, [*test, example("t", "train")], [event("a", 1)])
    assert words(told, "history") == ["new", "returning", "new", "new"]
    assert words(told, "age_band") == ["under 18", "25–34", "65 and over", "unknown"]
    assert words(told, "gender") == ["female", "unknown", "male", "unknown"]
    assert words(told, "language") == ["zh"] * 4


def test_what_a_log_cannot_tell_is_named_with_the_reason(tmp_path: Path) -> None:
    told = traits(tmp_path, [example("a"), example("t", "train")], [event("a", 1)])
    assert told.untold == {
        "age_band": "the log states nobody's age",
        "gender": "the log states nobody's gender",
        "category": "the log names no categories",
    }
    assert {trait.name for trait in told.told} == {"history", "activity", "history_length", "language"}


def test_with_a_short_lookback_activity_is_that_of_the_lookback(tmp_path: Path) -> None:
    rows = [example("a", events=1.0), example("b", events=9.0), example("t", "train", events=4.0)]
    for row in rows:
        del row["events_30d"]
    told = traits(tmp_path, rows, [event("a", 1)], lookback_days=30)
    assert words(told, "activity") == ["quiet", "active"]


@pytest.mark.parametrize(
    ("q", "expected"), [(1 / 3, 1.0), (0.5, 1.0), (2 / 3, 2.0), (0.7, 2.0), (0.9, 5.0), (1.0, 5.0)]
)
def test_the_quantile_is_the_smallest_value_that_the_share_reaches(q: float, expected: float) -> None:
    assert quantile_of_counts(pd.Series([2, 1, 3], index=[2.0, 5.0, 1.0]), q) == expected
