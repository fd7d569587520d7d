"""Arrays beside a table: the tokens of `encode` and the curves of the audiences, cut to the rows that are left.

In comes a folder whose table has lost rows, or is about to; out come arrays that fit it again. The one thing to know:
a row of a token set is found by its number alone, so index, offsets, tokens and numbers change together or not at all.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from behavior_tasks.base.home import Home
from behavior_tasks.data.keys import identity_key
from behavior_tasks.pipeline.privacy.erase_files import Whom, take_out
from behavior_tasks.serve.audiences_curve import write_curves
from behavior_tasks.serve.audiences_files import TABLE
from behavior_tasks.serve.audiences_holdout import Holdout
from behavior_tasks.text.token_files import ArrayFile, map_array
from behavior_tasks.text.tokens import ENCODING_FILE, INDEX_FILE, Encoding

CUT = ".cut"


def cut_tokens(folder: Path, whom: Whom) -> None:
    """Take examples out of a token set: of its index, and of all arrays in the index's order.

    Args:
        folder: a copy of the artifact whose files may be replaced.
        whom: who goes.
    """
    index = pq.read_table(folder / INDEX_FILE, columns=["shopper"])
    keep = ~whom.mask(index["shopper"], "shopper").to_numpy(zero_copy_only=False)
    offsets = np.asarray(map_array(folder / "offsets.npy"))
    edges = np.flatnonzero(np.diff(np.concatenate([[False], keep, [False]]).astype(np.int8)))
    spans = [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]
    for name in ("tokens.npy", "numbers.npy"):
        array = map_array(folder / name)
        with ArrayFile(folder / f"{name}{CUT}", array.dtype, array.shape[1:]) as file:
            for first, end in spans:
                file.append(array[offsets[first] : offsets[end]] if name == "tokens.npy" else array[first:end])
        (folder / f"{name}{CUT}").replace(folder / name)
    lengths = np.diff(offsets)[keep]
    _save(folder / "offsets.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    take_out(folder / INDEX_FILE, "rows", whom)
    encoding = Encoding.model_validate_json((folder / ENCODING_FILE).read_bytes())
    encoding.model_copy(update={"examples": int(keep.sum()), "tokens": int(lengths.sum())}).save(folder)


def draw_curves(home: Home, folder: Path, *, holdout: float) -> None:
    """Add up anew what any budget buys, from the table of who is left.

    Args:
        home: has the identity key, which draws the control.
        folder: the audiences of a date, whose files may be replaced.
        holdout: share of the control, as when they were filled.
    """
    curves = list(folder.glob("budget-*.npy"))
    if not curves:
        return  # they were handed out before budgets were added up
    for old in curves:
        old.unlink()
    write_curves(folder, pd.read_parquet(folder / TABLE), holdout=holdout, draw=Holdout(identity_key(home)).drawn)


def _save(path: Path, array: np.ndarray) -> None:
    new = path.with_name(path.name + CUT)
    with new.open("wb") as stream:
        np.save(stream, array)
    new.replace(path)
