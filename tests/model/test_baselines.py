from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from behavior_tasks.base.artifacts import Output
from behavior_tasks.base.config import EngineConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.model import baselines
from behavior_tasks.model.baselines import baselines_stage, teach
from behavior_tasks.model.skewness import signed_log
from behavior_tasks.model.teacher import read_teacher
from behavior_tasks.model.threshold import best_f1_threshold
from tests.model.toy import make_artifact, make_job

FEATURES = ["recency_days", "spend", "trend", "gender"]


def make_examples(*, seed: int = 0) -> pd.DataFrame:
    """400 shoppers at four cutoffs. Recency, spend and gender tell who buys; each is undefined for some."""
    random = np.random.default_rng(seed)
    shoppers = 400
    tables = []
    for number, split in enumerate(["train", "train", "validation", "test"]):
        recency = random.exponential(10, shoppers)
        spend = np.exp(random.normal(3, 1.5, shoppers))
        gender = random.choice(["female", "male"], shoppers).astype(object)
        logit = 0.5 - 0.15 * recency + 0.5 * (np.log(spend) - 3) + np.where(gender == "female", 0.7, -0.7)
        label = (random.random(shoppers) < 1 / (1 + np.exp(-logit))).astype(np.int32)
        recency[random.random(shoppers) < 0.1] = np.nan
        gender[random.random(shoppers) < 0.1] = None
        tables.append(
            pd.DataFrame(
                {
                    "example": [f"s{i}@{number}" for i in range(shoppers)],
                    "shopper": [f"s{i}" for i in range(shoppers)],
                    "split": split,
                    "cutoff": pd.Timestamp("2026-01-01") + pd.Timedelta(days=7 * number),
                    "label": label,
                    "amount": label * 100.0,
                    "weight": 1.0,
                    "recency_days": recency,
                    "spend": spend,
                    "trend": np.nan,
                    "gender": gender,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def run(folder: Path, examples: pd.DataFrame, settings: dict[str, Any] | None = None) -> tuple[pd.DataFrame, Output]:
    tables = folder / "features" / "examples"
    tables.mkdir(parents=True)
    bucket = examples["shopper"].map(lambda shopper: int(shopper[1:]) % 2)
    for number in (0, 1, 2):  # the last bucket is empty
        examples[bucket == number].to_parquet(tables / f"{number:04d}.parquet", index=False)
    artifact = make_artifact(folder / "features", "features", features=FEATURES, categorical=["gender"], unit="shopper")
    job = make_job(folder, settings or {}, artifact)
    output = baselines_stage(job)
    assert sorted(file.name for file in job.out.iterdir()) == ["model", "predictions.parquet", "teacher.parquet"]
    return pd.read_parquet(job.out / "predictions.parquet"), output


@pytest.fixture(scope="module")
def examples() -> pd.DataFrame:
    return make_examples()


@pytest.fixture(scope="module")
def ran(examples: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, Output]:
    return run(tmp_path_factory.mktemp("baselines"), examples)


def of_split(examples: pd.DataFrame, predictions: pd.DataFrame, split: str) -> pd.DataFrame:
    wanted = predictions[predictions["split"] == split]
    return wanted.merge(examples[["example", "label"]], on="example", validate="one_to_one")


def test_every_validation_and_test_example_is_predicted_once(
    examples: pd.DataFrame, ran: tuple[pd.DataFrame, Output]
) -> None:
    predictions, output = ran
    assert list(predictions.columns) == ["example", "split", "prior", "logistic", "boosting"]
    wanted = examples[examples["split"] != "train"]
    assert set(zip(predictions["example"], predictions["split"], strict=True)) == set(
        zip(wanted["example"], wanted["split"], strict=True)
    )
    assert len(predictions) == 800
    assert output.rows.balanced
    assert (output.rows.rows_in, output.rows.rows_out) == (1600, 800)


def test_both_learners_beat_the_prior_by_far(examples: pd.DataFrame, ran: tuple[pd.DataFrame, Output]) -> None:
    table = of_split(examples, ran[0], "test")
    train = examples[examples["split"] == "train"]
    assert table["prior"].to_numpy() == pytest.approx(train["label"].mean())
    for name in ("logistic", "boosting"):
        assert average_precision_score(table["label"], table[name]) > table["label"].mean() + 0.2
        assert log_loss(table["label"], table[name]) < log_loss(table["label"], table["prior"]) - 0.05


def test_thresholds_are_chosen_on_validation(examples: pd.DataFrame, ran: tuple[pd.DataFrame, Output]) -> None:
    predictions, output = ran
    assert output.facts is not None
    table = of_split(examples, predictions, "validation")
    for name in ("prior", "logistic", "boosting"):
        expected = best_f1_threshold(table["label"].to_numpy(), table[name].to_numpy())
        assert output.facts["thresholds"][name] == expected


def test_the_policy_moves_the_thresholds_and_no_prediction(
    examples: pd.DataFrame, ran: tuple[pd.DataFrame, Output], tmp_path: Path
) -> None:
    policy = {"policy": "cost", "cost_of_contact": 1.0, "value_of_sale": 4.0}
    predictions, output = run(tmp_path, examples, {"decision": policy})
    assert output.facts is not None
    assert output.facts["thresholds"] == dict.fromkeys(("prior", "logistic", "boosting"), 0.25)
    pd.testing.assert_frame_equal(predictions, ran[0], check_exact=True)


def test_labels_outside_train_change_no_ranking(
    examples: pd.DataFrame, ran: tuple[pd.DataFrame, Output], tmp_path: Path
) -> None:
    changed = examples.copy()
    outside = changed["split"] != "train"
    changed.loc[outside, "label"] = 1 - changed.loc[outside, "label"]
    changed.loc[outside, "amount"] = 1e6
    again, _ = run(tmp_path, changed)
    simple = ["example", "split", "prior", "logistic"]
    pd.testing.assert_frame_equal(again[simple], ran[0][simple], check_exact=True)
    # Validation's labels calibrate boosting, as they do the language model; that moves no example past another.
    pd.testing.assert_series_equal(again["boosting"].rank(), ran[0]["boosting"].rank(), check_exact=True)


def test_labels_of_test_change_nothing(
    examples: pd.DataFrame, ran: tuple[pd.DataFrame, Output], tmp_path: Path
) -> None:
    changed = examples.copy()
    in_test = changed["split"] == "test"
    changed.loc[in_test, "label"] = 1 - changed.loc[in_test, "label"]
    again, output = run(tmp_path, changed)
    pd.testing.assert_frame_equal(again, ran[0], check_exact=True)
    assert output.content_hash == ran[1].content_hash


def test_test_labels_and_test_features_change_nothing_on_validation(
    examples: pd.DataFrame, ran: tuple[pd.DataFrame, Output], tmp_path: Path
) -> None:
    changed = examples.copy()
    in_test = changed["split"] == "test"
    changed.loc[in_test, "label"] = 0
    changed.loc[in_test, ["spend", "recency_days"]] = -1e9
    changed.loc[in_test, "gender"] = "never seen before"
    again, output = run(tmp_path, changed)
    on_validation = again["split"] == "validation"
    pd.testing.assert_frame_equal(again[on_validation], ran[0][on_validation], check_exact=True)
    assert output.facts == ran[1].facts
    assert again[["logistic", "boosting"]].apply(lambda s: s.between(0, 1)).all().all()


def test_a_handful_of_shoppers_is_enough_to_answer(tmp_path: Path) -> None:
    few = make_examples(seed=1)
    few = few[few["shopper"].isin([f"s{i}" for i in range(4)])].copy()
    few.loc[few["split"] == "train", "label"] = 0
    few.loc[few["split"] == "validation", "label"] = (few["shopper"] == "s2").astype("int32")
    few.loc[few["example"] == "s1@0", "label"] = 1
    predictions, _ = run(tmp_path, few)
    assert predictions[["prior", "logistic", "boosting"]].apply(np.isfinite).all().all()


@pytest.mark.parametrize(
    ("split", "label", "problem"),
    [
        ("train", 0, "On train, nobody buys"),
        ("train", 1, "On train, everybody buys"),
        ("validation", 0, "On validation, nobody buys"),
        ("validation", 1, "On validation, everybody buys"),
        ("train", None, "The train split is empty"),
        ("validation", None, "The validation split is empty"),
        ("test", None, "The test split is empty"),
        (None, None, "The train split is empty"),
    ],
)
def test_what_can_not_be_learned_from_is_said_so(
    split: str | None, label: int | None, problem: str, examples: pd.DataFrame, tmp_path: Path
) -> None:
    changed = examples.copy()
    if label is not None:
        changed.loc[changed["split"] == split, "label"] = label
    else:
        changed = changed[(changed["split"] != split) & (split is not None)].copy()
    with pytest.raises(UserError, match=problem) as caught:
        run(tmp_path, changed)
    assert "behavior doctor" in str(caught.value)


@pytest.mark.parametrize("label", [0, 1])
def test_test_labels_of_one_kind_are_no_hindrance(label: int, tmp_path: Path) -> None:
    few = make_examples(seed=1)
    few = few[few["shopper"].isin([f"s{i}" for i in range(40)])].copy()
    few.loc[few["split"] == "test", "label"] = label
    predictions, _ = run(tmp_path, few)
    assert predictions[["prior", "logistic", "boosting"]].apply(np.isfinite).all().all()


def test_the_signed_logarithm_keeps_order_and_undefined_values() -> None:
    values = np.array([-100.0, -1.0, 0.0, 1.0, 100.0, np.nan])
    found = signed_log(values)
    assert np.isnan(found[-1])
    assert (np.diff(found[:-1]) > 0).all()
    assert found[4] == pytest.approx(np.log(101))


def test_the_teacher_never_saw_the_shopper_whom_it_judges() -> None:
    examples = make_examples()
    train = examples["split"] == "train"
    told = teach(examples, FEATURES, ["gender"], seed=1).set_index("example")["boosting"]
    assert told.index.tolist() == examples.loc[train, "example"].tolist()
    assert roc_auc_score(examples.loc[train, "label"], told) > 0.65

    turned = examples.copy()
    mine = turned["shopper"] == "s3"
    turned.loc[mine, "label"] = 1 - turned.loc[mine, "label"]
    again = teach(turned, FEATURES, ["gender"], seed=1).set_index("example")["boosting"]
    own = examples.loc[train & mine, "example"]
    assert again.loc[own].tolist() == told.loc[own].tolist()
    assert again.drop(own).tolist() != told.drop(own).tolist()

    # Whatever happens later than train is not read at all.
    later = examples.assign(label=np.where(train, examples["label"], 0))
    assert teach(later, FEATURES, ["gender"], seed=1)["boosting"].tolist() == told.tolist()


@pytest.mark.slow
def test_how_many_processes_teach_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = make_examples()
    alone = teach(examples, FEATURES, ["gender"], seed=1)
    monkeypatch.setattr(baselines, "WORTH_PROCESSES", 0)
    both = teach(examples, FEATURES, ["gender"], seed=1, engine=EngineConfig(workers=2))
    assert both["boosting"].tolist() == alone["boosting"].tolist()


def test_the_teachers_probabilities_stand_in_the_order_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "teacher.parquet"
    pd.DataFrame({"example": ["b", "a"], "boosting": [0.2, 0.9]}).to_parquet(path)
    assert read_teacher(path, pd.Series(["a", "b"])).tolist() == [0.9, 0.2]
    with pytest.raises(UserError, match=r"train\.distillation") as caught:
        read_teacher(path, pd.Series(["a", "c"]))
    assert str(caught.value.found).startswith("1 of 2")
