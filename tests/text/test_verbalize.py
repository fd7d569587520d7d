import re
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import Config
from behavior_tasks.base.tables import bucket_file, connect, hash_rows, quote, write_parquet
from behavior_tasks.data.events import open_events
from behavior_tasks.examples.cutoffs import cutoffs_stage
from behavior_tasks.examples.features import FeatureSettings, features_stage
from behavior_tasks.text.parts import TEXT_SQL, join_parts
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.text.verbalize import verbalize_stage, write_texts
from behavior_tasks.text.words import load_templates
from tests.examples.little import Event, clean_log, event, little_config, make_features, run, shop, table

CUTOFF = datetime(2026, 3, 2)
MICROSECOND = timedelta(microseconds=1)
FEATURES = FeatureSettings(lookback_days=365, horizon_days=7, timezone="UTC")


def settings(**changes: object) -> TextSettings:
    plain = TextSettings(
        style="sentence",
        language="en",
        last_events=24,
        lookback_days=365,
        bins={},
        categories=["shoes", "Home & Garden"],
        templates=load_templates("en"),
    )
    return plain.model_copy(update=changes)


CLOCK = re.compile(r" on [A-Z][a-z]+day at \d+:00")


def texts_of(
    folder: Path, events: list[Event], how: TextSettings | None = None, *, shuffle: int | None = None
) -> dict[str, str]:
    """The text of each shopper at one cutoff, without days and hours; of `s` even without events."""
    folder.mkdir(parents=True, exist_ok=True)
    log = clean_log(folder, events, buckets=1, shuffle=shuffle)
    connection = connect()
    names = ", ".join(f"('{name}')" for name in sorted({"s", *(row["shopper"] for row in events)}))
    examples = f"""
        SELECT shopper || '@x' AS example, shopper, NULL::VARCHAR AS product_id, 'test' AS split,
               TIMESTAMP '{CUTOFF}' AS cutoff, 1 AS label, 0::DOUBLE AS amount, 1::DOUBLE AS weight
        FROM (VALUES {names}) AS t(shopper)
    """
    write_parquet(connection, examples, folder / "examples.parquet")
    make_features(folder / "examples.parquet", log, folder / "features.parquet", FEATURES)
    write_texts(folder / "features.parquet", open_events(log)[0], folder / "texts.parquet", how or settings())
    found = connection.execute(f"SELECT shopper, {TEXT_SQL} FROM read_parquet({quote(folder / 'texts.parquet')})")
    return {shopper: CLOCK.sub("", text) for shopper, text in found.fetchall()}


def text_of(folder: Path, events: list[Event], how: TextSettings | None = None, *, shuffle: int | None = None) -> str:
    """The text of shopper `s` at one cutoff."""
    return texts_of(folder, events, how, shuffle=shuffle)["s"]


HISTORY = [
    event("s", "2026-02-01 10:00", "browse", "x9", category="shoes"),
    event("s", "2026-02-01 10:05", "browse", "x7", category="rare"),
    event("s", "2026-02-01 10:10", "click", "x7", category="rare"),
    event("s", "2026-02-01 12:00", "add_to_cart", "x9", category="shoes", age=34),
    event("s", "2026-02-03 13:00", "search", None),
    event("s", "2026-02-03 13:01", "search", ""),
    *(event("s", "2026-02-20 08:00", "purchase", f"x{n}", amount=n / 2, category="shoes") for n in range(1, 6)),
    event("s", "2026-02-20 08:10", "purchase", "x9", amount=117.0, category="shoes"),
    event("s", "2026-02-26 23:00", "return", "x1", amount=0.5, category="Home & Garden", gender="female"),
]


def test_the_text_of_a_little_history(tmp_path: Path) -> None:
    assert text_of(tmp_path, HISTORY) == (
        "User A browsed products B (shoes), C (other), clicked product C, hours later added product B to cart, "
        "2 days later searched 2 times, 2 weeks later purchased 6 products (shoes) for 120, "
        "6 days later returned product D (home-garden) for 0.5, 3 days ago. "
        "Profile: female, 25-34, two purchases."
    )


def test_only_the_last_phrases_and_their_own_letters(tmp_path: Path) -> None:
    text = text_of(tmp_path, HISTORY, settings(last_events=3))
    assert text.startswith(
        "Earlier, over hours: browsed once, clicked once, added once to cart, mostly shoes. "
        "User A searched 2 times, 2 weeks later purchased 6 products (shoes) for 120, 6 days later returned product B ("
    )


def test_phrases_end_with_a_change_of_action_or_half_an_hour(tmp_path: Path) -> None:
    clock = datetime(2026, 3, 1, 12)
    events = [
        event("s", clock, "browse", "a"),
        event("s", clock + timedelta(minutes=30), "browse", "b"),
        event("s", clock + timedelta(minutes=60) + MICROSECOND, "browse", "c"),
    ]
    text = text_of(tmp_path, events)
    assert text.startswith("User A browsed products B, C, minutes later browsed product D, hours ago.")


@pytest.mark.parametrize(("count", "words"), [(3, "products B, C, D"), (4, "4 products")])
def test_three_products_are_named_and_four_are_counted(tmp_path: Path, count: int, words: str) -> None:
    events = [event("s", "2026-03-01", "browse", f"p{n}") for n in range(count)]
    text = text_of(tmp_path, [*events, event("s", "2026-03-01 08:00", "click", "last")])
    letter = "E" if count == 3 else "B"
    assert text.startswith(f"User A browsed {words}, hours later clicked product {letter}, hours ago.")


def test_another_action_within_half_an_hour_follows_without_a_gap(tmp_path: Path) -> None:
    clock = datetime(2026, 3, 1, 12)
    events = [
        event("s", clock, "browse"),
        event("s", clock + timedelta(minutes=30), "click"),
        event("s", clock + timedelta(minutes=60) + MICROSECOND, "purchase"),
    ]
    text = text_of(tmp_path, events)
    assert text.startswith("User A browsed product B, clicked product B, minutes later purchased product B, hours ago.")


def test_what_comes_at_the_cutoff_pushes_no_phrase_out(tmp_path: Path) -> None:
    events = [event("s", "2026-03-01", "browse"), event("s", CUTOFF, "click"), event("s", CUTOFF, "purchase")]
    assert text_of(tmp_path, events, settings(last_events=1)).startswith("User A browsed product B, 1 day ago.")


def test_a_cutoff_within_a_phrase_cuts_it(tmp_path: Path) -> None:
    events = [
        event("s", CUTOFF - timedelta(days=365) - MICROSECOND, "browse", "a"),
        event("s", CUTOFF - timedelta(days=365), "browse", "b"),
        event("s", CUTOFF - MICROSECOND, "click", "c"),
        event("s", CUTOFF, "click", "d"),
        event("s", CUTOFF, "purchase", "e", amount=1.0, gender="male"),
    ]
    text = text_of(tmp_path, events)
    assert text == ("User A browsed product B, 11 months later clicked product C, minutes ago. Profile: no purchases.")


def test_gaps_in_words(tmp_path: Path) -> None:
    words = {
        **{0.04: "minutes", 0.05: "hours", 0.99: "hours", 1: "1 day", 2: "2 days", 13.9: "13 days", 14: "2 weeks"},
        **{60.8: "8 weeks", 61: "2 months", 300: "9 months"},
    }
    texts = texts_of(tmp_path, [event(f"{days}", CUTOFF - timedelta(days=days), "browse") for days in words])
    for days, expected in words.items():
        assert texts[f"{days}"].startswith(f"User A browsed product B, {expected} ago.")


def test_amounts_in_two_digits(tmp_path: Path) -> None:
    words = {
        **{0.0: "0", 0.85: "0.85", 0.999: "1", 2.54: "2.5", 9.96: "10", 12.5: "13", 99.4: "99", 104.9: "100"},
        **{117.0: "120", 2549.0: "2500", 1000.0: "1000", 999_999.0: "1000000"},
    }
    texts = texts_of(tmp_path, [event(f"{paid}", "2026-03-01", "purchase", amount=paid) for paid in words])
    for paid, expected in words.items():
        assert texts[f"{paid}"].startswith(f"User A purchased product B for {expected}, 1 day ago.")


def test_an_unknown_amount_is_not_told(tmp_path: Path) -> None:
    assert text_of(tmp_path, [event("s", "2026-03-01", "purchase")]).startswith("User A purchased product B, 1 day")


def test_letters_go_on_after_z(tmp_path: Path) -> None:
    start = datetime(2026, 1, 1)
    events = [event("s", start + timedelta(hours=n), "browse", f"p{n:03d}") for n in range(706)]
    letters = re.findall(r"product ([A-Z]+)", text_of(tmp_path, events, settings(last_events=706)))
    assert letters[:2] == ["B", "C"]
    assert letters[24:27] == ["Z", "AA", "AB"]
    assert letters[700:703] == ["ZZ", "AAA", "AAB"]
    assert len(set(letters)) == 706


def test_quantile_words(tmp_path: Path) -> None:
    bins = {"events": [1.0, 13.0, 20.0], "purchases": [1.0], "overdue": [0.1], "spend": [0.3]}
    text = text_of(tmp_path, HISTORY, settings(bins=bins))
    assert text.endswith(" Features: events-q2 purchases-q2 overdue-q2 spend-q2.")
    one = text_of(tmp_path / "one", HISTORY[:1], settings(bins=bins))
    assert one.endswith(" Features: events-q1 purchases-q1 overdue-none spend-q1.")


def test_nobody_and_nothing_can_be_recognised(tmp_path: Path) -> None:
    assert text_of(tmp_path, [event("t", "2026-03-01", "browse")]) == "User A did nothing yet. Profile: no purchases."
    secret = [event("s", "2026-03-01", action, "sku-4711") for action in ("browse", "click", "purchase")]
    text = text_of(tmp_path / "secret", secret)
    assert "sku" not in text
    assert "4711" not in text


@pytest.mark.parametrize("shuffle", [1, 2])
def test_row_order_never_matters(tmp_path: Path, shuffle: int) -> None:
    assert text_of(tmp_path / "a", HISTORY) == text_of(tmp_path / "b", HISTORY, shuffle=shuffle)


def texts_in(verbalize: Artifact) -> pd.DataFrame:
    """The rows of a verbalize artifact, with `text` as its last column."""
    rows = table(verbalize.path / "texts")
    return rows.assign(text=rows["parts"].map(join_parts))


def staged(folder: Path, events: list[Event], config: Config) -> dict[str, Artifact]:
    log = clean_log(folder, events)
    examples = run("cutoffs", cutoffs_stage, config, [log], folder)
    features = run("features", features_stage, config, [examples, log], folder)
    texts = run("verbalize", verbalize_stage, config, [features, log], folder)
    return {"clean": log, "features": features, "verbalize": texts}


def test_the_stage_writes_one_text_an_example(tmp_path: Path) -> None:
    made = staged(tmp_path, shop(), little_config(text__style="sentence"))
    texts, examples = texts_in(made["verbalize"]), table(made["features"].path / "examples")
    assert list(texts.columns)[:-1] == ["example", "shopper", "split", "cutoff", "label", "amount", "weight", "parts"]
    assert list(texts["example"]) == list(examples["example"])
    for number, file in enumerate(sorted((made["verbalize"].path / "texts").iterdir())):
        source = bucket_file(made["features"].path / "examples", number)
        fitted = TextSettings.load(made["verbalize"].path / "text.json")
        rows, content = write_texts(source, open_events(made["clean"])[number], tmp_path / "again.parquet", fitted)
        assert (rows, content) == (len(pd.read_parquet(file)), hash_rows(connect(), file))
    assert not any(re.search(r"\bs\d\d\b", text) for text in texts["text"])
    assert (
        texts["text"]
        .str.fullmatch(r"(?:Earlier, .+\. )?User A .+ ago\. Profile: .+ Features: ([a-z0-9-]+-(q\d|none) ?)+\.")
        .all()
    )
    fitted = TextSettings.load(made["verbalize"].path / "text.json")
    assert set(fitted.categories) == {"shoes", "toys", "Home & Garden"}
    assert "searches" not in fitted.bins
    assert fitted.last_events == little_config().text.last_events


def test_the_same_text_for_training_and_for_scoring(tmp_path: Path) -> None:
    made = staged(tmp_path, shop(), little_config())
    fitted = TextSettings.load(made["verbalize"].path / "text.json")
    for bucket in range(2):
        examples = bucket_file(made["features"].path / "examples", bucket)
        events = open_events(made["clean"])[bucket]
        connection = connect()
        # To score is to have only some of the shoppers, and no label.
        some = f"""
            SELECT * REPLACE (CAST(NULL AS INTEGER) AS label) FROM read_parquet({quote(examples)})
            WHERE split = 'test' AND shopper > 's10'
        """
        write_parquet(connection, some, tmp_path / "some.parquet")
        write_texts(tmp_path / "some.parquet", events, tmp_path / "again.parquet", fitted)
        again = connection.execute(
            f"SELECT example, {TEXT_SQL} AS text FROM read_parquet({quote(tmp_path / 'again.parquet')})"
        ).df()
        trained = texts_in(made["verbalize"]).loc[again["example"], "text"]
        assert len(again) > 10
        assert list(again["text"]) == list(trained)


def test_future_events_change_no_setting_and_no_text_before_them(tmp_path: Path) -> None:
    validation = datetime(2026, 1, 25)
    canaries = [
        event(f"s{n:02d}", validation + timedelta(hours=n % 30), "browse", "canary", category=f"canary {n}", price=9e4)
        for n in range(40)
        for _ in range(9)
    ]
    plain = staged(tmp_path / "a", shop(), little_config())
    planted = staged(tmp_path / "b", [*shop(), *canaries], little_config())
    assert [(made["verbalize"].path / "text.json").read_bytes() for made in (plain, planted)] == [
        (plain["verbalize"].path / "text.json").read_bytes()
    ] * 2
    before, after = (texts_in(made["verbalize"]) for made in (plain, planted))
    early = before["cutoff"] <= validation
    assert list(before[early]["text"]) == list(after[after["cutoff"] <= validation]["text"])
    assert list(before[~early]["text"]) != list(after[after["cutoff"] > validation]["text"])


def test_feature_words_can_be_left_out(tmp_path: Path) -> None:
    made = staged(tmp_path, shop(), little_config(text__feature_words=False, text__style="sentence"))
    assert texts_in(made["verbalize"])["text"].str.endswith(" purchases.").sum() > 10
    assert TextSettings.load(made["verbalize"].path / "text.json").bins == {}


def question_of(folder: Path, events: list[Event], product: str, how: TextSettings | None = None) -> str:
    """The text about shopper `s` and one product."""
    folder.mkdir(parents=True, exist_ok=True)
    log = clean_log(folder, events, buckets=1)
    examples = f"""
        SELECT 's@x#' || product_id AS example, 's' AS shopper, product_id, 'test' AS split,
               TIMESTAMP '{CUTOFF}' AS cutoff, 1 AS label, 0.0::DOUBLE AS amount, 1::DOUBLE AS weight
        FROM (SELECT DISTINCT product_id FROM (VALUES ('p1'), ('p2'), ('{product}')) AS t(product_id))
    """
    write_parquet(connect(), examples, folder / "examples.parquet")
    asked = FeatureSettings(lookback_days=365, horizon_days=7, timezone="UTC", unit="shopper_product")
    make_features(folder / "examples.parquet", log, folder / "features.parquet", asked)
    chosen = (how or settings()).model_copy(update={"unit": "shopper_product"})
    write_texts(folder / "features.parquet", open_events(log)[0], folder / "texts.parquet", chosen)
    query = f"SELECT {TEXT_SQL} FROM read_parquet({quote(folder / 'texts.parquet')}) WHERE example = 's@x#{product}'"
    return CLOCK.sub("", str(connect().execute(query).fetchall()[0][0]))


ASKED = [
    event("s", "2026-02-01 09:00", "browse", "p9", category="toys"),
    event("s", "2026-02-27 10:00", "browse", "p2", category="shoes"),
    event("s", "2026-02-27 10:01", "click", "p1"),
    event("s", "2026-02-27 10:02", "browse", "p2", category="shoes"),
]


def test_a_question_names_the_product_as_the_text_does(tmp_path: Path) -> None:
    story = "User A browsed product B (other), 3 weeks later browsed product C (shoes), clicked product D, "
    story += "then browsed product C, 2 days ago. Profile: no purchases."
    # Asked or not, the history is told in the same words.
    assert text_of(tmp_path / "none", ASKED) == story
    assert question_of(tmp_path / "c", ASKED, "p2") == story + " Purchases product C (shoes) next?"
    assert question_of(tmp_path / "d", ASKED, "p1") == story + " Purchases product D next?"
    assert question_of(tmp_path / "b", ASKED, "p9") == story + " Purchases product B (other) next?"


def test_a_question_about_a_product_that_the_text_leaves_out(tmp_path: Path) -> None:
    short = settings(last_events=2)
    found = question_of(tmp_path / "p9", ASKED, "p9", short)
    assert found.endswith("ago. Profile: no purchases. Purchases another product (other) next?")
    assert question_of(tmp_path / "p2", ASKED, "p2", short).endswith(" Purchases product C (shoes) next?")


def test_a_question_knows_no_later_category(tmp_path: Path) -> None:
    later = [
        event("s", CUTOFF, "browse", "p1", category="shoes"),
        event("t", "2026-02-01", "click", "p1", category="x"),
    ]
    assert question_of(tmp_path, [*ASKED, *later], "p1").endswith(" Purchases product D next?")


def test_the_stage_asks_about_every_candidate(tmp_path: Path) -> None:
    config = little_config(
        examples__unit="shopper_product", examples__lookback_days=20, text__style="sentence", text__named_products=3
    )
    log = clean_log(tmp_path, shop())
    examples = run("cutoffs", cutoffs_stage, config, [log], tmp_path)
    features = run("features", features_stage, config, [examples, log], tmp_path)
    made = run("verbalize", verbalize_stage, config, [features, log], tmp_path)
    texts = texts_in(made)
    assert (
        texts["text"]
        .str.contains(r" Purchases (?:product [A-Z]+|product top-\d|another product)(?: \([^)]+\))? next\?$")
        .all()
    )
    assert texts["text"].str.contains(" this-recency-q").all()
    told = texts.drop(columns=["parts", "text"])
    assert told.equals(table(examples.path / "examples")[list(told.columns)])
    assert TextSettings.load(made.path / "text.json").unit == "shopper_product"
