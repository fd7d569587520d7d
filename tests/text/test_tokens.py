"""Token sets open at once at any size, and only when their files belong together."""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from behavior_tasks.base.artifacts import hash_file
from behavior_tasks.base.errors import UserError
from behavior_tasks.text.token_files import ArrayFile, map_array
from behavior_tasks.text.tokens import Encoding, TokenSet


def token_set(folder: Path) -> Path:
    """Three examples with five tokens and two numbers."""
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer" / "tokenizer.json").write_text('{"model": {}}')
    np.save(folder / "tokens.npy", np.arange(5, dtype=np.uint16))
    np.save(folder / "offsets.npy", np.array([0, 2, 2, 5]))
    np.save(folder / "numbers.npy", np.ones((3, 2), dtype=np.float32))
    table = pd.DataFrame({"example": ["a", "b", "c"], "split": ["test", "train", "test"], "label": [0, 1, 1]})
    table.to_parquet(folder / "index.parquet")
    write_encoding(folder)
    return folder


def write_encoding(folder: Path, **changes: object) -> None:
    given = {
        "examples": 3,
        "tokens": 5,
        "vocabulary": 9,
        "numbers": ("events", "spend"),
        "tokenizer": hash_file(folder / "tokenizer" / "tokenizer.json"),
        "mask": None,
    }
    Encoding.model_validate(given | changes).save(folder)


def test_what_belongs_together_opens(tmp_path: Path) -> None:
    tokens = TokenSet.load(token_set(tmp_path / "encode" / "key"))
    assert tokens.rows("test").tolist() == [0, 2]
    assert tokens.read_index(["label"])["label"].tolist() == [0, 1, 1]
    assert tokens.sequences.number_names == ("events", "spend")
    assert len(tokens.sequences) == 3
    assert isinstance(tokens.sequences.tokens, np.memmap)


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        TokenSet.load(folder)
    assert "delete artifacts/encode/key" in str(caught.value)
    assert str(folder.parent.parent) not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "values", "found"),
    [
        ("tokens.npy", np.arange(4, dtype=np.uint16), "tokens.npy of the shape (4,)"),
        ("offsets.npy", np.array([0, 2, 5]), "offsets.npy of the shape (3,)"),
        ("offsets.npy", np.array([0, 2, 2, 4]), "from 0 to 4"),
        ("offsets.npy", np.array([1, 2, 2, 5]), "from 1 to 5"),
        ("offsets.npy", np.array([0.0, 2, 2, 5]), "offsets.npy of float64"),
        ("tokens.npy", np.arange(5, dtype=np.float32), "tokens.npy of float32"),
        ("numbers.npy", np.ones((3, 1), dtype=np.float32), "numbers.npy of the shape (3, 1)"),
        ("numbers.npy", np.array([object()] * 3), "Python objects"),
    ],
)
def test_arrays_of_another_encoding_are_refused(tmp_path: Path, name: str, values: np.ndarray, found: str) -> None:
    folder = token_set(tmp_path / "encode" / "key")
    np.save(folder / name, values)
    assert found in refused(folder)


def test_another_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = token_set(tmp_path / "encode" / "key")
    (folder / "tokenizer" / "tokenizer.json").write_text('{"model": {"type": "BPE"}}')
    assert "another tokenizer" in refused(folder)


@pytest.mark.parametrize("name", ["tokens.npy", "offsets.npy", "numbers.npy", "index.parquet", "encoding.json"])
def test_missing_cut_and_empty_files_are_named(tmp_path: Path, name: str) -> None:
    folder = token_set(tmp_path / "encode" / "key")
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-3])
    assert name in refused(folder)
    (folder / name).write_bytes(b"")
    assert name in refused(folder)
    (folder / name).unlink()
    assert f"no {name}" in refused(folder)


def test_counts_of_another_set_are_refused(tmp_path: Path) -> None:
    folder = token_set(tmp_path / "encode" / "key")
    write_encoding(folder, tokens=6)
    assert "(6,), as encoding.json says" in refused(folder)
    (folder / "encoding.json").write_text(json.dumps({"numbers": []}))
    assert "encoding.json" in refused(folder)
    write_encoding(folder)
    pd.DataFrame({"example": ["a"], "split": ["test"]}).to_parquet(folder / "index.parquet")
    assert "index.parquet of 1 rows" in refused(folder)


def test_a_set_of_many_gigabytes_opens_at_once(tmp_path: Path) -> None:
    folder = token_set(tmp_path / "encode" / "key")
    tokens, examples = 20_000_000_000, 3
    header = {"descr": "<u2", "fortran_order": False, "shape": (tokens,)}
    with (folder / "tokens.npy").open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        # Holes take no room on the disk.
        stream.truncate(stream.tell() + 2 * tokens)
    np.save(folder / "offsets.npy", np.array([0, 2, 2, tokens]))
    write_encoding(folder, tokens=tokens)
    # CPU seconds: a busy machine makes nothing of them, and to read so many bytes takes tens.
    began = time.process_time()
    opened = TokenSet.load(folder)
    assert time.process_time() - began < 1
    assert len(opened.sequences) == examples
    assert opened.sequences.tokens[-1] == 0


def test_arrays_grow_by_rows_and_by_whole_files(tmp_path: Path) -> None:
    one, two, empty = (tmp_path / f"{name}.npy" for name in ("one", "two", "empty"))
    with ArrayFile(empty, np.dtype(np.float32), (2,)):
        pass
    with ArrayFile(one, np.dtype(np.float32), (2,)) as file:
        file.append(np.arange(6).reshape(3, 2))
        file.append(np.arange(2).reshape(1, 2))
    with ArrayFile(two, np.dtype(np.float32), (2,)) as file:
        file.append_file(one)
        file.append_file(empty)
        file.append_file(one)
    assert np.load(two).tolist() == map_array(two).tolist() == [[0, 1], [2, 3], [4, 5], [0, 1]] * 2
    assert map_array(empty).shape == np.load(empty).shape == (0, 2)
