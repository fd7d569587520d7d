"""The real logs give what they gave before, to the row and to the hash."""

import json
import os
from pathlib import Path

import pytest

from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.data.keys import KEY_VARIABLE
from tests.data.golden_logs import KEY, LOGS, RealLog, measure
from tests.data.stages import real_log

BIG = {"online_retail"}


@pytest.mark.parametrize(
    "log", [pytest.param(log, id=log.preset, marks=[pytest.mark.slow] * (log.preset in BIG)) for log in LOGS]
)
def test_a_real_log_gives_what_it_gave(log: RealLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_log(log.file)
    assert os.environ[KEY_VARIABLE] == KEY
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    assert measure(log) == json.loads(log.golden.read_bytes())


def test_every_row_of_a_golden_file_is_accounted_for() -> None:
    for log in LOGS:
        golden = json.loads(log.golden.read_bytes())
        for stage in ("ingest", "clean"):
            rows = golden["rows"][stage]
            assert rows["in"] == rows["out"] + sum(rows["removed"].values())
        assert golden["rows"]["ingest"]["out"] == golden["rows"]["clean"]["in"]
        assert sum(golden["actions"].values()) == golden["rows"]["clean"]["out"]
