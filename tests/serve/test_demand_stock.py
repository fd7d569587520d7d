"""Stock files, good and bad, and what is to be ordered."""

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from behavior_tasks.base.errors import UserError
from behavior_tasks.serve.demand_stock import Stock, judge_stock, read_stock

KNOWN = {"a": 1, "b": 2, "c": 3}


def forecast(**values: tuple[float, float, float, float]) -> pd.DataFrame:
    rows = [(name, *value) for name, value in values.items()]
    return pd.DataFrame(rows, columns=["product_id", "expected", "lower", "upper", "safe"])


def stock(*rows: tuple[str, float, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["product_id", "stock", "lead_time_days", "on_order"])


def read(folder: Path, text: str) -> Stock:
    (folder / "stock.csv").write_text(text, encoding="utf-8")
    return read_stock(folder / "stock.csv", KNOWN, folder / "unknown.csv", lead_time_days=7)


def test_stock_lasts_as_long_as_the_demand_takes_and_is_ordered_when_the_lead_time_needs_more() -> None:
    sure = forecast(a=(7, 7, 7, 7), b=(7, 7, 7, 7), c=(0, 0, 0, 0))
    judged = judge_stock(sure, stock(("a", 10, 6, 0), ("b", 6.5, 6, 0), ("c", 3, 6, 0)), horizon_days=7)
    assert judged["days_left"].tolist()[:2] == pytest.approx([10, 6.5])
    assert np.isnan(judged["days_left"][2])
    assert judged["reorder_point"].tolist() == [7, 7, 0]
    assert judged["order"].tolist() == [0, 8, 0], "up to a lead time, a day and a horizon: 14, less 6.5"
    coming = judge_stock(sure, stock(("b", 6.5, 6, 1)), horizon_days=7)
    assert coming["order"].tolist() == [0], "what is on its way counts"


def test_an_uncertain_demand_may_use_the_stock_up_sooner_or_later() -> None:
    unsure = forecast(a=(7, 4, 12, 14))
    judged = judge_stock(unsure, stock(("a", 12, 6, 0)), horizon_days=7).iloc[0]
    assert judged["days_left_pessimistic"] == pytest.approx(7), "at worst a horizon needs 12"
    assert judged["days_left"] == pytest.approx(12)
    assert judged["days_left_optimistic"] > 12
    assert judged["reorder_point"] == 14, "7 days of lead time and review: safe is 14"
    assert judged["order"] == np.ceil(14 + 7 * np.sqrt(2) - 12)
    exact = judge_stock(unsure, stock(("a", 4, 6, 0)), horizon_days=7).iloc[0]
    assert exact["days_left_optimistic"] == pytest.approx(7), "at best a horizon needs 4"


def test_what_hardly_sells_is_not_ordered() -> None:
    judged = judge_stock(forecast(a=(0.01, 0, 0.2, 0.3)), stock(("a", 0, 0, 0)), horizon_days=7)
    assert judged["order"].tolist() == [0]


def test_every_row_comes_out_known_or_with_a_reason(tmp_path: Path) -> None:
    read_in = read(tmp_path, "stock;product_id;on_order\n3;a;\n1.5;x;2\n0;b;4\n")
    assert read_in.rows.to_dict("list") == {
        "product_id": ["a", "b"],
        "stock": [3.0, 0.0],
        "lead_time_days": [7.0, 7.0],
        "on_order": [0.0, 4.0],
    }
    assert read_in.unknown == 1
    unknown = (tmp_path / "unknown.csv").read_text().splitlines()
    assert unknown[0] == "line,product_id,stock,reason"
    assert unknown[1].startswith("3,x,1.5,the log has no event")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["stock.csv is empty"]),
        ("product_id,stock\n", ["header and no rows"]),
        ("product,stock\na,1\n", ["lacks the column product_id", "rename product to product_id"]),
        ("id,amount\na,1\n", ["columns product_id, stock", "product_id, stock; if you like"]),
        ("product_id,stock\na,1\nb,-2\n", ["1 wrong line of 2", "line 3: stock is -2"]),
        ("product_id,stock\na,1\na,2\n", ["line 3: product a stands in line 2 already"]),
        (
            "product_id,stock\na,many\nb,\n",
            ["2 wrong lines", "line 2: stock is 'many', not a number", "stock is empty"],
        ),
        ("product_id,stock\na,nan\n", ["stock is nan"]),
        ("product_id,stock,lead_time_days\na,1,-3\n", ["lead_time_days is -3"]),
        ("product_id,stock\n,1\n", ["line 2: product_id is empty"]),
        ("product_id,stock\n" + "a,x\n" * 9, ["9 wrong lines of 9", "and 4 more"]),
    ],
)
def test_a_wrong_file_is_refused_whole_and_says_where(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path, text)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert not (tmp_path / "unknown.csv").exists()


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stock.csv").write_bytes(b"product_id,stock\n\xff\xfe\x00,1\n")
    with pytest.raises(UserError, match="can't be read"):
        read_stock(tmp_path / "stock.csv", KNOWN, tmp_path / "unknown.csv", lead_time_days=7)


def test_a_huge_file_costs_no_memory(tmp_path: Path) -> None:
    rows = "".join(f"strange-product-{n},{n}\n" for n in range(30_000))
    (tmp_path / "stock.csv").write_text(f"product_id,stock\n{rows}a,2\n")
    tracemalloc.start()
    read_in = read_stock(tmp_path / "stock.csv", KNOWN, tmp_path / "unknown.csv", lead_time_days=7)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (read_in.unknown, len(read_in.rows)) == (30_000, 1)
    assert peak < 300_000, "bytes; the file has 700,000"
