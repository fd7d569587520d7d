"""Audiences from a served shop: the stage, what is handed out, budgets, lift and export, with real parts."""

import io
import json
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from behavior_tasks.base.artifacts import ArtifactStore, Output
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.data.events import open_events
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.keys import KEY_VARIABLE, identity_key
from behavior_tasks.pipeline.later import same_key
from behavior_tasks.pipeline.lift import campaign_lift, campaign_states
from behavior_tasks.serve.audiences_backtest import choose_way
from behavior_tasks.serve.audiences_budget import pick_budget
from behavior_tasks.serve.audiences_curve import CAMPAIGN, Curve
from behavior_tasks.serve.audiences_facts import facts_at, outcomes_at
from behavior_tasks.serve.audiences_files import read_journeys
from behavior_tasks.serve.audiences_profit import worth_of
from behavior_tasks.serve.audiences_rules import Costs
from behavior_tasks.serve.audiences_way import Way
from behavior_tasks.serve.moment import moment_at
from behavior_tasks.serve.served import Served, publish
from behavior_tasks.web.marketer_campaigns import measure, measured
from behavior_tasks.web.marketer_download import Wanted, take_list
from tests.cli.typing_in import exit_code
from tests.serve.office import RULES, Office
from tests.serve.world import ServedShop

READ: dict[str, Any] = {"run_id": "lift-test", "day": date(2026, 11, 23)}


@pytest.fixture(scope="module")
def office(shop: ServedShop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    root = tmp_path_factory.mktemp("office")
    shutil.copytree(shop.home.root, root / "home")
    (root / "rules.yaml").write_text(RULES, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(root / "home"))
        patch.delenv(KEY_VARIABLE, raising=False)
        yield Office(shop=shop, home=Home(root / "home"), rules=root / "rules.yaml")


@pytest.fixture(scope="module")
def earlier(office: Office) -> Served:
    """A list whose horizon is over; the champion has learned from what came before it, so it can't be tested."""
    days = office.shop.champion("shopper").examples.horizon_days
    return office.serve(office.shop.moment.as_of - timedelta(days=days))


@pytest.fixture(scope="module")
def newest(office: Office, earlier: Served) -> Served:
    return office.serve(None)


def by_name(served: Served) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in served.facts["audiences"]}


def members_of(served: Served) -> pd.DataFrame:
    return pd.read_parquet(served.folder / "members.parquet")


def test_facts_are_those_that_the_features_tell(shop: ServedShop) -> None:
    features = pd.concat(map(pd.read_parquet, sorted((shop.run.need("features").path / "examples").glob("*"))))
    features = features[features["split"] == "test"].set_index("shopper")
    day = pd.Timestamp(features["cutoff"].iloc[0]).date()
    lookback = shop.champion("shopper").examples.lookback_days
    found = facts_at(shop.events, moment_at(day, "UTC"), lookback, has_amounts=True).set_index("shopper")
    assert found.index.tolist() == sorted(features.index)
    features = features.loc[found.index]
    same = {
        "days_since_event": "recency_days",
        "days_since_purchase": "purchase_recency_days",
        "days_since_cart": "cart_recency_days",
        "visits": "active_days",
        "events": "events",
        "past_purchases": "purchases",
        "past_spend": "spend",
    }
    for mine, theirs in same.items():
        pd.testing.assert_series_equal(found[mine].astype(float), features[theirs].astype(float), check_names=False)
    # The feature counts events, the fact products.
    assert ((found["open_carts"] > 0) == (features["open_carts"] > 0)).all()
    end = features["cutoff"].iloc[0] + shop.champion("shopper").horizon
    bought = outcomes_at(shop.events, features["cutoff"].iloc[0], end).set_index("shopper")["amount"]
    assert sorted(bought.index.intersection(found.index)) == sorted(features.index[features["label"] == 1])
    pd.testing.assert_series_equal(
        bought.reindex(found.index).fillna(0.0), features["amount"], check_names=False, rtol=1e-9
    )


def test_lists_hold_who_fits_once_and_the_control_apart(earlier: Served) -> None:
    told, members = by_name(earlier), members_of(earlier)
    assert not members["shopper"].duplicated().any()
    assert earlier.facts["scored"] == len(pd.read_parquet(earlier.folder / "shoppers.parquet"))
    assert earlier.facts["on_lists"] == len(members)
    table = pd.read_parquet(earlier.folder / "shoppers.parquet").set_index("shopper")
    carts = table[(table["open_carts"] >= 1) & (table["days_since_cart"] <= 20)]
    assert set(members.loc[members["audience"] == "carts", "shopper"]) == set(carts.index)
    for name in ("carts", "likely"):
        lists = {group: pd.read_csv(earlier.folder / name / f"{group}.csv") for group in ("contact", "control")}
        assert not set(lists["contact"]["shopper"]) & set(lists["control"]["shopper"])
        assert len(lists["contact"]) == told[name]["contacts"]
        assert len(lists["control"]) == told[name]["control"] > 0
        assert lists["contact"]["probability"].is_monotonic_decreasing
        assert lists["contact"]["place"].is_monotonic_increasing
    assert told["likely"]["elsewhere"] > 0
    assert not (earlier.folder / "alone" / "contact.csv").exists()
    assert len(pd.read_csv(earlier.folder / "alone" / "leave.csv")) == told["alone"]["contacts"] > 0
    assert told["whales"]["note"] == "nobody meets its conditions today"
    assert told["likely"]["profit"]["lower"] < told["likely"]["profit"]["expected"] < told["likely"]["profit"]["upper"]
    assert told["carts"]["profit"] is None


def test_reasons_stand_beside_the_first_of_each_list(earlier: Served) -> None:
    members = members_of(earlier)
    told = members[members["reason"].notna()].groupby("audience", observed=True)["place"]
    assert told.max().to_dict() == {"carts": 3, "likely": 3, "alone": 3, "nobody-drawn": 3}
    assert members["reason"].dropna().str.contains(r"\([+−]\d+\.\d\)|nothing").all()


def test_the_page_tells_every_list_and_what_must_be_known(earlier: Served, newest: Served) -> None:
    page = (newest.folder / "page.html").read_text(encoding="utf-8")
    for one in newest.facts["audiences"]:
        assert f'id="{one["name"]}"' in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert newest.facts["in_words"].split(";")[0].replace("'", "&#39;") in page
    assert earlier.banners[0].code == "audiences_untested"
    assert earlier.banners[0].words.split(":")[0].split("'")[0] in (earlier.folder / "page.html").read_text("utf-8")


def test_the_champion_serves_only_where_it_finds_more_buyers(earlier: Served, newest: Served) -> None:
    # Nothing to test it on: the champion serves, and a banner says so.
    assert earlier.facts["method"] == "champion"
    compared = newest.facts["compared"]
    assert newest.facts["compared_at"] == earlier.as_of.isoformat()
    main = next(entry for entry in compared["lists"] if entry["share"] == 0.1)["methods"]
    wins = main["champion"]["buyers"]["found"] > max(main[name]["buyers"]["found"] for name in ("rfm", "recency"))
    assert (newest.facts["method"] == "champion") is wins
    bought = compared["buyers"] / compared["shoppers"]
    size = next(entry["size"] for entry in compared["lists"] if entry["share"] == 0.1)
    assert main["random"]["buyers"]["found"] == pytest.approx(size * bought)
    if not wins:
        assert "audiences_simple_better" in {banner.code for banner in newest.banners}
        members = members_of(newest)
        assert members["reason"].isna().all()


def test_a_shopper_is_in_or_out_of_a_campaign_on_every_date(earlier: Served, newest: Served) -> None:
    both = members_of(earlier).merge(members_of(newest), on=["shopper", "campaign"])
    both = both[both["campaign"] != "nobody-drawn"]
    assert len(both) > 5
    assert (both["group_x"] == both["group_y"]).all()


def test_without_a_champion_rfm_serves_and_says_so(office: Office, newest: Served, tmp_path: Path) -> None:
    store, shop = ArtifactStore(office.home.artifacts), office.shop

    def only_products(out: Path, key: str) -> Output:
        shutil.copytree(shop.champions.path / "shopper_product", out / "shopper_product")
        return Output(rows=shop.champions.manifest.rows, facts={**shop.champions.facts, "shopper": None})

    champions = store.build(
        stage="champions", code="", settings={"only": "products"}, inputs={}, work=only_products
    ).artifact
    served = office.serve(shop.moment.as_of - timedelta(days=1), champions=champions)
    assert served.facts["method"] == "rfm"
    assert served.banners[0].code == "audiences_without_champion"
    table = pd.read_parquet(served.folder / "shoppers.parquet")
    assert table["probability"].between(0, 1).all()
    assert table["probability"].corr(table["past_purchases"], method="spearman") > 0.3
    shutil.rmtree(served.folder)


def test_a_budget_buys_the_best_and_leaves_the_control_out(office: Office, earlier: Served) -> None:
    key = same_key(office.home, earlier)
    costs = Costs(contact_cost=0.1, margin=0.3)
    picked = pick_budget(earlier, key, campaign="spring", contacts=20, costs=costs, holdout=0.2)
    contacted = picked.of_group("contact")
    assert len(contacted) == 20
    table = pd.read_parquet(earlier.folder / "shoppers.parquet").set_index("shopper")
    profit = 0.3 * table["expected_amount"] - 0.1
    assert contacted["profit"].tolist() == pytest.approx(profit[contacted["shopper"]].tolist())
    outside = profit.drop(picked.members["shopper"])
    assert outside.max() <= contacted["profit"].min() + 1e-9
    again = pick_budget(earlier, key, campaign="spring", contacts=40, costs=costs, holdout=0.2)
    assert set(picked.of_group("control")["shopper"]) <= set(again.of_group("control")["shopper"])
    dear = pick_budget(
        earlier, key, campaign="spring", contacts=None, costs=Costs(contact_cost=1e9, margin=0.3), holdout=0.2
    )
    assert dear.note == "no contact is expected to bring what it costs"


def test_the_lift_is_counted_from_the_log_of_today(office: Office, earlier: Served, newest: Served) -> None:
    found = campaign_lift(office.home, "likely", **READ)
    # The newest list's horizon is not over, so the one before is taken.
    assert found["as_of"] == earlier.as_of.isoformat()
    members = members_of(earlier)
    members = members[members["audience"] == "likely"].set_index("shopper")
    cutoff = pd.Timestamp(earlier.facts["cutoff"])
    bought = outcomes_at(open_events(office.shop.clean), cutoff, pd.Timestamp(earlier.facts["end"]))
    buyers = members["group"][members.index.isin(bought["shopper"])].value_counts()
    for group in ("contact", "control"):
        assert found[group]["buyers"] == buyers.get(group, 0)
        assert found[group]["shoppers"] == (members["group"] == group).sum()
    assert found["more"]["profit"] is not None
    not_yet = campaign_lift(office.home, "likely", as_of=newest.as_of, **READ)
    assert not not_yet["over"]
    assert "contact" not in not_yet
    for campaign, words in (
        ("likly", "There is no campaign likly"),
        ("alone", "nobody was contacted"),
        ("whales", "had nobody in it"),
        ("nobody-drawn", "has no control"),
    ):
        with pytest.raises(UserError, match=words):
            campaign_lift(office.home, campaign, as_of=earlier.as_of, **READ)


def test_real_ids_are_for_who_holds_the_key_and_leave_a_line(
    office: Office, earlier: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out, day = tmp_path / "list.csv", earlier.as_of.isoformat()
    asked = ("audiences", "likely", "--as-of", day, "--out", str(out), "--real-ids")
    assert exit_code(*asked) == 0
    listed, control = pd.read_csv(out), pd.read_csv(tmp_path / "list.control.csv")
    key = identity_key(office.home)
    members = members_of(earlier)
    members = members[members["audience"] == "likely"]
    for table, group in ((listed, "contact"), (control, "control")):
        assert [pseudonym(user, key) for user in table["user_id"]] == (
            members.loc[members["group"] == group, "shopper"].tolist()
        )
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    line = (office.home.registry / "exports.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    told = {name: value for name, value in json.loads(line).items() if name in ("audience", "as_of", "shoppers", "ids")}
    assert told == {"audience": "likely", "as_of": day, "shoppers": len(members), "ids": "real"}
    assert not any(user in line or user in capfd.readouterr().out for user in listed["user_id"])
    lines = len((office.home.registry / "exports.jsonl").read_text("utf-8").splitlines())
    other = tmp_path / "other.csv"
    other.write_text("user_id,timestamp,action,product_id\nu1,2026-01-01T00:00:00,browse,p1\n", encoding="utf-8")
    assert exit_code(*asked, "--input", str(other)) == 2
    assert "does not hold everybody" in capfd.readouterr().err
    monkeypatch.setenv(KEY_VARIABLE, "ab" * 32)
    assert exit_code(*asked) == 2
    assert "is not the one" in capfd.readouterr().err
    # What was refused leaves no line.
    assert len((office.home.registry / "exports.jsonl").read_text("utf-8").splitlines()) == lines


def test_the_commands_show_what_there_is(earlier: Served, newest: Served, capfd: pytest.CaptureFixture[str]) -> None:
    assert exit_code("audiences") == 0
    shown = capfd.readouterr().out
    assert f"Audiences of {newest.as_of}" in shown
    assert "whales is empty: nobody meets its conditions today." in shown
    assert exit_code("audiences", "--budget", "5", "--as-of", earlier.as_of.isoformat(), "--campaign", "five") == 0
    assert "name: five" in capfd.readouterr().out
    assert exit_code("lift", "likely") == 0
    shown = capfd.readouterr().out
    assert "only if everybody on the list was really contacted" in " ".join(shown.split())
    assert exit_code("lift", "likely", "--as-of", newest.as_of.isoformat()) == 0
    assert "Not enough data yet" in capfd.readouterr().out
    for words, told in (
        (("audiences", "likly"), "behavior audiences likely"),
        (("audiences", "--contact-cost", "1"), "--margin"),
        (("audiences", "--out", "x.csv"), "needs the name"),
        (("audiences", "likely", "--real-ids"), "never shown on the screen"),
        (("lift", "carts", "--as-of", "2001-01-01"), "no audiences of 2001-01-01"),
        (("lift", "--as-of", "2001-01-01"), "belong to one campaign"),
        (("audiences", "--budget", "5", "--campaign", "Spring Sale"), "no name for a campaign"),
        (("audiences", "carts", "--taken"), "No list of carts was taken away"),
    ):
        assert exit_code(*words) == 2
        assert told in capfd.readouterr().err


def test_a_list_that_was_taken_is_measured_whatever_becomes_of_its_date(
    office: Office, earlier: Served, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    day, out = earlier.as_of.isoformat(), tmp_path / "spring.csv"
    asked = ("audiences", "--as-of", day, "--budget", "40", "--campaign", "spring", "--out", str(out))
    assert exit_code(*asked) == 0
    sent = {"contact": pd.read_csv(out), "control": pd.read_csv(tmp_path / "spring.control.csv")}
    found = campaign_lift(office.home, "spring", **READ)
    assert found["taken"][0]["audience"] == "spring"
    ends = (pd.Timestamp(earlier.facts[name]) for name in ("cutoff", "end"))
    bought = outcomes_at(open_events(office.shop.clean), *ends)["shopper"]
    for group, listed in sent.items():
        assert found[group]["shoppers"] == len(listed) > 0
        assert found[group]["buyers"] == listed["shopper"].isin(bought).sum()
    assert exit_code(*asked) == 0
    assert "The same list that" in capfd.readouterr().out
    # Another way scores the date again: nothing that was sent changes.
    again = office.serve(earlier.as_of, **{"audiences.method": "simple"})
    assert again.artifact != earlier.artifact
    assert campaign_lift(office.home, "spring", **READ) == found
    assert exit_code("audiences", "--as-of", day) == 0
    assert "was scored again after lists" in " ".join(capfd.readouterr().out.split())
    written = out.read_bytes()
    assert exit_code(*asked) == 2
    assert "may have been sent" in capfd.readouterr().err
    out.unlink()
    assert exit_code("audiences", "spring", "--taken", "--out", str(out)) == 0
    assert out.read_bytes() == written
    assert exit_code(*asked, "--instead") == 0
    assert "the list number 2 of this date" in capfd.readouterr().out
    assert set(pd.read_csv(out)["shopper"]) != set(sent["contact"]["shopper"])
    second = campaign_lift(office.home, "spring", **READ)
    assert second["taken"][0]["number"] == 2
    assert second["contact"]["buyers"] == pd.read_csv(out)["shopper"].isin(bought).sum()
    assert office.serve(earlier.as_of).artifact == earlier.artifact


def test_every_campaign_is_listed_with_how_it_stands(
    office: Office, earlier: Served, newest: Served, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    budget = ("--budget", "30", "--campaign", "autumn", "--out", str(tmp_path / "autumn.csv"))
    for served in (earlier, newest):
        assert exit_code("audiences", "--as-of", served.as_of.isoformat(), *budget) == 0
    # The newest that is over is measured, and no nightly list where one was taken.
    assert campaign_lift(office.home, "autumn", **READ)["as_of"] == earlier.as_of.isoformat()
    states = {(one["campaign"], one["as_of"]): one for one in campaign_states(office.home)}
    autumn = states["autumn", newest.as_of.isoformat()]
    assert (autumn["contacts"], autumn["ready"]) == (30, False)
    assert autumn["state"].startswith("not over until")
    carts = states["carts", earlier.as_of.isoformat()]
    assert (carts["taken_by"], carts["ready"]) == (None, True)
    assert states["nobody-drawn", earlier.as_of.isoformat()]["state"] == "no control"
    assert not {name for name, _ in states} & {"alone", "whales"}
    assert exit_code("lift") == 0
    assert "nobody: nightly" in capfd.readouterr().out
    assert exit_code("lift", "autmn") == 2
    assert "behavior lift autumn" in capfd.readouterr().err
    assert exit_code("lift", "carts") == 0
    assert "which nobody took away" in " ".join(capfd.readouterr().out.split())


def test_who_was_erased_from_the_log_is_left_out(office: Office, earlier: Served, tmp_path: Path) -> None:
    members = members_of(earlier).set_index("audience")
    likely, carts = members.loc["likely"], members.loc["carts"]
    gone = {*likely.loc[likely["group"] == "contact", "shopper"].head(3)}
    gone |= {*carts.loc[carts["group"] == "control", "shopper"]}
    log = pd.read_csv(office.shop.run.need("simulate").path / "events.csv", dtype=str, keep_default_na=False)
    key = identity_key(office.home)
    erased = {user for user in log["user_id"].unique() if pseudonym(user, key) in gone}
    assert len(erased) == len(gone)
    log[~log["user_id"].isin(erased)].to_csv(tmp_path / "log.csv", index=False)
    asked: dict[str, Any] = {**READ, "as_of": earlier.as_of, "input_path": str(tmp_path / "log.csv")}
    found = campaign_lift(office.home, "likely", **asked)
    assert found["gone"] == 3
    assert found["contact"]["shoppers"] == (likely["group"] == "contact").sum() - 3
    with pytest.raises(UserError, match="the log holds no control any more"):
        campaign_lift(office.home, "carts", **asked)


def test_the_way_of_the_night_before_stays_until_another_is_better_beyond_chance(
    office: Office, newest: Served
) -> None:
    compared, chosen = newest.facts["compared"], Way.model_validate(newest.facts["way"])
    assert chosen == choose_way(compared, "behavior 1", None)
    before = [Way(method=name, champion="behavior 1") for name in ("rfm", "recency", "champion")]
    (stays, *_) = (one for one in before if choose_way(compared, "behavior 1", one) == one != chosen)

    def night(out: Path, key: str) -> Output:
        (out / "served").mkdir()
        return Output(rows=office.shop.champions.manifest.rows, facts={"way": stays.model_dump(), "banners": []})

    night_before = ArtifactStore(office.home.artifacts).build(
        stage="audiences", code="", settings={}, inputs={}, work=night
    )
    yesterday = publish(office.home, night_before.artifact, newest.as_of - timedelta(days=1))
    again = office.serve(None)
    assert again.facts["method"] == again.facts["way"]["method"] == stays.method != newest.facts["method"]
    # The same date gives the same, also where it was itself handed out before with another way.
    assert office.serve(None).artifact == again.artifact != newest.artifact
    shutil.rmtree(yesterday.folder)
    assert office.serve(None).artifact == newest.artifact


def test_every_budget_is_added_up_and_journeys_are_told_when_a_day_is_scored(office: Office, newest: Served) -> None:
    costs = Costs(contact_cost=0.2, margin=0.3)
    for contacts in (1, 20, 1000):
        picked = pick_budget(
            newest, identity_key(office.home), campaign=CAMPAIGN, contacts=contacts, costs=costs, holdout=0.3
        )
        worth = worth_of(picked.of_group("contact"), costs)
        found = Curve.load(newest.folder, costs).ask(contacts, costs).worth
        assert found.shoppers == worth.shoppers
        assert found.buyers.expected == pytest.approx(worth.buyers.expected)
        assert found.profit is not None
        assert worth.profit is not None
        assert found.profit.upper == pytest.approx(worth.profit.upper)
    told = {one["name"]: one for one in newest.facts["audiences"]}
    english, chinese = (read_journeys(newest.folder, language) for language in ("en", "zh"))
    assert english.keys() == chinese.keys()
    assert {audience for audience, _ in english} == {name for name, one in told.items() if one["contacts"]}
    first = told["likely"]["first"][0]["shopper"]
    assert "browsed" in english["likely", first] or "clicked" in english["likely", first]
    assert "浏览" in chinese["likely", first] or "点击" in chinese["likely", first]
    assert first not in english["likely", first]


def test_the_page_gives_real_ids_and_measures_a_lift_as_the_commands_do(office: Office, earlier: Served) -> None:
    wanted = Wanted(as_of=earlier.as_of, audience="likely", budget={}, real_ids=True)
    file = take_list(office.home, wanted, who="anna", when=datetime(2026, 3, 1, tzinfo=UTC))
    rows = pd.read_csv(io.BytesIO(file.content), dtype=str)
    members = members_of(earlier)
    contacts = members[(members["audience"] == "likely") & (members["group"] == "contact")]["shopper"]
    key = identity_key(office.home)
    assert [pseudonym(one, key) for one in rows["user_id"]] == contacts.tolist()
    logged = (office.home.registry / "exports.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    assert json.loads(logged)["who"] == "anna"
    assert measured(office.home, "likely", earlier.as_of).state == "none"
    measure(office.home, "likely", earlier.as_of)
    found = measured(office.home, "likely", earlier.as_of)
    told = campaign_lift(office.home, "likely", as_of=earlier.as_of, **READ)
    assert found.state == "done"
    assert json.loads(json.dumps(told)) == found.told
