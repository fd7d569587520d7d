"""Every preset on the log that it is for: real where there is one, else a file with the same columns and quirks."""

from pathlib import Path

import pytest

from behavior_tasks.base.config import load_config, presets
from behavior_tasks.base.errors import UserError
from behavior_tasks.data.layout import check_settings
from tests.data.public_logs import write_tianchi, write_tmall
from tests.data.stages import events, real_log, reasons, run_to


@pytest.mark.parametrize("preset", presets())
def test_the_settings_of_every_preset_are_sound(preset: str) -> None:
    source = load_config(preset).source
    check_settings(source)
    # One mistake is put in and one is found: all the rest is sound.
    with pytest.raises(UserError, match="have 1 mistake"):
        check_settings(source.model_copy(update={"default_action": "wish"}))


@pytest.mark.parametrize(
    ("preset", "name", "rows_in", "removed", "actions"),
    [
        (
            "rees46",
            "rees46_2019_oct_17k.csv.gz",
            17_435,
            {"wrong_column_count": 1},
            {"browse": 17_050, "add_to_cart": 164, "purchase": 214},
        ),
        (
            "retailrocket",
            "retailrocket_sample_events.csv.gz",
            9_385,
            {},
            {"browse": 9_075, "add_to_cart": 261, "purchase": 46},
        ),
    ],
)
def test_real_logs_go_through_ingest_and_clean(
    preset: str, name: str, rows_in: int, removed: dict[str, int], actions: dict[str, int], tmp_path: Path
) -> None:
    log = real_log(name)
    cleaned = run_to("clean", log, tmp_path, preset=preset)
    ingested = run_to("ingest", log, tmp_path, preset=preset).manifest.rows
    assert (ingested.rows_in, ingested.removed) == (rows_in, removed)
    assert cleaned.facts["actions"] == actions


def test_rees46_keeps_zone_price_brand_and_category(tmp_path: Path) -> None:
    ingested = run_to("ingest", real_log("rees46_2019_oct_17k.csv.gz"), tmp_path, preset="rees46")
    columns = "CAST(timestamp AS VARCHAR), action, price, category, brand"
    first = events(ingested, columns, "timestamp, product_id")[0]
    assert first == ("2019-10-01 00:00:00", "browse", 33.2, "appliances.environment.water_heater", "aqua")


def test_words_that_rees46_ignores_stand_aside_and_are_not_bad(tmp_path: Path) -> None:
    log = tmp_path / "2019-Oct.csv"
    row = "2019-10-01 00:00:{n:02d} UTC,{word},1,2,,,3.5,u{n},s"
    words = ["view", "remove_from_cart", "Remove from cart", "cart"]
    header = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"
    log.write_text("\n".join([header, *(row.format(n=n, word=w) for n, w in enumerate(words))]), encoding="utf-8")
    ingested = run_to("ingest", log, tmp_path / "home", preset="rees46")
    assert reasons(ingested) == [(3, "ignored_action"), (4, "ignored_action")]


def test_online_retail_has_names_and_returns(tmp_path: Path) -> None:
    header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    log = tmp_path / "retail.csv"
    log.write_text(
        f"{header}\n536365,85123A,WHITE HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n"
        "C536379,D,Discount,-1,2010-12-01 09:41:00,27.5,14527.0,United Kingdom\n"
        "A563185,B,Adjust bad debt,1,2011-08-12 14:50:00,11062.06,,United Kingdom\n",
        encoding="utf-8",
    )
    ingested = run_to("ingest", log, tmp_path / "home", preset="online_retail")
    assert events(ingested, "action, product_name, quantity", "timestamp") == [
        ("purchase", "WHITE HEART", 6.0),
        ("return", "Discount", 1.0),
    ]
    assert reasons(ingested) == [(4, "missing_user_id")]


def test_tmall_dates_without_a_year_and_codes(tmp_path: Path) -> None:
    log = write_tmall(tmp_path)
    cleaned = run_to("clean", log, tmp_path / "home", preset="tmall")
    assert run_to("ingest", log, tmp_path / "home", preset="tmall").manifest.rows.removed == {}
    assert cleaned.facts["first"] >= "2014-05-10T16:00:00"
    assert cleaned.facts["last"] <= "2014-11-12T00:00:00"
    assert set(cleaned.facts["actions"]) == {"click", "add_to_cart", "purchase", "favourite"}
    source = run_to("source", log, tmp_path / "home", preset="tmall").facts
    assert source["side_tables"]["users"]["disagreeing"] == 0
    assert source["side_tables"]["users"]["odd_age"] == 0
    assert [file["name"] for file in source["files"]] == ["user_log_format1.csv"]


def test_a_tmall_day_may_have_lost_its_leading_zero(tmp_path: Path) -> None:
    write_tmall(tmp_path, rows=1)
    log = tmp_path / "log.csv"
    days = ["829", "0829", "1111", "631", "29", "1301"]
    lines = [f"{n},1,2,3,4.0,{day},{n % 4}" for n, day in enumerate(days)]
    log.write_text("\n".join(["user_id,item_id,cat_id,seller_id,brand_id,time_stamp,action_type", *lines]), "utf-8")
    lenient: dict[str, object] = {"source.max_bad_fraction": 1}
    ingested = run_to("ingest", log, tmp_path / "home", preset="tmall", overrides=lenient)
    assert events(ingested, "user_id, CAST(timestamp AS VARCHAR)", "user_id") == [
        ("0", "2014-08-28 16:00:00"),
        ("1", "2014-08-28 16:00:00"),
        ("2", "2014-11-10 16:00:00"),
    ]
    assert {reason for _, reason in reasons(ingested)} == {"bad_timestamp"}


def test_tianchi_hours_are_beijing_time(tmp_path: Path) -> None:
    log = write_tianchi(tmp_path)
    ingested = run_to("ingest", log, tmp_path / "home", preset="tianchi_mobile")
    assert ingested.manifest.rows.removed == {}
    cleaned = run_to("clean", log, tmp_path / "home", preset="tianchi_mobile")
    assert set(cleaned.facts["actions"]) == {"browse", "favourite", "add_to_cart", "purchase"}
    header, first, *_ = log.read_text().splitlines()
    log.write_text(f"{header}\n{first.rpartition(',')[0]},2014-12-06 02\n", encoding="utf-8")
    ingested = run_to("ingest", log, tmp_path / "home", preset="tianchi_mobile")
    assert events(ingested, "CAST(timestamp AS VARCHAR)") == [("2014-12-05 18:00:00",)]
