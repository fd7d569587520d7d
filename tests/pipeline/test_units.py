"""The whole run of products, from the shop to a verdict; `tests/cli/test_commands.py` runs that of shoppers."""

from pathlib import Path

import pytest

from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.registry import package_stage
from tests.shop import check_verdict, run_until


@pytest.mark.slow
def test_a_run_of_products_reaches_its_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(package_stage, "SINGLE", 3)  # shoppers that both models are asked about one by one
    asked = {"examples.unit": "shopper_product", "examples.candidates": 12}
    check_verdict(run_until("gate", "products", overrides=asked), "shopper_product", most=12)
