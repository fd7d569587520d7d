"""The commands as a person types them: a whole run here, the same again, doctor, simulate, status, settings."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.pipeline import last_runs
from behavior_tasks.registry import package_stage
from tests.cli.typing_in import exit_code
from tests.shop import TINY, check_verdict

SET = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
MODEL_FILES = {"config.json", "decision.json", "model.safetensors", "text.json", "tokenizer"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("commands") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(path))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("COLUMNS", "100")
        patch.setattr(package_stage, "SINGLE", 3)  # shoppers that both models are asked about one by one
        yield path


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert exit_code(*words) == code
    return capsys.readouterr().out


@pytest.mark.slow
def test_a_run_and_the_same_again(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A margin of one lets any model that beats the prior through, so that the promotion itself is seen.
    easy = ["--set", "gate.margin=1", "--set", "gate.min_f1=0"]
    first = said(capsys, "run", *SET, *easy)
    for expected in ("simulate", "train", "language model", "boosting", "logistic", "prior", "best possible", "Next"):
        assert expected in first
    assert "Nothing changed" not in first
    models = list((home / "artifacts" / "train").iterdir())
    assert len(models) == 1
    assert {path.name for path in (models[0] / "model").iterdir()} == MODEL_FILES
    assert {path.name for path in (home / "artifacts").iterdir()} == {
        *("simulate", "source", "ingest", "ingest-part", "clean", "clean-part", "report", "cutoffs", "doctor"),
        *("features", "verbalize", "encode"),
        *("train", "baselines", "champion", "evaluate", "audit", "package", "gate", "model_report"),
    }
    (run,) = last_runs(Home(home), most=1)
    check_verdict(run, "shopper", most=1)

    again = said(capsys, "run", *SET, *easy)
    assert "Nothing changed" in again
    assert "version 1 (the same model as before)" in again
    assert list((home / "artifacts" / "train").iterdir()) == models
    if "Verdict: promote" in first:
        assert len((home / "registry" / "ledger.jsonl").read_text(encoding="utf-8").splitlines()) == 1

    page = said(capsys, "report").strip()
    assert "behavior report" in again
    assert Path(page).is_file()
    kept = next((home / "mlflow").rglob("data_report/report.html"))
    assert kept.read_bytes() == Path(page).read_bytes()
    assert (kept.parent / "plots" / "events_per_day.png").is_file()
    about_model = Path(said(capsys, "report", "--on", "model").strip())
    assert "behavior report --on model" in again
    for name in ("report.html", "model_card.md"):
        # Each of both runs keeps its own: the second says keep, since its model is the champion already.
        contents = [path.read_bytes() for path in (home / "mlflow").rglob(f"artifacts/{name}")]
        assert about_model.with_name(name).read_bytes() in contents
    plots = {path.name for path in (home / "mlflow").rglob("artifacts/plots/*.png")}
    assert plots >= {"loss.png", "learning_curve.png", "reliability.png", "gains.png"}
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as database:
        points = database.execute("SELECT run_uuid, step FROM metrics WHERE key = 'live/loss'").fetchall()
    assert points, "reported by the training itself"
    assert len(set(points)) == len(points)

    listed = said(capsys, "status")
    assert listed.count("command line") >= 2
    assert "nothing (make up starts" in listed


def test_simulate_writes_the_log_and_what_could_be_reached(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("--shoppers", "60", "--days", "40", "--set", "simulate.rollouts=10")
    out = said(capsys, "simulate", "--out", str(tmp_path / "shop"), *small)
    assert "Best possible on its test split" in out
    assert {path.name for path in (tmp_path / "shop").iterdir()} == {"events.csv", "oracle.json", "oracle.parquet"}
    first = (tmp_path / "shop" / "events.csv").read_bytes()
    said(capsys, "simulate", "--out", str(tmp_path / "again"), *small)
    assert (tmp_path / "again" / "events.csv").read_bytes() == first


def test_the_doctor_says_how_many_shoppers_and_purchases_are_missing(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "five-rows.csv"
    log.write_text(
        "user_id,action,product_id,timestamp\n"
        "1,browse,1001,1628751662\n1,click,1002,1628751668\n1,add_to_cart,1002,1628751702\n"
        "1,purchase,1002,1628751790\n2,browse,1003,1628751801\n",
        encoding="utf-8",
    )
    found = json.loads(said(capsys, "doctor", "--input", str(log), "--json", code=2))
    missing = {finding["what"]: finding["missing"] for finding in found if finding["level"] == "fail"}
    assert missing == {"days of history": 22, "shoppers in the log": 48, "purchases in the log": 29}
    assert all(finding["number"] and finding["needed"] for finding in found)
    assert all(finding["advice"] for finding in found if finding["level"] != "ok")
    said(capsys, "run", "--input", str(log), code=2)


def test_settings_lists_every_key_with_the_presets_value(capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, "settings", "--preset", "online_retail")
    assert "examples.horizon_days" in out
    assert "default 7" in out


def test_features_lists_every_feature_of_the_unit_with_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(said(capsys, "features", "--json"))
    assert {feature["name"]: feature["description"] for feature in listed}[
        "recency_days"
    ] == "days since the last event"
    assert not any(feature["over"] == "product" for feature in listed)
    asked = ("--set", "examples.unit=shopper_product", "--set", "examples.lookback_days=14")
    products = {feature["name"] for feature in json.loads(said(capsys, "features", "--json", *asked))}
    assert "this_recency_days" in products
    # A window as long as the lookback would say the same as no window.
    assert {"clicks_7d", "clicks_14d"} & products == {"clicks_7d"}
    shown = said(capsys, "features", "--sql")
    assert f"{len(listed)} features of the unit shopper" in shown
    assert "days since the last event" in shown
