"""The command line starts at once: what takes seconds to import is imported by the commands that need it."""

import subprocess
import sys

SLOW = ("torch", "transformers", "sklearn", "scipy", "skops", "mlflow", "matplotlib", "optuna", "pyspark", "airflow")
LOOK = "import sys, behavior_tasks.cli.main; print(*sorted(set(sys.argv[1:]) & sys.modules.keys()))"


def test_no_command_imports_what_only_another_needs() -> None:
    found = subprocess.run([sys.executable, "-c", LOOK, *SLOW], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
