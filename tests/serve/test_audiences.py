"""Audiences from a served shop: the stage, what is handed out, budgets, lift and export, with real parts."""

import json
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from behavior_tasks.base.artifacts import Artifact, ArtifactStore, Output
from behavior_tasks.base.config import changed
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.data.events import open_events
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.keys import KEY_VARIABLE, identity_key
from behavior_tasks.pipeline.execute import build_stage
from behavior_tasks.pipeline.later import same_key
from behavior_tasks.pipeline.lift import campaign_lift
from behavior_tasks.pipeline.runs import RunRecord, StageRecord, keep_run
from behavior_tasks.pipeline.serving import conclude_scoring
from behavior_tasks.pipeline.stages import SERVING
from behavior_tasks.serve.audiences_budget import pick_budget
from behavior_tasks.serve.audiences_facts import facts_at, outcomes_at
from behavior_tasks.serve.audiences_rules import Costs
from behavior_tasks.serve.moment import moment_at
from behavior_tasks.serve.served import Served, need_served
from tests.cli.typing_in import exit_code
from tests.serve.world import ServedShop

RULES = """
audiences:
  - name: carts
    where: {open_carts: {min: 1}, days_since_cart: {max: 20}}
    holdout: 0.3
  - name: likely
    where: {probability_quantile: {min: 0.4}}
    costs: {contact_cost: 0.2, margin: 0.3}
    holdout: 0.4
  - name: alone
    where: {probability_quantile: {max: 0.3}}
    contact: false
  - name: whales
    where: {past_purchases: {min: 100000}}
  - name: nobody-drawn
    holdout: 0
"""
STAGES = ("moment", "readiness", "shopper_scores", "audiences")


@dataclass(frozen=True)
class Office:
    """A copy of the served shop, with a file of rules, that may be written to."""

    shop: ServedShop
    home: Home
    rules: Path

    def serve(self, as_of: date | None, *, champions: Artifact | None = None, **settings: Any) -> Served:
        """Score a date and hand its audiences out."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(HOME_VARIABLE, str(self.home.root))
            config = changed(self.shop.config, {"audiences.file": str(self.rules), "audiences.reasons": 3, **settings})
            store, old = ArtifactStore(self.home.artifacts), self.shop.run
            names = ("simulate", "source", "ingest", "clean")
            made = {name: store.open(old.need(name).uri) for name in names}
            made["champions"] = champions or store.open(self.shop.champions.uri)
            run = keep_run(self.home, self._record(config, as_of))
            for name in STAGES:
                made[name] = build_stage(name, run, [made[of].uri for of in SERVING[name].inputs]).artifact
            for name in (*names, "champions", *STAGES):
                run.keep(StageRecord(stage=name, uri=made[name].uri, seconds=0, reused=False))
            conclude_scoring(run.uri, STAGES)
            return need_served(self.home, "audiences", date.fromisoformat(made["moment"].facts["as_of"]))

    def _record(self, config: Any, as_of: date | None) -> RunRecord:
        fixed: dict[str, Any] = {"name": "", "day": date(2026, 11, 23), "input": None, "preset": "canonical"}
        return RunRecord(run_id=f"score-{as_of}", trigger="scoring", as_of=as_of, config=config, **fixed)


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
    asked: dict[str, Any] = {"run_id": "lift-test", "day": date(2026, 11, 23)}
    found = campaign_lift(office.home, "likely", **asked)
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
    not_yet = campaign_lift(office.home, "likely", as_of=newest.as_of, **asked)
    assert not not_yet["over"]
    assert "contact" not in not_yet
    for campaign, words in (
        ("likly", "There is no campaign likly"),
        ("alone", "nobody was contacted"),
        ("whales", "had nobody in it"),
        ("nobody-drawn", "has no control"),
    ):
        with pytest.raises(UserError, match=words):
            campaign_lift(office.home, campaign, as_of=earlier.as_of, **asked)


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
    assert json.loads(line) | {"when": "", "who": "", "artifact": ""} == {
        **{"when": "", "who": "", "artifact": ""},
        **{"audience": "likely", "as_of": day, "shoppers": len(members)},
    }
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
    assert "only if everybody in contact.csv was really contacted" in " ".join(shown.split())
    assert exit_code("lift", "likely", "--as-of", newest.as_of.isoformat()) == 0
    assert "Not enough data yet" in capfd.readouterr().out
    for words, told in (
        (("audiences", "likly"), "behavior audiences likely"),
        (("audiences", "--contact-cost", "1"), "--margin"),
        (("audiences", "--out", "x.csv"), "needs the name"),
        (("audiences", "likely", "--real-ids"), "never shown on the screen"),
        (("lift", "likely", "--as-of", "2001-01-01"), "no audiences of 2001-01-01"),
    ):
        assert exit_code(*words) == 2
        assert told in capfd.readouterr().err
