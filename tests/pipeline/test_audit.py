"""The leakage auditor: it finds nothing in the code as it is, and each deliberate leak by its name."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from behavior_tasks.base.config import load_config, presets
from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.base.tables import connect, quote
from behavior_tasks.data import clean
from behavior_tasks.pipeline import Run, open_run, start_run
from behavior_tasks.pipeline import audit as audit_module
from behavior_tasks.pipeline.audit import Audit, audit_leakage, plants
from behavior_tasks.pipeline.audit_compare import Check
from behavior_tasks.text import encode, settings, verbalize
from behavior_tasks.text.parts import TEXT_SQL
from tests.data.stages import real_log

LITTLE: dict[str, object] = {
    "simulate.shoppers": 150,
    "simulate.days": 45,
    "simulate.products": 40,
    "simulate.rollouts": 10,
    "examples.train_cutoffs": 1,
    # Beyond the bytes and the special tokens, so that there are merges to learn.
    "model.vocabulary": 900,
    "engine.buckets": 2,
    "engine.workers": 1,
    "engine.min_free_disk_mb": 0,
}
SHUFFLED = "rows in another order, in 3 files"
TEST, VALIDATION, TRAIN = (f"canaries in {name}" for name in ("test", "validation", "the last train window"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


def started(log: Path | None = None, preset: str = "canonical", **overrides: object) -> Run:
    given = {name.replace("__", "."): value for name, value in overrides.items()}
    return open_run(
        start_run(
            "audited",
            day=date(2026, 11, 23),
            trigger="inspection",
            input_path=str(log) if log else None,
            preset=preset,
            overrides={**(LITTLE if log is None else {"engine.workers": 1}), **given},
        )
    )


def dirty(audit: Audit) -> dict[tuple[str, str], Check]:
    return {(check.where, check.what): check for check in audit.checks if not check.clean}


def test_the_code_as_it_is_sees_no_future(home: Path) -> None:
    steps: list[str] = []
    audit = audit_leakage(started(), on_start=steps.append)
    assert dirty(audit) == {}
    assert steps == ["reading the log", "the log itself", SHUFFLED, TEST, VALIDATION, TRAIN]
    whats = {check.what for check in audit.checks if check.where == TEST}
    fitted = {"what clean reports as fitted", "bounds by category", "text bins", "named categories", "vocabulary"}
    fitted |= {"named products", "search words", "bins of prices", "bins of amounts"}
    assert {"label windows", "clean events", "examples", "features", "texts", *fitted} <= whats
    assert all(check.compared for check in audit.checks)
    arrived = [check.what for check in audit.checks if "canaries among" in check.what]
    assert len(arrived) == 3
    # Nothing is left behind, and the state folder's own runs are not mixed with the audit's.
    assert list((home / "work").iterdir()) == []
    assert [path.name for path in (home / "runs").iterdir()] == ["audited"]
    assert audit.shoppers == 150


def leaky_bins(original: Callable[..., dict[str, list[float]]]) -> Callable[..., dict[str, list[float]]]:
    def fit(examples: Sequence[Path], quantiles: int, memory_mb: int) -> dict[str, list[float]]:
        files = ", ".join(map(quote, examples))
        middle = connect().execute(f"SELECT median(recency_days) FROM read_parquet([{files}])").fetchall()[0][0]
        return {**original(examples, quantiles, memory_mb), "recency_days": [middle]}

    return fit


def leaky_counts(original: Callable[..., Any]) -> Callable[..., Any]:
    def count(events: Any, until: datetime, *more: Any, **named: Any) -> Any:
        return original(events, until + timedelta(days=365), *more, **named)

    return count


def leaky_texts(original: Callable[..., Iterator[str]]) -> Callable[..., Iterator[str]]:
    def read(files: Sequence[Path], special_tokens: Sequence[str]) -> Iterator[str]:
        for file in files:
            for (text,) in connect().execute(f"SELECT {TEXT_SQL} FROM read_parquet({quote(file)})").fetchall():
                yield text

    return read


def leaky_bounds(original: Callable[..., Any]) -> Callable[..., Any]:
    def fit(connection: Any, parts: Any, timeline: Any, *more: Any, **named: Any) -> Any:
        return original(connection, parts, None, *more, **named)

    return fit


LEAKS = {
    ("text bins",): (settings, "_fit_bins", leaky_bins),
    ("named categories", "named products", "search words", "bins of prices", "bins of amounts"): (
        verbalize,
        "count_events",
        leaky_counts,
    ),
    ("vocabulary",): (encode, "train_texts", leaky_texts),
    ("bounds by category",): (clean, "_fit", leaky_bounds),
}
"""Names of what is fitted → the function that fits them, and one that sees the future."""


@pytest.mark.slow
@pytest.mark.parametrize("names", LEAKS, ids=", ".join)
def test_a_fit_that_sees_the_future_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    module, name, leak = LEAKS[names]
    monkeypatch.setattr(module, name, leak(getattr(module, name)))
    # The canaries of the other windows prove nothing here, and each takes a whole walk.
    monkeypatch.setattr(audit_module, "plants", lambda *given: [p for p in plants(*given) if p.name == VALIDATION])
    found = dirty(audit_leakage(started()))
    for what in names:
        # Canaries in the validation window lie in the past of the test examples, and in no train example's.
        assert (VALIDATION, what) in found
        assert found[VALIDATION, what].example
    assert not [where for where, _ in found if where == SHUFFLED]


@pytest.mark.soak
@pytest.mark.parametrize(
    ("preset", "log", "sample"),
    [
        ("taobao", "taobao_userbehavior_100k.csv.gz", 40_000),
        ("online_retail", "uci_online_retail.csv.gz", 40_000),
    ],
)
def test_no_preset_sees_the_future_on_its_real_log(home: Path, preset: str, log: str, sample: int) -> None:
    audit = audit_leakage(started(real_log(log), preset, engine__buckets=2), most_events=sample)
    assert dirty(audit) == {}
    assert 0.5 * sample < audit.events < 1.5 * sample


@pytest.mark.soak
@pytest.mark.parametrize("preset", sorted(set(presets()) - {"canonical", "taobao", "online_retail"}))
def test_the_settings_of_the_other_presets_hold_on_the_simulated_shop(home: Path, preset: str) -> None:
    """The real samples of these are too short for label windows, so their settings are tried on another log."""
    config = load_config(preset)
    dumped = config.model_dump(mode="json", exclude_unset=True)
    named = {
        f"{section}__{key}": value
        for section in ("clean", "examples", "text")
        if section in dumped
        for key, value in dumped[section].items()
    }
    days = 3 * config.examples.horizon_days + 30
    zone = {"source__timezone": config.source.timezone}
    audit = audit_leakage(started(**{**named, **zone, "simulate__days": days, "examples__train_cutoffs": 2}))
    assert dirty(audit) == {}


@pytest.mark.slow
def test_every_rule_for_missing_values_and_both_units_hold(home: Path) -> None:
    rules = {
        "category": {"rule": "forward_fill"},
        "price": {"rule": "interpolate"},
        "amount": {"rule": "median"},
        "age": {"rule": "median"},
        "gender": {"rule": "constant", "value": "unknown"},
    }
    audit = audit_leakage(started(clean__missing=rules, examples__unit="shopper_product", examples__train_cutoffs=2))
    assert dirty(audit) == {}
    whats = {check.what for check in audit.checks if check.where == VALIDATION}
    assert {"median-amount by category", "median-age by category"} <= whats
