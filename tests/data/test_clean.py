"""Clean: duplicates, missing values and outliers, by rules fitted on the train period only."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.errors import UserError
from tests.data.stages import HEADER, events, real_log, run_to, table, write_log

FULL = f"{HEADER},quantity,price,amount,category,age,gender"
START = datetime(2026, 3, 1, tzinfo=UTC)
TRAIN_DAYS, DAYS = 46, 60
"""A log of 60 days with a horizon of 7: the last train window ends when 46 days are over."""


def at(day: float) -> int:
    return int((START + timedelta(days=day)).timestamp())


def row(
    user: str, day: float, action: str = "buy", product: str = "p", numbers: str = ",,", rest: str = "toys,,"
) -> str:
    """One line of the log; numbers are quantity, price and amount, rest is category, age and gender."""
    return f"{user},{action},{product},{at(day)},{numbers},{rest}"


EDGES = [row("edge", 0, "view"), row("edge", DAYS - 0.01, "view")]
"""Two events that span the whole log."""


def clean(tmp_path: Path, rows: list[str], rules: dict[str, object] | None = None, **overrides: object) -> Artifact:
    log = write_log(tmp_path / "log.csv", [*EDGES, *rows], FULL)
    missing = {"clean.missing": rules} if rules is not None else {}
    return run_to("clean", log, tmp_path / "home", overrides={**missing, **overrides})


def kept(artifact: Artifact, columns: str) -> list[tuple[object, ...]]:
    """Return the events but for the edges, by user."""
    return [r[1:] for r in events(artifact, f"user_id, {columns}", "user_id, timestamp") if r[0] != "edge"]


def report(artifact: Artifact) -> dict[str, dict[str, object]]:
    loaded: dict[str, dict[str, object]] = json.loads((artifact.path / "report.json").read_bytes())
    return loaded


def test_exact_duplicates_go_and_near_ones_stay(tmp_path: Path) -> None:
    first = row("u1", 1, numbers="1,2,2")
    near = [row("u1", 1, numbers="1,2,2", rest="toys,33,"), row("u2", 1, numbers="1,2,2"), row("u1", 1, "click")]
    cleaned = clean(tmp_path, [first, *near, first, first])
    rows = cleaned.manifest.rows
    assert (rows.rows_in, rows.rows_out, rows.removed) == (8, 6, {"duplicate": 2})
    assert set(cleaned.manifest.files) == {
        "apart.parquet",
        "bounds.parquet",
        "events.json",
        "replaced.parquet",
        "report.json",
    }


def test_price_quantity_and_amount_follow_from_one_another_for_sales_only(tmp_path: Path) -> None:
    rows = [
        row("u1", 1, numbers="6,2.55,"),
        row("u2", 1, numbers="4,,10"),
        row("u3", 1, numbers=",2.5,10"),
        row("u4", 1, numbers="2,3,5"),
        row("u5", 1, "return", numbers="-2,3,"),
        row("u6", 1, "view", numbers="2,3,"),
        row("u7", 1, numbers=",3,"),
        row("u8", 1, numbers=",,0"),
    ]
    assert kept(clean(tmp_path, rows), "quantity, price, amount") == [
        (6, 2.55, 15.3),
        (4, 2.5, 10),
        (4, 2.5, 10),
        (2, 3, 5),
        (2, 3, 6),
        (2, 3, None),
        (None, 3, None),
        (None, None, 0),
    ]


def test_constants_fill_what_applies_and_no_column_that_the_log_lacks(tmp_path: Path) -> None:
    rows = [row("u1", 1, rest=",,"), f"u2,search,,{at(1)},,,,,,", row("u3", 1, rest="shoes,,")]
    cleaned = clean(tmp_path, rows)
    assert kept(cleaned, "category, gender") == [("unknown", None), (None, None), ("shoes", None)]
    assert cleaned.facts["present"] == ["category"]
    assert report(cleaned)["missing"]["category"] == {"rule": "constant", "constant": 1}


def test_a_constant_quantity_makes_amounts_of_prices(tmp_path: Path) -> None:
    rows = [row("u1", 1, numbers=",3,"), row("u2", 1, numbers=",2,8"), row("u3", 1, "view", numbers=",3,")]
    cleaned = clean(tmp_path, rows, {"quantity": {"rule": "constant", "value": 1}})
    assert kept(cleaned, "quantity, amount") == [(1, 3), (4, 8), (None, None)]


def test_drop_costs_the_sales_that_lack_a_value_and_nothing_else(tmp_path: Path) -> None:
    rows = [
        row("u1", 1, numbers="2,3,"),
        row("u2", 1, numbers="2,,"),
        row("u3", 1, "view"),
        row("u4", 1, numbers=",,4"),
    ]
    cleaned = clean(tmp_path, rows, {"amount": {"rule": "drop"}})
    assert kept(cleaned, "amount") == [(6,), (None,), (4,)]
    assert cleaned.manifest.rows.removed == {"duplicate": 0, "missing_amount": 1}
    by_price = clean(tmp_path, [*rows, row("u5", 1, numbers="4,,2")], {"price": {"rule": "drop"}})
    assert kept(by_price, "price") == [(3,), (None,), (0.5,)]


def test_medians_are_the_categorys_on_train_or_the_whole_logs(tmp_path: Path) -> None:
    toys = [row(f"a{n}", 1 + n, numbers=f",,{n + 1}") for n in range(5)]
    shoes = [row(f"b{n}", 1 + n, numbers=f",,{10 * n + 10}", rest="shoes,,") for n in range(2)]
    late = [row(f"c{n}", TRAIN_DAYS + 0.1, numbers=f",,{1000 + n}") for n in range(20)]
    lacking = [row("z1", 50), row("z2", 2, rest="shoes,,"), row("z3", 2, rest=",,")]
    rules: dict[str, object] = {"amount": {"rule": "median"}}
    rows = [*toys, *shoes, *late, *lacking]
    cleaned = clean(tmp_path, rows, rules, **{"clean.outlier_min_group": 5, "clean.outliers": "off"})
    assert kept(cleaned, "amount")[-3:] == [(3,), (4,), (4,)]
    assert report(cleaned)["missing"]["amount"] == {"rule": "median", "median": 3}


def spread(category: str, amounts: list[float], day: float = 1) -> list[str]:
    return [
        row(f"{category}{n:02d}", day + n / 1000, numbers=f",,{a}", rest=f"{category},,") for n, a in enumerate(amounts)
    ]


@pytest.mark.parametrize(("method", "factor"), [("iqr", 1.5), ("zscore", 3)])
def test_outliers_lie_beyond_the_bounds_of_their_category_on_train(method: str, factor: float, tmp_path: Path) -> None:
    toys = [float(a) for a in range(10, 50)]
    shoes = [100.0 * a for a in range(10, 50)]
    logs = np.log(toys)
    q1, q3 = np.percentile(logs, [25, 75])
    low, high = (q1 - factor * (q3 - q1), q3 + factor * (q3 - q1))
    if method == "zscore":
        low, high = logs.mean() - factor * logs.std(), logs.mean() + factor * logs.std()
    near = [float(np.exp(low) * 1.001), float(np.exp(high) * 0.999)]
    far = [float(np.exp(low) * 0.999), float(np.exp(high) * 1.001)]
    late = spread("toys", [*near, *far], day=TRAIN_DAYS + 1)
    settings = {"clean.outliers": method, "clean.outlier_factor": factor}
    cleaned = clean(tmp_path, [*spread("toys", toys), *spread("shoes", shoes), *late], **settings)
    replaced = table(cleaned, "replaced.parquet", "category, original, replacement, low, high", "original")
    assert [(r[0], r[2]) for r in replaced] == [("toys", 29.5)] * 2
    assert [r[1] for r in replaced] == pytest.approx(far)
    assert [r[3:] for r in replaced] == [pytest.approx((np.exp(low), np.exp(high)))] * 2
    amounts = [r[0] for r in events(cleaned, "amount", "amount") if r[0] is not None]
    assert amounts == pytest.approx(sorted([*toys, *shoes, *near, 29.5, 29.5]))
    outliers = report(cleaned)["outliers"]
    assert (outliers["replaced"], outliers["method"]) == (2, method)
    assert outliers["by_category"]["toys"]["replaced"] == 2  # type: ignore[index]
    assert cleaned.facts["replaced_amounts"] == 2
    assert cleaned.facts["fit_until"] == "2026-04-16T00:00:00"


def test_what_comes_after_train_changes_nothing_before(tmp_path: Path) -> None:
    rows = spread("toys", [*map(float, range(10, 50)), 5000.0])
    before = kept(clean(tmp_path, rows), "amount")
    assert max(before) < (5000,)
    later = spread("toys", [5000.0 + n for n in range(200)], day=TRAIN_DAYS)
    after = clean(tmp_path, [*rows, *[line.replace("toys", "late", 1) for line in later]])
    assert [r[1] for r in events(after, "user_id, amount", "user_id, timestamp") if str(r[0]).startswith("toys")] == [
        r[0] for r in before
    ]


def test_small_and_uniform_categories_take_the_whole_logs_bounds(tmp_path: Path) -> None:
    toys = spread("toys", [float(a) for a in range(10, 50)])
    flat = spread("flat", [20.0] * 35 + [21.0, 90_000.0])
    rare = spread("rare", [1000.0, 80_000.0])
    zero = spread("zero", [0.0])
    cleaned = clean(tmp_path, [*toys, *flat, *rare, *zero])
    replaced = table(cleaned, "replaced.parquet", "category, original, replacement", "category, original")
    whole = float(np.median([*range(10, 50), *[20] * 35, 21, 90_000, 1000, 80_000]))
    assert replaced == [("flat", 90_000, 20), ("rare", 1000, whole), ("rare", 80_000, whole)]
    assert (0,) in events(cleaned, "amount")


def test_too_few_amounts_have_no_bounds_and_off_means_off(tmp_path: Path) -> None:
    few = spread("toys", [*map(float, range(10, 30)), 1e6])
    assert clean(tmp_path, few).facts["replaced_amounts"] == 0
    many = spread("toys", [*map(float, range(10, 80)), 1e6])
    assert clean(tmp_path, many).facts["replaced_amounts"] == 1
    assert clean(tmp_path, many, **{"clean.outliers": "off"}).facts["replaced_amounts"] == 0


def test_a_price_that_followed_from_a_replaced_amount_follows_the_new_one(tmp_path: Path) -> None:
    rows = [*spread("toys", [float(a) for a in range(10, 50)]), row("z1", 2, numbers="2,,90000")]
    assert kept(clean(tmp_path, rows), "quantity, price, amount")[-1] == (2, 15, 30)


def test_rules_that_cannot_be_applied_are_named_at_once(tmp_path: Path) -> None:
    rules = {
        "prise": {"rule": "keep"},
        "user_id": {"rule": "drop"},
        "gender": {"rule": "drop"},
        "category": {"rule": "median"},
        "quantity": {"rule": "constant", "value": "many"},
        "age": {"rule": "constant", "value": 200},
    }
    with pytest.raises(UserError, match="6 rules for missing values") as caught:
        clean(tmp_path, [row("u1", 1)], rules)
    message = str(caught.value)
    assert "did you mean price?" in message
    for key in rules:
        assert f"clean.missing.{key}: " in message


def test_rules_that_leave_nothing_are_refused(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", [row("u1", 1, rest="toys,33,"), row("u2", 1, rest="toys,,female")], FULL)
    rules: dict[str, object] = {"age": {"rule": "drop"}}
    assert run_to("clean", log, tmp_path / "home", overrides={"clean.missing": rules}).manifest.rows.rows_out == 1
    rules["gender"] = {"rule": "drop"}
    with pytest.raises(UserError, match="Cleaning left no event") as caught:
        run_to("clean", log, tmp_path / "home", overrides={"clean.missing": rules})
    assert caught.value.found == "1 events: missing_age, 1 events: missing_gender"


@pytest.mark.slow
def test_online_retail(tmp_path: Path) -> None:
    cleaned = run_to("clean", real_log("uci_online_retail.csv.gz"), tmp_path, preset="online_retail")
    rows = cleaned.manifest.rows
    assert (rows.rows_in, rows.rows_out, rows.removed) == (406_829, 401_564, {"duplicate": 5265})
    assert cleaned.facts["present"] == ["quantity", "price", "amount", "product_name"]
    assert cleaned.facts["replaced_amounts"] < 0.001 * rows.rows_out
    assert cleaned.facts["fit_until"] == "2011-10-09T23:00:00"
