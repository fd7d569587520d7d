"""A watched day of a small shop: what was served is judged as the training's labels are, and kept whole."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from behavior_tasks.base.artifacts import Artifact, ArtifactStore, Output, Rows
from behavior_tasks.base.home import Home
from behavior_tasks.base.tables import bucket_files
from behavior_tasks.examples.feature_table import Unit
from behavior_tasks.serve.banners import Banner
from behavior_tasks.serve.moment import Moment, moment_at
from behavior_tasks.serve.recommend_lists import Serving, write_lists
from behavior_tasks.serve.recommend_measure import FIGURES
from behavior_tasks.serve.recommend_study import Rules, hold_study
from behavior_tasks.serve.recommend_world import RECENT, Sources, make_world
from behavior_tasks.serve.score import score_at
from behavior_tasks.serve.served import FOLDER, publish
from behavior_tasks.watch import drift, stage
from behavior_tasks.watch.alerts import read_journal
from behavior_tasks.watch.day import Watched, read_log, watch_day
from behavior_tasks.watch.handed_out import look_back
from behavior_tasks.watch.judged import Answers, judge
from behavior_tasks.watch.kept import find_kept, keep, metrics_of
from behavior_tasks.watch.matured import APPLICATIONS
from tests.serve.world import ServedShop

pytestmark = pytest.mark.slow
NOW_AND_THEN = (0, 7, 8)
"""Days before the moment for which the shop is served: 7 is the test's own moment."""


@pytest.fixture(scope="module")
def served(shop: ServedShop, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A state folder of these tests' own in which some days were served."""
    home = Home(tmp_path_factory.mktemp("watched"))
    for days in NOW_AND_THEN:
        serve(shop, home, "shopper", shop.moment.as_of - timedelta(days=days))
    for days in NOW_AND_THEN[:2]:
        serve(shop, home, "shopper_product", shop.moment.as_of - timedelta(days=days))
    return home


@pytest.fixture(scope="module")
def watched(shop: ServedShop, served: Home) -> Watched:
    return watch(shop, served, both=True)


@pytest.fixture
def home(served: Home, tmp_path: Path) -> Iterator[Home]:
    """A copy that a test may change."""
    shutil.copytree(served.root, tmp_path / "home")
    return Home(tmp_path / "home")


def serve(shop: ServedShop, home: Home, unit: Unit, day: date, version: str | None = None, power: float = 1.0) -> None:
    champion = shop.champion(unit)

    def work(out: Path, key: str) -> Output:
        (out / FOLDER / "scores").mkdir(parents=True)
        moment = moment_at(day, shop.moment.timezone)
        score_at(champion, shop.events, moment, out / FOLDER / "scores", place=shop.place, data_hash="")
        for file in bucket_files(out / FOLDER / "scores"):
            table = pd.read_parquet(file)
            table.assign(probability=table["probability"] ** power).to_parquet(file, index=False)
        rows = Rows(unit_in="scores", unit_out="scores", rows_in=1, rows_out=1)
        return Output(rows=rows, facts={"version": version or champion.version, "banners": []})

    built = ArtifactStore(home.artifacts).build(
        stage=APPLICATIONS[unit],
        code="",
        settings={"day": str(day), "as": version, "power": power},
        inputs={},
        work=work,
    )
    publish(home, built.artifact, day)


def watch(
    shop: ServedShop, home: Home, moment: Moment | None = None, banners: tuple[Banner, ...] = (), *, both: bool = False
) -> Watched:
    """Watch a day with the champion of shoppers alone, which takes half the time, or with both."""
    facts = {**shop.champions.facts, **({} if both else {"shopper_product": None})}
    manifest = shop.champions.manifest.model_copy(update={"facts": facts})
    return watch_day(
        home,
        shop.config,
        clean=shop.clean,
        ingest=shop.run.need("ingest"),
        champions=replace(shop.champions, manifest=manifest),
        moment=moment or shop.moment,
        banners=banners,
    )


def day_row(watched: Watched, unit: Unit, days: int) -> pd.Series:
    table = watched.matured
    as_of = watched.moment.as_of - timedelta(days=days)
    (row,) = [r for _, r in table[(table["what"] == "day") & (table["unit"] == unit)].iterrows() if r["as_of"] == as_of]
    return row


def test_the_labels_are_those_of_the_training(shop: ServedShop, served: Home) -> None:
    day = shop.moment.as_of - timedelta(days=7)
    folder = served.served / "shopper_scores" / f"date={day}" / "scores"
    examples = shop.champion("shopper").examples
    (found,) = judge([Answers.in_folder(day, folder)], shop.events, examples, timezone="UTC")
    cutoffs = pd.concat(map(pd.read_parquet, bucket_files(shop.run.need("cutoffs").path / "examples")))
    test = cutoffs[cutoffs["split"] == "test"].set_index("shopper")["label"]
    assert dict(zip(found.shoppers, found.labels, strict=True)) == test.to_dict()
    assert 0 < found.labels.sum() < len(found.labels)


def test_a_day_is_judged_once_its_horizon_is_over_and_else_says_when(watched: Watched) -> None:
    waiting = day_row(watched, "shopper", 0)
    assert (waiting["state"], waiting["until"]) == ("not matured", watched.moment.as_of + timedelta(days=7))
    assert pd.isna(waiting["f1"])
    for unit in APPLICATIONS:
        judged = day_row(watched, unit, 7)
        assert judged["state"] == "judged"
        assert judged["f1_lower"] <= judged["f1"] <= judged["f1_upper"]


def test_the_served_moment_of_the_test_has_the_figures_of_the_test(watched: Watched) -> None:
    table = watched.matured
    (test,) = table[(table["what"] == "test") & (table["unit"] == "shopper")].to_dict("records")
    row = day_row(watched, "shopper", 7)
    assert [row[name] for name in ("f1", "average_precision", "buyers", "promised")] == pytest.approx(
        [test[name] for name in ("f1", "average_precision", "buyers", "promised")]
    )


def test_nobody_is_lost_though_shoppers_were_erased(shop: ServedShop, served: Home) -> None:
    day = shop.moment.as_of - timedelta(days=7)
    answers = Answers.in_folder(day, served.served / "shopper_scores" / f"date={day}" / "scores")
    examples = shop.champion("shopper").examples
    (found,) = judge([answers], shop.events[1:], examples, timezone="UTC")
    gone = len(pd.read_parquet(answers.files[0]))
    assert (found.erased, found.changed) == (gone, 0)
    assert len(found.labels) + gone == answers.rows


def test_answers_on_events_that_the_log_no_longer_holds_are_counted_apart(shop: ServedShop, served: Home) -> None:
    day = shop.moment.as_of - timedelta(days=7)
    answers = Answers.in_folder(day, served.served / "shopper_scores" / f"date={day}" / "scores")
    short = shop.champion("shopper").examples.model_copy(update={"lookback_days": 3})
    (found,) = judge([answers], shop.events, short, timezone="UTC")
    assert found.changed > 0
    assert found.erased == 0
    assert len(found.labels) + found.changed == answers.rows


def test_every_column_and_score_is_held_against_the_same_weekday(shop: ServedShop, watched: Watched) -> None:
    table = watched.drift
    features = {feature.name for feature in shop.champion("shopper").features.features()}
    of_shoppers = set(table[table["unit"] == "shopper"]["column"])
    assert features | {"text_tokens", "unknown_tokens", "probability", "expected_amount"} == of_shoppers
    of_products = set(table[(table["unit"] == "shopper_product") & (table["kind"] == "feature")]["column"])
    assert of_products
    assert not of_products & features
    for row in table.to_dict("records"):
        assert row["reference_day"].weekday() == row["day"].weekday()
        assert row["reference_day"] < row["day"]
    grown = table[table["column"].isin(drift.GROWING)]
    assert set(grown["state"]) == {"grows"}
    # What the whole shop did is one observation, the same for everybody.
    assert set(table[table["column"].isin(["popularity", "shop_conversion", "price_in_category"])]["state"]) == {
        "shared"
    }


def test_watching_a_day_again_gives_the_same(shop: ServedShop, served: Home, watched: Watched) -> None:
    again = watch(shop, served, both=True)
    pd.testing.assert_frame_equal(again.matured, watched.matured)
    pd.testing.assert_frame_equal(again.drift, watched.drift)
    assert again.findings == watched.findings


def test_nothing_after_the_moment_is_looked_at(shop: ServedShop, home: Home) -> None:
    earlier = watch(shop, home, shop.moment.earlier(1))
    assert earlier.traffic.days.index[-1] == shop.moment.as_of - timedelta(days=2)
    table = earlier.matured[earlier.matured["what"] == "day"]
    assert max(table["as_of"]) == shop.moment.as_of - timedelta(days=7)
    assert day_row(earlier, "shopper", 6)["state"] == "not matured"
    assert day_row(earlier, "shopper", 7)["state"] == "judged"


def test_a_version_of_which_nothing_is_left_is_said_to_be_unknown(shop: ServedShop, home: Home) -> None:
    day = shop.moment.as_of - timedelta(days=9)
    serve(shop, home, "shopper", day, version="77")
    found = watch(shop, home)
    assert day_row(found, "shopper", 9)["state"] == "unknown version"
    (told,) = [finding for finding in found.findings if finding.about == "shopper 77"]
    assert (told.code, "version 77" in told.words) == ("unknown_version", True)


def test_a_missing_day_in_the_middle_and_the_moments_own_banners_are_told(shop: ServedShop, home: Home) -> None:
    late = Banner(code="late_log", level="warning", words="Late.", next_step="wait")
    found = watch(shop, home, banners=(late, late.model_copy(update={"level": "notice"})))
    codes = [finding.code for finding in found.findings]
    assert codes.count("late_log") == 1
    (told,) = [f for f in found.findings if f.code == "not_served" and f.about == "shopper"]
    assert str(shop.moment.as_of - timedelta(days=1)) in told.words


def test_a_shop_of_which_nothing_was_served_is_watched_all_the_same(shop: ServedShop, tmp_path: Path) -> None:
    found = watch(shop, Home(tmp_path / "new"))
    assert set(found.matured["what"]) == {"test"}
    assert "probability" not in set(found.drift["column"])
    assert len(found.traffic.days) > 30


def test_a_damaged_day_stops_nothing(shop: ServedShop, home: Home) -> None:
    day = shop.moment.as_of - timedelta(days=8)
    (home.served / "shopper_scores" / f"date={day}" / "scores" / "0000.parquet").unlink()
    found = watch(shop, home)
    assert day_row(found, "shopper", 8)["state"] == "damaged"
    assert "damaged" in {finding.code for finding in found.findings}


def test_scores_that_moved_ask_for_a_training(shop: ServedShop, home: Home) -> None:
    serve(shop, home, "shopper", shop.moment.as_of, power=8)
    found = watch(shop, home)
    (told,) = [finding for finding in found.findings if finding.code == "scores_moved"]
    assert (told.level, told.training) == ("severe", True)


def test_a_watched_day_is_kept_whole_and_again_without_a_trace(shop: ServedShop, home: Home, watched: Watched) -> None:
    artifact = as_artifact(home, watched)
    first = keep(home, artifact)
    journal = (home.watch / "alerts.jsonl").read_bytes()
    page = (first.folder / "report.html").read_text(encoding="utf-8")
    assert keep(home, artifact).standing == first.standing
    assert (home.watch / "alerts.jsonl").read_bytes() == journal
    assert (first.folder / "report.html").read_text(encoding="utf-8") == page
    assert sorted(path.name for path in home.watch.iterdir() if not path.name.startswith(".")) == [
        "alerts.jsonl",
        f"date={watched.moment.as_of}",
    ]
    assert list(read_journal(home)) == [watched.moment.as_of]
    assert find_kept(home, watched.moment.as_of) == first
    assert "http://" not in page
    assert str(home.root) not in page
    assert not any(shopper in page for shopper in pd.read_parquet(next(home.served.rglob("0000.parquet")))["shopper"])
    figures = metrics_of(first)
    table = first.table("matured")
    pooled = table[(table["what"] == "pooled") & (table["unit"] == "shopper")]
    assert figures["served.shopper.f1"] == pytest.approx(pooled["f1"].iloc[0])
    assert figures["traffic.events"] == watched.traffic.days["events"].iloc[-1]


def as_artifact(home: Home, watched: Watched) -> Artifact:
    def work(out: Path, key: str) -> Output:
        stage.write_tables(watched, out)
        rows = Rows(unit_in="answers", unit_out="answers", rows_in=0, rows_out=0)
        return Output(rows=rows, facts={"as_of": str(watched.moment.as_of), "champions": watched.champions})

    return ArtifactStore(home.artifacts).build(stage="watch", code="", settings={}, inputs={}, work=work).artifact


def test_the_tables_have_the_columns_that_are_promised(home: Home, watched: Watched) -> None:
    kept = keep(home, as_artifact(home, watched))
    assert tuple(kept.table("drift").columns) == drift.COLUMNS
    found = json.loads((kept.folder / "alerts.json").read_bytes())
    assert found["day"] == str(watched.moment.as_of)


def test_lists_that_were_handed_out_have_the_figures_that_the_study_measures_later(
    shop: ServedShop, tmp_path: Path
) -> None:
    home, examples = Home(tmp_path / "home"), shop.champion("shopper").examples
    days = {"horizon_days": examples.horizon_days, "lookback_days": examples.lookback_days}
    sources = Sources(events=shop.events, place=shop.place, reading=None, products=None, **days)
    rules, then = Rules(bought="keep", per_category=0), shop.moment.earlier(examples.horizon_days)
    log = sources.read(then)
    world = make_world(sources, then, log, np.flatnonzero(log.active), rate=0.0)
    everything = np.ones(len(log.products), dtype=bool)
    serving = Serving(world=world, method=RECENT, combination=None, rules=rules, top=10, in_stock=everything)

    def work(out: Path, key: str) -> Output:
        (out / FOLDER).mkdir()
        write_lists(serving, out / FOLDER, as_of=str(then.as_of))
        facts = {**days, "bought": "keep", "per_category": 0, "method": RECENT, "study": {"reported": None}}
        return Output(rows=Rows(unit_in="lists", unit_out="lists", rows_in=1, rows_out=1), facts=facts)

    made = ArtifactStore(home.artifacts).build(stage="recommendations", code="", settings={}, inputs={}, work=work)
    publish(home, made.artifact, then.as_of)
    first = datetime.fromisoformat(shop.clean.facts["first"])
    study = hold_study(sources, shop.moment, rules, first)
    assert study.reported is not None
    place = replace(shop.place, home=home)
    found = look_back(home, read_log(shop.clean, shop.moment), days=90, place=place).set_index("figure")
    for figure in FIGURES:
        expected = study.reported.measured[RECENT].mean(figure)
        assert found["value"][figure] == pytest.approx(expected)
        assert found["lower"][figure] < expected < found["upper"][figure]
    assert set(found["count"]) == {study.reported.shoppers}
