"""Typing a command in, in this process."""

import pytest

from behavior_tasks.cli.main import main


def exit_code(*words: str) -> int:
    """Run `behavior` with these words and return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["behavior", *words])
        with pytest.raises(SystemExit) as ended:
            main()
    code = ended.value.code or 0
    assert isinstance(code, int)
    return code
