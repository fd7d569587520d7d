"""Gradient boosting as a model folder: it says what it said before it was kept, and refuses what it should."""

import json
import pickle
import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import FunctionTransformer

from behavior_tasks.base.errors import UserError
from behavior_tasks.model.baselines import baselines_stage
from behavior_tasks.model.boosting_bundle import TRUSTED, BoostingScorer
from behavior_tasks.model.formats import BOOSTING_FILES, PIPELINE_FILE
from behavior_tasks.model.predict import Scorer, open_scorer
from tests.model.test_baselines import FEATURES, make_examples
from tests.model.toy import make_artifact, make_job


@pytest.fixture(scope="module")
def examples() -> pd.DataFrame:
    return make_examples()


@pytest.fixture(scope="module")
def kept(examples: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of the baselines, calibrated as a language model is by default."""
    folder = tmp_path_factory.mktemp("kept")
    tables = folder / "features" / "examples"
    tables.mkdir(parents=True)
    examples.to_parquet(tables / "0000.parquet", index=False)
    artifact = make_artifact(folder / "features", "features", features=FEATURES, categorical=["gender"], unit="shopper")
    job = make_job(folder, {"train": {"distillation": 0}, "examples": {"horizon_days": 9}}, artifact)
    baselines_stage(job)
    return job.out


def copy(kept: Path, folder: Path) -> Path:
    return Path(shutil.copytree(kept / "model", folder / "model"))


def test_the_predictions_are_exactly_what_the_kept_model_says(examples: pd.DataFrame, kept: Path) -> None:
    told = pd.read_parquet(kept / "predictions.parquet").set_index("example")["boosting"]
    asked = examples.set_index("example").loc[told.index]
    scorer = open_scorer(kept / "model", device="cpu", threads=1)
    assert isinstance(scorer, BoostingScorer)
    assert scorer.score(asked).probability.tolist() == told.tolist()
    parts = [["profile"]] * len(asked)
    assert scorer.score_parts(parts, asked).probability.tolist() == told.tolist()
    assert scorer.score_texts(["profile"] * len(asked), asked).probability.tolist() == told.tolist()
    # Neither the order of the rows nor who else is asked about plays a part.
    some = asked.iloc[[700, 3, 41]]
    assert scorer.score(some).probability.tolist() == told.iloc[[700, 3, 41]].tolist()


def test_the_folder_says_what_it_is_and_reads(kept: Path) -> None:
    assert {file.name for file in (kept / "model").iterdir()} == set(BOOSTING_FILES)
    content = json.loads((kept / "model" / "config.json").read_bytes())
    assert (content["format"], content["unit"], content["horizon_days"]) == ("behavior-boosting/1", "shopper", 9)
    scorer = open_scorer(kept / "model")
    # `trend` is defined nowhere, and not read.
    assert (scorer.numbers, scorer.words) == (("recency_days", "spend"), ("gender",))
    assert scorer.decision.calibration == "platt"
    assert content["rounds"] == len(scorer.pipeline[-1]._predictors) > 1


def test_calibration_moves_probabilities_and_not_who_comes_first(examples: pd.DataFrame, kept: Path) -> None:
    scorer = BoostingScorer.load(kept / "model")
    asked = examples[examples["split"] == "validation"]
    raw = scorer.pipeline.predict_proba(asked)[:, 1]
    told = scorer.score(asked).probability
    assert not np.allclose(raw, told, atol=1e-6)
    assert np.argsort(raw, kind="stable").tolist() == np.argsort(told, kind="stable").tolist()
    assert abs(told.mean() - asked["label"].mean()) < 0.01


def test_words_never_seen_and_empty_features_are_answered(kept: Path) -> None:
    scorer = open_scorer(kept / "model")
    table = pd.DataFrame({"recency_days": [1, None], "spend": [np.nan, "20"], "gender": ["robot", None]})
    found = scorer.score_texts(["", ""], table)
    assert ((found.probability > 0) & (found.probability < 1)).all()
    assert found.expected_amount is None


def test_features_that_are_not_there_are_named(kept: Path) -> None:
    scorer = open_scorer(kept / "model")
    with pytest.raises(UserError, match="not all there") as caught:
        scorer.score(pd.DataFrame({"spend": [1.0]}))
    assert caught.value.found == "no recency_days, gender"
    with pytest.raises(UserError, match="no recency_days, spend, gender"):
        scorer.score_texts(["a"], None)
    with pytest.raises(UserError, match='"spend" holds what is not a number'):
        scorer.score(pd.DataFrame({"recency_days": [1], "spend": ["much"], "gender": ["female"]}))


def test_only_the_trusted_types_are_in_it_and_all_of_them_are_needed(kept: Path) -> None:
    assert set(skops.io.get_untrusted_types(file=kept / "model" / PIPELINE_FILE)) == set(TRUSTED)


def test_a_pipeline_with_a_foreign_type_is_refused_and_not_run(kept: Path, tmp_path: Path) -> None:
    folder = copy(kept, tmp_path)
    skops.io.dump(FunctionTransformer(shutil.rmtree), folder / PIPELINE_FILE)
    with pytest.raises(UserError, match="can't be read") as caught:
        open_scorer(folder)
    assert "rmtree" in str(caught.value.found)
    (folder / PIPELINE_FILE).write_bytes(pickle.dumps(BoostingScorer.load(kept / "model").pipeline))
    with pytest.raises(UserError, match="damaged"):
        open_scorer(folder)


@pytest.mark.parametrize("file", BOOSTING_FILES)
@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b"\x00\xff"])
def test_a_damaged_folder_is_refused(kept: Path, tmp_path: Path, file: str, content: bytes | None) -> None:
    folder = copy(kept, tmp_path)
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(UserError):
        open_scorer(folder, device="cpu")


@settings(max_examples=40, deadline=None, database=None)
@given(data=st.data())
def test_a_pipeline_with_any_bytes_changed_is_refused_or_says_the_same(kept: Path, data: st.DataObject) -> None:
    whole = (kept / "model" / PIPELINE_FILE).read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.booleans())
    changed = whole[:place] if cut else whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]
    asked = pd.DataFrame({"recency_days": [1.0, 20.0], "spend": [9.0, 200.0], "gender": ["female", None]})
    with tempfile.TemporaryDirectory() as made:
        folder = copy(kept, Path(made))
        (folder / PIPELINE_FILE).write_bytes(changed)
        try:
            found = open_scorer(folder).score(asked)
        except UserError:
            return
    assert found.probability.tolist() == open_scorer(kept / "model").score(asked).probability.tolist()


def test_other_formats_and_features_are_refused(kept: Path, tmp_path: Path) -> None:
    folder = copy(kept, tmp_path)
    content = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps({**content, "numbers": ["spend"]}))
    with pytest.raises(UserError, match="can't be read") as caught:
        open_scorer(folder)
    assert "other features" in str(caught.value.found)
    (folder / "config.json").write_text(json.dumps({**content, "format": "behavior-boosting/9"}))
    with pytest.raises(UserError, match="behavior-model/2"):
        open_scorer(folder)
    (folder / "config.json").write_text(json.dumps({**content, "more": 1}))
    with pytest.raises(UserError, match="can't be read") as caught:
        open_scorer(folder)
    assert "more" in str(caught.value.found)


def test_it_is_compressed_and_small(kept: Path) -> None:
    with zipfile.ZipFile(kept / "model" / PIPELINE_FILE) as file:
        assert {entry.compress_type for entry in file.infolist()} == {zipfile.ZIP_DEFLATED}
    assert (kept / "model" / PIPELINE_FILE).stat().st_size < 200_000


def test_a_language_model_is_opened_by_the_same_door(kept: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="format behavior-boosting/1"):
        Scorer.load(kept / "model", device="cpu")
    with pytest.raises(UserError):
        open_scorer(tmp_path)
