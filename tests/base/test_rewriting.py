"""Rewriting a finished artifact: fewer rows under the same key, whole or not at all, and links left alone."""

from pathlib import Path

import pytest

from behavior_tasks.base import rewriting, workfolder
from behavior_tasks.base.artifacts import Artifact, ArtifactStore, ErasedRows, Output, Rows, hash_file
from behavior_tasks.base.rewriting import rewrite_artifact
from behavior_tasks.base.workfolder import replacement_of


def make(root: Path) -> Artifact:
    def work(out: Path, key: str) -> Output:
        (out / "kept.txt").write_text("for good")
        (out / "people").mkdir()
        (out / "people" / "list.txt").write_text("ann\nbob\n")
        return Output(rows=Rows(unit_in="r", unit_out="r", rows_in=2, rows_out=2), content_hash="a", facts={"n": 2})

    return ArtifactStore(root).build(stage="s", code="", settings={}, inputs={}, work=work).artifact


def without_bob(folder: Path) -> int:
    new = folder / "people" / "new"
    new.write_text("ann\n")
    new.replace(folder / "people" / "list.txt")
    return 1


def rewrite(artifact: Artifact) -> int:
    return rewrite_artifact(
        artifact, request="r1", when="now", work=without_bob, facts=lambda facts: {**facts, "told": True}
    )


@pytest.mark.parametrize("swaps", [True, False])
def test_a_file_is_renewed_and_the_others_stay_the_same(
    swaps: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not swaps:
        monkeypatch.setattr(workfolder, "_swap_names", lambda *_: False)
    old = make(tmp_path)
    inode = (old.path / "kept.txt").stat().st_ino
    assert rewrite(old) == 1
    new = ArtifactStore(tmp_path).open(old.uri)
    assert (new.path / "people" / "list.txt").read_text() == "ann\n"
    assert (new.path / "kept.txt").stat().st_ino == inode
    assert {name: entry.sha256 for name, entry in new.manifest.files.items()} == {
        name: hash_file(new.path / name) for name in ("kept.txt", "people/list.txt")
    }
    assert new.manifest.erased == (ErasedRows(request="r1", when="now", rows=1),)
    assert new.manifest.rows == old.manifest.rows
    assert new.facts == {"n": 2, "told": True}
    assert new.manifest.content_hash not in {old.manifest.content_hash, None}
    assert [path.name for path in (tmp_path / "s").iterdir()] == [old.key]


def test_where_nobody_goes_nothing_is_changed(tmp_path: Path) -> None:
    old = make(tmp_path)
    before = old.path.stat().st_ino
    assert rewrite_artifact(old, request="r1", when="now", work=lambda _: 0, facts=dict) == 0
    assert old.path.stat().st_ino == before


def test_a_replacement_that_a_crash_left_beside_an_empty_place_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make(tmp_path)

    def crash(place: Path) -> None:
        place.rename(tmp_path / "s" / ".away.00000000")
        raise KeyboardInterrupt

    monkeypatch.setattr(rewriting, "exchange", crash)
    with pytest.raises(KeyboardInterrupt):
        rewrite(old)
    assert replacement_of(old.path).is_dir()
    found = ArtifactStore(tmp_path).find("s", old.key)
    assert found is not None
    assert (found.path / "people" / "list.txt").read_text() == "ann\n"
    assert not replacement_of(old.path).exists()
