"""The real logs that benchmarks read: a log's file and the folder that was given in; its address out.

The one thing to know: none of them is part of this project, so without a folder only the simulated shop is measured.
"""

from pathlib import Path

from behavior_tasks.base.errors import UserError


def real_log(data: str, file: str | None, folder: Path | None) -> str | None:
    """Return the address of a log; None: the simulated shop.

    Args:
        data: what the benchmark calls it.
        file: its name; None: it is simulated.
        folder: where the real logs are.

    Raises:
        UserError: when the log needs a folder and none is given.
    """
    if file is None:
        return None
    if folder is None:
        raise UserError(
            f'The data "{data}" needs its log.',
            expected=f"a folder with {file}",
            next_step="add --input-folder FOLDER",
        )
    return str(folder / file)
