"""The package's own names: each can be used, and none is loaded before it is."""

import subprocess
import sys

import pytest

from behavior_tasks import pipeline

LOADED = """
import sys
from behavior_tasks import pipeline
print(sorted(name for name in sys.modules if name.startswith("behavior_tasks.pipeline.")))
"""


def test_every_name_leads_to_something_of_that_name() -> None:
    for name in pipeline.__all__:
        found = getattr(pipeline, name)
        assert getattr(found, "__name__", name) == name


def test_a_name_that_there_is_not_is_refused() -> None:
    with pytest.raises(AttributeError, match="run_stagez"):
        _ = pipeline.run_stagez


def test_nothing_is_loaded_before_it_is_used() -> None:
    told = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
