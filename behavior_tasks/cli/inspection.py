"""Inspections: runs that a command makes to look at a log, not to train on it.

In come the command's name and what the user asked; out comes the URI of a new run. The one thing to know: each call
makes a run of its own, named by the command and the time, so that two looks at one log never meet.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from behavior_tasks.base.config import DEFAULT_PRESET
from behavior_tasks.cli.stages import start_now


def start_inspection(
    command: str,
    *,
    input_path: str | None = None,
    preset: str = DEFAULT_PRESET,
    config: Path | None = None,
    overrides: Mapping[str, Any],
) -> str:
    """Make a run of today and return its URI.

    Args:
        command: what the run's name begins with.
        input_path: the user's log; None: the simulated shop.
        preset: name of a file in `conf/`.
        config: the user's own YAML over the preset.
        overrides: dotted setting → value.

    Raises:
        UserError: naming everything that is wrong with the settings.
    """
    asked = {"input": input_path, "preset": preset, "config_file": str(config) if config else None}
    return start_now("inspection", asked, overrides, command=f"{command}-")
