"""The state folder's temporary folders: gone at the end, and swept when their process was killed."""

import signal
import subprocess
import sys
from pathlib import Path

from behavior_tasks.base.home import Home, sweep_temporary_folders, temporary_folder

KILLED = """
import os, signal, sys
from pathlib import Path
from behavior_tasks.base.home import Home, temporary_folder

with temporary_folder(Home(Path(sys.argv[1])), "show") as folder:
    (folder / "half.txt").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_temporary_folder_is_gone_at_the_end(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with temporary_folder(home, "show") as first, temporary_folder(home, "show") as second:
        (first / "something.txt").write_text("something")
        assert first != second
    assert list(home.work.iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_all_else_stays(tmp_path: Path) -> None:
    home = Home(tmp_path)
    sweep_temporary_folders(home)
    assert subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False).returncode == -signal.SIGKILL
    (left,) = home.work.iterdir()
    assert (left / "half.txt").is_file()
    unfinished = home.work / "train" / "0123456789"
    unfinished.mkdir(parents=True)
    with temporary_folder(home, "audit") as alive:
        sweep_temporary_folders(home)
        assert set(home.work.iterdir()) == {alive, home.work / "train"}
    assert unfinished.is_dir()
