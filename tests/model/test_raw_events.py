"""A model asked with the very rows of a log says of test shoppers what the pipeline says of them, whoever is asked."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.keys import KEY_VARIABLE, identity_key
from behavior_tasks.data.side_tables import load_side_tables, side_files
from behavior_tasks.model.decision import Decision
from behavior_tasks.model.event_folder import save_event_folder
from behavior_tasks.model.predict import predict
from behavior_tasks.model.raw_events import RawModel, read_instant
from behavior_tasks.pipeline import Run
from behavior_tasks.pipeline.runs import open_run
from behavior_tasks.text.tokens import TokenSet
from tests.data.stages import real_log
from tests.shop import run_until
from tests.verdict.world import write_bundle

TODAY = date(2026, 11, 23)
NULLS = {"keep_default_na": False, "na_values": [""], "dtype": object}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A log as it was written, a model for it that nobody trained, and what the pipeline says of test with it."""

    raw: pd.DataFrame
    model: RawModel
    expected: pd.DataFrame
    """user_id, product_id (empty for the unit shopper), probability, amount of every test example."""
    cutoff: str
    folder: Path

    def score(self, rows: pd.DataFrame, **changes: Any) -> pd.DataFrame:
        return self.model.score(rows, **{"today": TODAY, "as_of": self.cutoff, **changes})

    def of(self, *users: str) -> pd.DataFrame:
        """All rows of some users."""
        return self.raw[self.raw["user_id"].isin(users)]


def ask(run: Run, raw: pd.DataFrame, folder: Path) -> Asked:
    """Put a model with random weights beside a run that came as far as its tokens."""
    artifacts = {name: run.artifact(name) for name in ("clean", "features", "encode", "verbalize", "cutoffs")}
    config, model = run.record.config, folder / "model"
    write_bundle(model, artifacts["encode"], artifacts["verbalize"], 3, amounts=True, numbers=True, architecture="gpt2")
    Decision(threshold=0.5, calibration="platt", slope=0.9, intercept=0.1).save(model)
    tables = load_side_tables(side_files(run.record.input, config, run.home), config.source) if run.record.input else {}
    save_event_folder(
        folder / "events",
        source=config.source,
        examples=config.examples,
        clean=artifacts["clean"],
        features=artifacts["features"],
        products=tables.get("products"),
    )
    tokens = TokenSet.load(artifacts["encode"].path)
    rows = tokens.rows("test")
    told = predict(model, tokens.sequences, rows, device="cpu", threads=1)
    expected = tokens.index.iloc[rows][["example", "shopper"]].assign(
        product_id=lambda table: table["example"].str.partition("#")[2],
        probability=told.probability,
        amount=told.expected_amount,
    )
    key = identity_key(run.home)
    plain = raw["user_id"].dropna().astype(str).str.replace(r"^([1-9]\d*)\.0+$", r"\1", regex=True)
    names = {pseudonym(user, key): user for user in plain.unique()}
    return Asked(
        raw=raw,
        model=RawModel.load(model, folder / "events", device="cpu", threads=1),
        expected=expected.assign(user_id=expected["shopper"].map(names)),
        cutoff=artifacts["cutoffs"].facts["windows"][-1]["cutoff"] + "Z",
        folder=folder,
    )


def assert_same(asked: Asked, answers: pd.DataFrame, users: set[str] | None = None) -> None:
    """The answers are the pipeline's, for every test example of these users (None: of all)."""
    expected = asked.expected if users is None else asked.expected[asked.expected["user_id"].isin(users)]
    found = answers.assign(user_id=answers["user_id"].astype(str).str.removesuffix(".0"))
    keys = ["user_id", *(["product_id"] if "product_id" in found else [])]
    both = expected.merge(found, on=keys, how="left", suffixes=("", "_found"), validate="one_to_one")
    assert len(both) > 0
    np.testing.assert_allclose(both["probability_found"], both["probability"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(both["expected_amount"], both["amount"], rtol=1e-5)
    assert (both["decision"] == (both["probability_found"] >= 0.5)).all()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """The simulated shop, its log read from the CSV file that the simulator wrote."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(home))
        patch.delenv(KEY_VARIABLE, raising=False)
        small = {"simulate.shoppers": 160, "clean.double_click_seconds": 30, "model.max_tokens": 48}
        run = run_until("encode", "raw", overrides=small, without=("report",))
        simulated = run.artifact("simulate")
        assert simulated is not None
        raw = pd.read_csv(simulated.path / "events.csv", **NULLS)
        yield ask(run, raw, tmp_path_factory.mktemp("model"))


def test_raw_rows_get_the_scores_of_the_pipeline(shop: Asked) -> None:
    answers = shop.score(shop.raw)
    assert_same(shop, answers)
    assert answers["probability"].std() > 0.01
    # In the order in which they first come up; who has no event before the instant gets an answer too.
    assert answers["user_id"].tolist() == shop.raw["user_id"].dropna().unique().tolist()
    assert answers.columns.tolist() == ["user_id", "probability", "expected_amount", "decision", "version"]
    # A day later they would have been answered otherwise.
    later = shop.score(shop.raw, as_of=str(float(read_instant(shop.cutoff, "UTC").timestamp() + 86_400)))
    assert not np.allclose(later["probability"], answers["probability"])


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_neither_company_nor_order_nor_doubled_rows_nor_the_future_change_an_answer(shop: Asked, data: Any) -> None:
    users = data.draw(st.lists(st.sampled_from(sorted(shop.expected["user_id"])), min_size=1, max_size=3, unique=True))
    rows = shop.of(*users)
    shuffled = rows.sample(frac=1, random_state=data.draw(st.integers(0, 99)))
    assert_same(shop, shop.score(pd.concat([shuffled, rows.head(3)], ignore_index=True)), set(users))


@pytest.mark.parametrize("form", ["numbers", "iso", "instants", "local"])
def test_times_may_be_written_in_other_ways(shop: Asked, form: str) -> None:
    rows = shop.of(*shop.expected["user_id"].head(4)).copy()
    # Which shoppers come first hangs on the identity key; one of them may have a time that nobody can read.
    rows = rows[pd.to_numeric(rows["timestamp"], errors="coerce").notna()]
    seconds = rows["timestamp"].astype(float)
    instants = pd.to_datetime(seconds, unit="s", utc=True)
    rows["timestamp"] = {
        "numbers": seconds.astype("int64"),
        "iso": instants.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "instants": instants.dt.tz_convert("Asia/Tokyo"),
        "local": instants.dt.tz_localize(None),
    }[form]
    # A row with another fault comes first: it says nothing about how times are written.
    odd = rows.head(1).assign(action="teleport")
    rows = pd.concat([odd, rows], ignore_index=True)
    assert_same(shop, shop.score(rows), set(shop.expected["user_id"].head(4)))


def test_ids_come_back_as_they_were_given(shop: Asked) -> None:
    rows = shop.of(*shop.expected["user_id"].head(3)).copy()
    numbers = {user: number for number, user in enumerate(rows["user_id"].unique(), start=17_850)}
    texts = shop.score(rows)
    rows["user_id"] = rows["user_id"].map(numbers)
    answers = shop.score(rows)
    assert answers["user_id"].tolist() == list(numbers.values())
    # Nothing depends on who somebody is.
    np.testing.assert_allclose(answers["probability"], texts["probability"], rtol=0, atol=1e-6)


def reasons_in(text: str) -> Counter[str]:
    """Return how many rows a log says stand aside, by reason."""
    return Counter(
        {reason: int(rows) for rows, reason in re.findall(r"(\d+) (\w+)", text.partition("stand aside: ")[2])}
    )


def test_rows_that_are_no_events_are_set_aside_and_their_shoppers_answered(
    shop: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    user = shop.expected["user_id"].iloc[0]
    rows = shop.of(user)
    # The simulated shop has rows of its own that are no events; which shopper has one hangs on the key.
    shop.score(rows)
    own = reasons_in(caplog.text)
    caplog.clear()
    bad = rows.head(4).assign(
        **{name: None for name in ("price", "quantity") if name in rows},
        action=["dance", "browse", "purchase", "browse"],
        timestamp=["1767588710", "soon", "1767588710", "1767588710"],
        amount=[None, None, "-5", None],
        product_id=["p1", "p1", "p1", None],
    )
    nobody = bad.head(1).assign(user_id=None, action="browse")
    stranger = bad.head(1).assign(user_id="stranger")
    answers = shop.score(pd.concat([rows, bad, nobody, stranger], ignore_index=True))
    assert answers["user_id"].tolist() == [user, "stranger"]
    assert_same(shop, answers, {user})
    added = {"unknown_action": 2, "bad_timestamp": 1, "negative_amount": 1, "missing_product_id": 1}
    assert reasons_in(caplog.text) - own == Counter({**added, "missing_user_id": 1})
    assert user not in caplog.text
    # Who has no event is answered as somebody who has done nothing yet.
    new = pd.DataFrame({"user_id": ["x"], "action": ["browse"], "product_id": ["p1"], "timestamp": ["1767588710"]})
    nothing = shop.score(new, as_of="2026-01-01")
    assert nothing["probability"].iloc[0] == pytest.approx(answers["probability"].iloc[1], abs=1e-6)


def test_without_an_instant_all_events_count(shop: Asked) -> None:
    rows = shop.of(shop.expected["user_id"].iloc[0])
    last = int(rows["timestamp"].astype(int).max())
    told = shop.score(rows, as_of="")
    inside = shop.score(rows, as_of=f"{last}.000001")
    np.testing.assert_array_equal(told["probability"], inside["probability"])
    assert shop.score(rows, as_of=str(last))["probability"].iloc[0] != told["probability"].iloc[0]


def test_what_can_not_be_used_is_refused_by_name(shop: Asked) -> None:
    rows = shop.of(shop.expected["user_id"].iloc[0])
    with pytest.raises(UserError, match="lacks a column: user_id") as caught:
        shop.score(rows.rename(columns={"user_id": "user_ids"}))
    assert caught.value.next_step == "call user_ids user_id"
    with pytest.raises(UserError, match="no rows"):
        shop.score(rows.head(0))
    with pytest.raises(UserError, match="No row of the table is an event") as caught:
        shop.score(rows.assign(timestamp="tomorrow"))
    assert "row 0: bad_timestamp, aaaaaaaa" in str(caught.value)
    with pytest.raises(UserError, match="as_of is no instant") as caught:
        shop.score(rows, as_of="next week")
    assert "2026-02-20" in str(caught.value)


def test_the_folder_knows_no_shopper_and_no_key(shop: Asked, tmp_path: Path) -> None:
    held = b"".join(file.read_bytes() for file in shop.folder.rglob("*") if file.is_file())
    assert not any(user.encode() in held for user in shop.raw["user_id"].dropna().unique())
    assert not any(shopper.encode() in held for shopper in shop.expected["shopper"])
    assert str(shop.folder).encode() not in held


SIDE = {"source.products": {"path": "products.csv"}, "source.columns": {"category": None}}


def test_products_of_a_side_table_travel_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shop: Asked) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    raw = shop.raw.drop(columns="category")
    raw.to_csv(tmp_path / "log.csv", index=False)
    known = shop.raw[["product_id", "category"]].dropna().drop_duplicates("product_id")
    known.to_csv(tmp_path / "products.csv", index=False)
    small = {**SIDE, "model.max_tokens": 48, "examples.unit": "shopper_product"}
    run = run_until("encode", "side", log=tmp_path / "log.csv", overrides=small, without=("report",))
    asked = ask(open_run(run.uri), raw, tmp_path / "model")
    answers = asked.score(raw)
    assert len(answers) == len(asked.expected)
    assert_same(asked, answers)
    users = set(asked.expected["user_id"].head(30))
    assert_same(asked, asked.score(asked.of(*users)), users)
    # Who has touched nothing has no product to ask about.
    assert asked.score(raw, as_of="2020-01-01").empty


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "file", "names"),
    [
        ("online_retail", "uci_online_retail.csv.gz", None),
        ("taobao", "taobao_userbehavior_100k.csv.gz", ["user_id", "product_id", "category", "action", "timestamp"]),
    ],
)
def test_rows_of_real_logs_get_the_scores_of_the_pipeline(
    preset: str, file: str, names: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = real_log(file)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    small = {"model.max_tokens": 48, "examples.train_cutoffs": 2, "simulate.days": 120}
    run = run_until("encode", preset, log=log, preset=preset, overrides=small, without=("report",))
    columns = {held: name for name, held in run.record.config.source.columns.items() if held}
    raw = pd.read_csv(log, names=names, **NULLS).rename(columns=columns)
    asked = ask(run, raw, tmp_path / "model")
    users = asked.expected["user_id"].sample(300, random_state=1)
    plain = raw["user_id"].astype(str).str.removesuffix(".0")
    assert_same(asked, asked.score(raw[plain.isin(set(users))]), set(users))
    few = set(users.head(3))
    assert_same(asked, asked.score(raw[plain.isin(few)]), few)
