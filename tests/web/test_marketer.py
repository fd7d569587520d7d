"""The marketer's page: who sees what, in both languages, whatever the shop's names hold."""

import csv
import io
import json
import os
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
from starlette.testclient import TestClient

from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.base.page import shown_number
from behavior_tasks.data.keys import KEY_VARIABLE
from behavior_tasks.pipeline.export import read_exports
from behavior_tasks.registry.actions import read_actions
from behavior_tasks.serve.audiences_budget import pick_budget
from behavior_tasks.serve.audiences_profit import worth_of
from behavior_tasks.serve.audiences_rules import Costs
from behavior_tasks.serve.audiences_taken import taken_lists
from behavior_tasks.serve.served import find_served
from behavior_tasks.web.marketer_download import csv_text
from tests.web.door import ANONYMOUS, client
from tests.web.marketer_world import DAY, FORMULA, HARM, HOLDOUT, scored_once, serve_audiences, serve_products

ROOT = "/behavior/marketing"
PAGES = (
    "",
    "/audience/likely",
    "/audience/alone",
    "/audience/whales",
    "/budget",
    "/campaigns",
    "/recommendations",
    "/demand",
)
KEY = bytes(range(32))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("marketer") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, KEY.hex())
        serve_audiences(Home(root))
        serve_products(Home(root))
        scored_once(Home(root))
    return root


@pytest.fixture
def home(served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A copy that may be changed."""
    for name in ("served", "runs"):
        shutil.copytree(served / name, tmp_path / "home" / name)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setenv(KEY_VARIABLE, KEY.hex())
    return Home(tmp_path / "home")


def text_of(page: str) -> str:
    """Return what a reader sees: no markup, and nothing that is marked as English."""
    page = re.sub(r'(?s)<(\w+)[^>]* lang="en"[^>]*>.*?</\1>', " ", page)
    page = re.sub(r"(?s)<(style|script|code|svg|head)\b.*?</\1>", " ", page)
    return re.sub(r"<[^>]+>", " ", page)


def form_of(who: TestClient, path: str) -> dict[str, str]:
    """Return the fields of the form that takes a list away."""
    page = who.get(f"{ROOT}{path}").text
    form = re.search(r'(?s)<form method="post"[^>]*class="take">(.*?)</form>', page)
    assert form is not None
    return dict(re.findall(r'<input type="hidden" name="(\w+)"[^>]* value="([^"]*)"', form[1]))


def cells_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_part_opens_and_no_name_becomes_markup(home: Home, path: str, language: str) -> None:
    found = client("viewer").get(f"{ROOT}{path}?lang={language}")
    assert found.status_code == 200
    assert "alert(" not in found.text.replace("alert(&#34;", "")
    assert "<script>" not in found.text
    assert " style=" not in found.text
    assert "/marketing/risk" not in found.text


@pytest.mark.parametrize("path", [*PAGES, "/risk"])
def test_the_chinese_page_holds_no_english_words(home: Home, path: str) -> None:
    told = text_of(client("op").get(f"{ROOT}{path}?lang=zh").text)
    # Names of the shop, of accounts, of Airflow and of settings stay as they are.
    for name in (HARM, HARM.replace("<", "&lt;"), "English", "Behavior", "CSV", "DAG", "likely", "toys", "B", "op"):
        told = told.replace(name, " ")
    words = set(re.findall(r"[A-Za-z]{3,}", told)) - {
        "lt",
        "gt",
        "script",
        "alert",
        "whales",
        "Whales",
        "bought",
        "Asia",
        "Shanghai",
        "UTC",
        "quot",
        "amp",
    }
    assert not words


def test_figures_stand_on_the_page_with_their_intervals(home: Home) -> None:
    served = find_served(home, "audiences")
    assert served is not None
    told = served.facts["audiences"][0]
    page = client("viewer").get(ROOT).text
    for figure in (f"{told['contacts']:,}", f"{told['control']:,}", shown_number(told["buyers"]["expected"])):
        assert f">{figure}<" in page
    assert shown_number(told["amount"]["upper"]) in page
    journeys = client("viewer").get(f"{ROOT}/audience/likely?lang=zh").text
    assert "用户A浏览了商品B。" in journeys
    assert "购物车里还有 2 件" in journeys


def test_banners_are_told_in_plain_words_with_their_figures_behind(home: Home) -> None:
    page = client("viewer").get(ROOT).text
    assert "The model is stale: it was tested long ago." in page
    assert "It is stale: 99 days." in page
    assert "Said as it stands." in page
    assert "模型已过期" in client("viewer").get(f"{ROOT}?lang=zh").text


@pytest.mark.parametrize(
    "costs", [{}, {"contact_cost": 0.5, "margin": 0.3}, {"contact_cost": 0.2, "value_of_sale": 3}], ids=str
)
@pytest.mark.parametrize("contacts", [1, 37, 400])
def test_the_sliders_figures_are_those_of_the_command(home: Home, contacts: int, costs: dict[str, float]) -> None:
    served = find_served(home, "audiences")
    assert served is not None
    asked = Costs(**costs)
    picked = pick_budget(served, KEY, campaign="budget", contacts=contacts, costs=asked, holdout=HOLDOUT)
    worth = worth_of(picked.of_group("contact"), asked)
    query = {"contacts": contacts, **costs}
    told = client("viewer").get(f"{ROOT}/budget/answer", params=query).json()
    page = client("viewer").get(f"{ROOT}/budget", params=query).text
    figures = told["figures"]
    assert figures["contacts"] == f"{worth.shoppers:,}"
    assert figures["control"] == f"{len(picked.of_group('control')):,}"
    for name in ("buyers", "amount", "profit"):
        estimate = getattr(worth, name)
        shown = [shown_number(value).replace("-", "−") for value in asdict(estimate).values()] if estimate else None
        assert figures[name] == ("–" if shown is None else f"{shown[0]} ({shown[1]} to {shown[2]})")
        assert f'id="figure-{name}">{figures[name]}<' in page


def test_what_is_typed_wrong_is_said_in_the_form_and_stays_there(home: Home) -> None:
    page = client("viewer").get(f"{ROOT}/budget?contacts=-3&margin=7&contact_cost=abc").text
    for words in ("must be a whole number from 1", "at most 1.", "must be a number from 0."):
        assert words in page
    assert 'value="abc"' in page
    both = client("viewer").get(f"{ROOT}/budget/answer?margin=0.2&value_of_sale=3").json()
    assert both["problems"] == ["Give a margin or what a purchase brings, not both."]
    alone = client("viewer").get(f"{ROOT}/budget/answer?contact_cost=1&lang=zh").json()
    assert alone["problems"] == ["仅有联系成本不够：还需填写毛利率或每笔购买的收益。"]


def test_a_list_is_taken_without_its_control_kept_and_logged(home: Home) -> None:
    who = client("viewer")
    form = form_of(who, "/audience/likely")
    given = who.post(f"{ROOT}/download", data={**form, "part": "contact"})
    control = who.post(f"{ROOT}/download", data={**form, "part": "control"})
    assert given.status_code == control.status_code == 200
    assert given.content.startswith(b"\xef\xbb\xbf")
    assert f"likely-{DAY}-contact.csv" in given.headers["content-disposition"]
    served = find_served(home, "audiences")
    assert served is not None
    members = pd.read_parquet(served.folder / "members.parquet")
    groups = members[members["audience"] == "likely"].groupby("group")["shopper"].agg(list)
    assert [row["shopper"] for row in cells_of(given.content)] == groups["contact"]
    assert [row["shopper"] for row in cells_of(control.content)] == groups["control"]
    (kept,) = taken_lists(home)
    assert (kept.record.taken_by, kept.record.audience) == ("viewer", "likely")
    assert [(line["who"], line["what"]["part"], line["what"]["rows"]) for line in read_actions(home)] == [
        ("viewer", "contact", len(groups["contact"])),
        ("viewer", "control", len(groups["control"])),
    ]
    page = client("viewer").get(f"{ROOT}/campaigns").text
    assert "Taken by viewer on " in page
    assert "(Asia/Shanghai)" in page
    assert "Not over yet: purchases count before 2026-03-08" in page


def test_a_budgets_list_is_a_campaign_and_another_of_the_same_name_is_refused(home: Home) -> None:
    who = client("user")
    form = form_of(who, "/budget?contacts=50&contact_cost=0.1&margin=0.3")
    assert (form["contacts"], form["margin"]) == ("50", "0.3")
    given = who.post(f"{ROOT}/download", data={**form, "campaign": "spring", "part": "contact"})
    assert len(cells_of(given.content)) == 50
    other = {**form, "campaign": "spring", "part": "contact", "contacts": "20"}
    refused = who.post(f"{ROOT}/download", data=other)
    assert refused.status_code == 409
    assert "was taken away before" in refused.text
    assert who.post(f"{ROOT}/download", data={**other, "instead": "yes"}).status_code == 200
    for odd in ({"campaign": "Not A Name"}, {"contacts": "abc"}, {"margin": "9"}, {"audience": "nobody"}):
        assert who.post(f"{ROOT}/download", data={**other, "campaign": "summer", **odd}).status_code == 409
    assert [kept.record.number for kept in taken_lists(home)] == [2]


def test_no_cell_can_become_a_formula(home: Home) -> None:
    bad = [FORMULA, "+1", "-1", "@SUM(A1)", "\tx", "\rx", "fine=1", 'a "quote"', "中文", "two\nlines"]
    members = pd.DataFrame({"place": range(1, 11), "user_id": bad, "probability": 0.5, "profit": -2.5, "reason": None})
    text = csv_text(members)
    rows = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    assert text[0] == "\ufeff"
    assert rows[0] == ["place", "user_id", "probability", "profit"]
    cells = [row[1] for row in rows[1:]]
    assert cells == [f"'{one}" for one in bad[:6]] + bad[6:]
    assert {row[3] for row in rows[1:]} == {"-2.5"}, "our own figures stay figures"


def test_only_who_may_decide_sees_risk_and_real_ids(home: Home) -> None:
    for role in ("viewer", "user"):
        who = client(role)
        assert who.get(f"{ROOT}/risk").status_code == 403
        form = {**form_of(who, "/audience/likely"), "part": "contact"}
        assert who.post(f"{ROOT}/download/real", data=form).status_code == 403
    for role in ("op", "admin"):
        found = client(role).get(f"{ROOT}/risk")
        assert found.status_code == 200
        assert "spent 183 times" in found.text
        assert "bought &lt;b&gt;B&lt;/b&gt;" in found.text
        assert f"{ROOT}/risk" in client(role).get(ROOT).text
    # Nothing was scored here, so nobody knows the log: an op is told so, and nothing is kept.
    who = client("op")
    refused = who.post(f"{ROOT}/download/real", data={**form_of(who, "/audience/likely"), "part": "contact"})
    assert refused.status_code == 409
    assert not taken_lists(home)
    assert not read_actions(home)
    assert client(ANONYMOUS).get(f"{ROOT}/risk").status_code == 303
    assert client(ANONYMOUS).get(f"{ROOT}/budget/answer").status_code == 401


def test_a_form_counts_only_with_its_token(home: Home) -> None:
    who = client("viewer")
    form = {**form_of(who, "/audience/likely"), "part": "contact"}
    for token in ("", "0" * 64):
        assert who.post(f"{ROOT}/download", data={**form, "csrf": token}).status_code == 403
    assert not taken_lists(home)


def test_what_is_damaged_says_so_and_the_rest_still_shows(home: Home) -> None:
    (home.served / "demand" / f"date={DAY}" / "demand.parquet").write_bytes(b"half")
    damaged = client("viewer").get(f"{ROOT}/demand?lang=zh")
    assert damaged.status_code == 200
    assert "此部分无法显示" in damaged.text
    assert "demand.parquet is missing or has another size" in damaged.text
    assert "Products on most lists" in client("viewer").get(f"{ROOT}/recommendations").text
    (home.served / "audiences" / f"date={DAY}" / "served.json").write_text("{}")
    for path in ("", "/budget", "/audience/likely"):
        assert client("viewer").get(f"{ROOT}{path}").status_code == 200


@pytest.mark.parametrize("path", [*PAGES, "/risk"])
def test_before_anything_is_scored_the_next_step_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "nothing"))
    found = client("op").get(f"{ROOT}{path}")
    assert found.status_code == 200
    if path == "/campaigns":
        assert "There are no campaigns yet" in found.text
    else:
        assert "behavior score" in found.text
        assert 'href="/dags/behavior_scoring"' in found.text
        assert 'href="/dags/behavior_scoring"' not in client("viewer").get(f"{ROOT}").text
    assert not (tmp_path / "nothing").exists()


def test_a_list_that_is_not_there_is_named_with_the_nearest(home: Home) -> None:
    found = client("viewer").get(f"{ROOT}/audience/likly")
    assert found.status_code == 409
    assert "open likely on the page" in found.text


def test_what_was_handed_out_long_ago_is_stale(home: Home) -> None:
    record = home.served / "demand" / f"date={DAY}" / "served.json"
    old = record.stat().st_mtime - 9 * 86_400
    os.utime(record, (old, old))
    assert "this was handed out 9 days ago" in client("viewer").get(f"{ROOT}/demand").text
    assert "days ago, and nothing since" not in client("viewer").get(f"{ROOT}/recommendations").text


@pytest.fixture
def guarded(home: Home) -> Home:
    """The same, where nothing is told of fewer than 20 people."""
    shutil.rmtree(home.runs)
    scored_once(home, least=20)
    return home


def test_no_two_answers_of_the_slider_differ_by_a_few_people(guarded: Home) -> None:
    who = client("viewer")
    told = {n: who.get(f"{ROOT}/budget/answer?contacts={n}").json() for n in (19, 20, 39, 40, 41, 400)}
    assert told[19]["figures"]["contacts"] == "fewer than 20"
    assert told[19]["figures"]["buyers"] == "–"
    assert told[20] == told[39]
    assert told[40] == told[41] != told[39]
    served = find_served(guarded, "audiences")
    assert served is not None
    worths = [who.get(f"{ROOT}/budget/answer?contact_cost={0.1 * n}&value_of_sale=3").json() for n in range(1, 12)]
    for answer in [*told.values(), *worths]:
        for name in ("contacts", "control"):
            figure = answer["figures"][name]
            assert figure in ("0", "fewer than 20") or int(figure.replace(",", "")) % 20 == 0
    page = who.get(f"{ROOT}/budget").text
    assert re.search(r'type="range" min="20" max="\d+" step="20"', page)
    given = who.post(f"{ROOT}/download", data={**form_of(who, "/budget?contacts=59"), "campaign": "spring"})
    assert len(cells_of(given.content)) == 40


def test_only_who_may_decide_gets_a_list_that_is_nearly_one_taken_before(guarded: Home) -> None:
    viewer, op = client("viewer"), client("op")
    path = "/audience/likely"
    assert viewer.post(f"{ROOT}/download", data={**form_of(viewer, path), "part": "contact"}).status_code == 200
    (kept,) = taken_lists(guarded)
    # Another date's list is the same but for one shopper.
    served = find_served(guarded, "audiences")
    assert served is not None
    members = pd.read_parquet(served.folder / "members.parquet")
    gone = members[members["audience"] == "likely"]["shopper"].iloc[-1]
    day = DAY.replace(day=2)
    shutil.copytree(served.folder, served.folder.with_name(f"date={day}"))
    record = served.folder.with_name(f"date={day}") / "served.json"
    file = record.with_name("members.parquet")
    members[members["shopper"] != gone].to_parquet(file)
    told = json.loads(record.read_text(encoding="utf-8"))
    told |= {"as_of": day.isoformat(), "files": told["files"] | {"members.parquet": file.stat().st_size}}
    record.write_text(json.dumps(told), encoding="utf-8")
    asked = {**form_of(viewer, path), "part": "contact"}
    refused = viewer.post(f"{ROOT}/download", data=asked)
    assert refused.status_code == 409
    assert "differs by fewer than 20 people" in refused.text
    assert viewer.post(f"{ROOT}/download", data={**asked, "reason": "because"}).status_code == 403
    assert 'name="reason"' not in viewer.get(f"{ROOT}{path}").text
    assert 'name="reason"' in op.get(f"{ROOT}{path}").text
    assert taken_lists(guarded) == [kept]
    given = op.post(f"{ROOT}/download", data={**form_of(op, path), "part": "contact", "reason": "one was erased"})
    assert given.status_code == 200
    line = read_exports(guarded)[-1]
    assert (line["who"], line["reason"], line["part"]) == ("op", "one was erased", "contact")


def test_of_a_few_people_the_page_tells_nothing(home: Home) -> None:
    shutil.rmtree(home.runs)
    scored_once(home, least=101)
    who = client("viewer")
    served = find_served(home, "audiences")
    assert served is not None
    likely = served.facts["audiences"][0]
    assert 0 < likely["contacts"] < 101
    for path in ("", "/audience/likely"):
        for language, words in (("en", "ewer than 101"), ("zh", "少于 101")):
            page = who.get(f"{ROOT}{path}?lang={language}").text
            assert words in page
            assert f">{likely['contacts']}<" not in page
            assert shown_number(likely["amount"]["upper"]) not in page
            assert "用户A浏览了商品B。" not in page
    form = {**dict.fromkeys(("contacts", "margin"), ""), "as_of": str(DAY), "audience": "likely"}
    csrf = re.search(r'name="csrf" value="(\w+)"', who.get(f"{ROOT}/budget?contacts=200").text)
    assert csrf is not None
    refused = who.post(f"{ROOT}/download", data={**form, "csrf": csrf[1], "part": "control"})
    assert refused.status_code == 409
    assert "too few people" in refused.text
    # One product stands on 90 lists, the other on 10.
    assert "<code>p1</code>" not in who.get(f"{ROOT}/recommendations").text
