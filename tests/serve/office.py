"""The office: a copy of the served shop, with a file of rules of audiences, that may be written to."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from behavior_tasks.base.artifacts import Artifact, ArtifactStore
from behavior_tasks.base.config import changed
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.pipeline.runs import RunRecord, StageRecord, keep_run
from behavior_tasks.pipeline.serving import conclude_scoring, serve_stage
from behavior_tasks.pipeline.stages import SERVING
from behavior_tasks.serve.served import Served, need_served
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
            config = changed(
                self.shop.config,
                {
                    **{"audiences.file": str(self.rules), "audiences.reasons": 3, "audiences.holdout": 0.3},
                    **{"privacy.min_group": 1, **settings},  # the shop has 160 shoppers
                },
            )
            store, old = ArtifactStore(self.home.artifacts), self.shop.run
            names = ("simulate", "source", "ingest", "clean")
            made = {name: store.open(old.need(name).uri) for name in names}
            made["champions"] = champions or store.open(self.shop.champions.uri)
            run = keep_run(self.home, self._record(config, as_of))
            for name in (*names, "champions"):
                run.keep(StageRecord(stage=name, uri=made[name].uri, seconds=0, reused=False))
            for name in STAGES:
                made[name] = store.open(serve_stage(name, run.uri, *(made[of].uri for of in SERVING[name].inputs)))
            conclude_scoring(run.uri, STAGES)
            return need_served(self.home, "audiences", date.fromisoformat(made["moment"].facts["as_of"]))

    def _record(self, config: Any, as_of: date | None) -> RunRecord:
        fixed: dict[str, Any] = {"name": "", "day": date(2026, 11, 23), "input": None, "preset": "canonical"}
        return RunRecord(run_id=f"score-{as_of}", trigger="scoring", as_of=as_of, config=config, **fixed)
