"""Both styles and both languages tell one content; the words that are one token, and where parts may meet."""

import re
from itertools import pairwise, permutations
from pathlib import Path

import pytest

from behavior_tasks.base.tables import connect, quote
from behavior_tasks.text.parts import BLANK, BRACKET, part_edges
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.text.words import BRACKETED, StyleName, load_templates
from tests.examples.little import Event, event
from tests.text.test_verbalize import ASKED, HISTORY, question_of, settings, texts_of

STYLES = [(style, language) for style in ("sentence", "compact") for language in ("en", "zh")]
LOG = [
    *HISTORY,
    event("s", "2026-02-28 09:00", "search", None, query="red mug * joan"),
    event("s", "2026-02-28 09:01", "search", None, query="red mug"),
    event("s", "2026-02-28 09:02", "browse", "x7", price=12.4),
    event("s", "2026-02-28 09:02", "browse", "x8", price=13.0),
]


def told(style: str, language: str, **changes: object) -> TextSettings:
    return settings(
        **{
            "style": style,
            "language": language,
            "templates": load_templates(language),
            "bins": {"events": [1.0, 13.0, 20.0], "overdue": [0.1]},
            "amount_edges": [1.0, 50.0, 100.0],
            "price_edges": [10.0, 12.7],
            "products": {"x7": "mug"},
            "query_words": ["mug", "red"],
            **changes,
        }
    )


GOLDEN = {
    ("sentence", "en"): (
        "Earlier, over 2 weeks: browsed once, searched once, clicked once, added once to cart, purchased once for 120 "
        "each, mostly shoes. User A on Thursday at 23:00 returned product B (home-garden) for 0.5, 1 day later on "
        "Saturday at 9:00 searched 2 times for red mug, then browsed products mug, C at 13, 1 day ago. "
        "Profile: female, 25-34, two purchases. Features: events-q3 overdue-q2."
    ),
    ("sentence", "zh"): (
        "更早，2周间：浏览了一次，搜索了一次，点击了一次，加购了一次，购买了一次，每次花费120，多为shoes。"
        "用户A周四23点退回了商品B（home-garden），花费0.5，1天后周六9点搜索了2次“red、mug”，"
        "然后浏览了商品mug、C，单价13，距今1天。画像：female，25至34岁，购买两次。特征：行为数第3档、逾期第2档。"
    ),
    ("compact", "en"): (
        "[older][2-weeks][browse][x1][search][x1][click][x1][cart][x1][buy][x1][amount-q4] shoes"
        "[thu][23h][return] B home-garden[amount-q1][1-day][sat][9h][search][x2] red mug[browse] mug C[price-q2]"
        "[now][1-day][profile] female[age-25-34][bought-twice][events-q3][overdue-q2]"
    ),
    ("compact", "zh"): (
        "[更早][2周][浏览][1次][搜索][1次][点击][1次][加购][1次][购买][1次][金额4档]shoes"
        "[周四][23点][退货]B（home-garden）[金额1档][1天][周六][9点][搜索][2次]“red、mug”[浏览]mug、C[价格2档]"
        "[距今][1天][画像]female[25至34岁][买过两次][行为数3档][逾期2档]"
    ),
}


def parts_of(folder: Path, how: TextSettings, log: list[Event] = LOG) -> list[str]:
    """The parts of the text of shopper `s`."""
    texts_of(folder, log, how)
    query = f"SELECT parts FROM read_parquet({quote(folder / 'texts.parquet')}) WHERE shopper = 's'"
    return list(connect().execute(query).fetchall()[0][0])


def text(folder: Path, how: TextSettings, log: list[Event] = LOG) -> str:
    return "".join(parts_of(folder, how, log))


@pytest.mark.parametrize(("style", "language"), STYLES)
def test_the_words_of_each_style_and_language(tmp_path: Path, style: StyleName, language: str) -> None:
    how = told(style, language, last_events=3)
    parts = parts_of(tmp_path, how)
    assert "".join(parts) == GOLDEN[style, language]
    assert_parts_meet_where_words_end(parts)
    bracketed = set(BRACKETED.findall(GOLDEN[style, language]))
    assert bracketed <= set(how.special_tokens())
    assert bool(bracketed) is (style == "compact")
    if style == "sentence":
        assert how.special_tokens() == []


def assert_parts_meet_where_words_end(parts: list[str]) -> None:
    """Between two parts a blank begins, a bracketed word begins or ends, or letters and punctuation meet."""
    for left, right in pairwise(parts):
        begins, ends = part_edges(right)[0], part_edges(left)[1]
        assert begins in (BLANK, BRACKET) or ends == BRACKET or begins != ends, (left, right)
        assert left
        assert right


QUESTIONS = {
    ("sentence", "en"): " Purchases product C (shoes) next?",
    ("sentence", "zh"): "接下来会购买商品C（shoes）吗？",
    ("compact", "en"): "[next] C shoes",
    ("compact", "zh"): "[接下来]C（shoes）",
}


@pytest.mark.parametrize(("style", "language"), STYLES)
def test_the_question_comes_last(tmp_path: Path, style: StyleName, language: str) -> None:
    assert question_of(tmp_path, ASKED, "p2", told(style, language)).endswith(QUESTIONS[style, language])
    named = question_of(tmp_path / "named", ASKED, "p1", told(style, language, products={"p1": "mug"}))
    assert named.endswith(
        QUESTIONS[style, language].replace("C (shoes)", "mug").replace("C（shoes）", "mug").replace("C shoes", "mug")
    )


def test_the_parts_come_in_the_order_of_the_settings(tmp_path: Path) -> None:
    names = ("older", "events", "profile", "features")
    opening = {"older": "Earlier,", "events": "User A on", "profile": "Profile:", "features": "Features:"}
    for number, order in enumerate(list(permutations(names))[::5]):
        written = text(tmp_path / str(number), told("sentence", "en", last_events=3, order=order))
        places = [written.index(opening[name]) for name in order]
        assert places == sorted(places)
        assert places[0] == 0


def test_days_and_hours_are_those_of_the_logs_zone(tmp_path: Path) -> None:
    log = [
        event("s", "2026-02-27 16:30", "browse", "a"),
        event("s", "2026-02-28 15:59:59.999999", "click", "a"),
        event("s", "2026-02-28 16:40", "browse", "a"),
    ]
    clock = re.compile(r"\[(\w{3})\]\[(\d+)h\]")

    def clocks(zone: str) -> list[tuple[str, str]]:
        return clock.findall(text(tmp_path / zone, told("compact", "en", timezone=zone), log))

    assert clocks("UTC") == [("fri", "16"), ("sat", "15"), ("sat", "16")]
    assert clocks("Asia/Shanghai") == [("sat", "0"), ("sat", "23"), ("sun", "0")]
    assert clocks("Asia/Kolkata") == [("fri", "22"), ("sat", "21"), ("sat", "22")]


def test_a_session_tells_its_hour_once(tmp_path: Path) -> None:
    log = [
        event("s", f"2026-02-28 09:{minute:02d}", action)
        for minute, action in enumerate(("browse", "click", "purchase"))
    ]
    assert text(tmp_path, told("compact", "en", bins={}), log).startswith("[sat][9h][browse] B[click] B[buy] B[now]")


def test_the_price_of_what_was_not_bought_and_the_amount_of_what_was(tmp_path: Path) -> None:
    log = [
        event("s", "2026-02-28 09:00", "browse", "a", price=12.0),
        event("s", "2026-02-28 09:01", "browse", "b", price=14.0),
        event("s", "2026-02-28 09:02", "purchase", "a", price=12.0, amount=48.0),
        event("s", "2026-02-28 09:03", "purchase", "b", price=14.0, amount=14.0),
    ]
    assert "browsed products B, C at 13, then purchased products B, C for 62, 1" in text(
        tmp_path / "a", told("sentence", "en"), log
    )
    # An amount at an edge lies below it, as a feature does.
    how = told("compact", "en", amount_edges=[61.9, 62.0], price_edges=[13.0])
    assert "[browse] B C[price-q1][buy] B C[amount-q2][now]" in text(tmp_path / "b", how, log)


def test_older_history_counts_what_the_phrases_leave_out(tmp_path: Path) -> None:
    log = [
        *(event("s", f"2026-02-{day:02d} 10:00", "browse", f"p{day}", category="toys") for day in range(1, 13)),
        *(
            event("s", f"2026-02-{day:02d} 10:01", "purchase", f"p{day}", category="shoes", amount=day)
            for day in (3, 5)
        ),
        event("s", "2026-02-20 10:00", "click", "p1"),
    ]
    how = told("sentence", "en", last_events=1, bins={}, categories=["shoes", "toys"])
    written = text(tmp_path / "all", how, log)
    assert written.startswith(
        "Earlier, over 11 days: browsed 12 times, purchased 2 times for 4 each, mostly toys, shoes. User A on "
    )
    # Of other categories none is a favourite; what the lookback leaves out is not counted.
    short = text(tmp_path / "short", how.model_copy(update={"lookback_days": 20, "categories": ["shoes"]}), log)
    assert short.startswith("Earlier, over 2 days: browsed 3 times. User A on Friday at 10:00 clicked product B, ")
    assert text(tmp_path / "none", how.model_copy(update={"last_events": 99}), log).startswith("User A on ")


def test_a_search_tells_only_words_that_many_use(tmp_path: Path) -> None:
    def search(query: str | None, **changes: object) -> str:
        where = tmp_path / str(len(list(tmp_path.iterdir())))
        found = text(where, told("sentence", "en", **changes), [event("s", "2026-02-28", "search", None, query=query)])
        return found.partition("searched")[2].partition(", 2 days ago")[0]

    assert search("red mug joan *") == " for red mug hidden"
    assert search("joan *") == ""
    assert search(None) == ""
    assert search("red red mug", query_words=["red"]) == " for red"


def test_the_last_of_several_searches_is_told(tmp_path: Path) -> None:
    log = [event("s", f"2026-02-28 09:0{n}", "search", None, query=q) for n, q in enumerate(("mug", "red mug", None))]
    assert "[search][x4] red mug[now]" in text(
        tmp_path, told("compact", "en"), [*log, event("s", "2026-02-28 09:01", "search", None)]
    )


def test_of_many_products_one_with_a_name_is_told(tmp_path: Path) -> None:
    products = {"p6": "mug", "p3": "cup", "p8": "jar"}
    log = [event("s", f"2026-02-28 09:0{n}", "purchase", f"p{n % 10}", amount=1.0) for n in (1, 3, 2, 6, 3, 8)]
    how = told("sentence", "en", products=products, bins={})
    assert "purchased 5 products with cup for 6, 1 day ago" in text(tmp_path / "a", how, log)
    assert "购买了5件商品，其中有cup，花费6，距今1天" in text(
        tmp_path / "b", told("sentence", "zh", products=products), log
    )
    without = how.model_copy(update={"products": {}})
    assert "purchased 5 products for 6, 1 day ago" in text(tmp_path / "c", without, log)
    # Cut by the lookback in the middle of the phrase, it tells what is left.
    later = [event("s", f"2026-03-01 23:{n:02d}", "browse", f"p{n % 9}") for n in range(12)]
    cut = [
        event("s", "2026-02-28 23:59", "browse", "p8"),
        *(event("s", f"2026-03-01 00:0{n}", "browse", f"p{n}") for n in range(5)),
    ]
    short = how.model_copy(update={"lookback_days": 1, "last_events": 9})
    assert "browsed 5 products with cup, hours later" in text(tmp_path / "d", short, [*cut, *later])


def test_a_popular_product_goes_by_name_and_others_by_letter(tmp_path: Path) -> None:
    log = [
        event("s", "2026-02-28 09:00", "browse", "x1", category="shoes"),
        event("s", "2026-02-28 09:01", "browse", "x7", category="shoes"),
        event("s", "2026-02-28 09:02", "click", "x2", category="rare"),
        event("s", "2026-02-28 09:03", "click", "x7"),
        event("s", "2026-02-28 09:04", "click", "x1"),
    ]
    assert "[browse] B shoes mug shoes[click] C other mug B[now]" in text(tmp_path, told("compact", "en"), log)
