"""Models that were trained with people who are erased: found by what they were made from, marked, and retired.

In come the artifacts, the ledger of erasures and the registered versions; out come marks, what has to be trained anew
by when, and files that are gone. The one thing to know: a model counts as trained with somebody when an erasure took
rows out of the examples or tokens that it was made from, and its own key does not name that erasure; where those
inputs are gone, nobody can show that it was not.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING
from uuid import uuid4

from pydantic import BaseModel, ConfigDict

from behavior_tasks.base.artifacts import SCHEME, Artifact, ArtifactStore, write_durably
from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.data.erasures import Erasure, read_erasures
from behavior_tasks.watch.alerts import Alert, Finding, claim_training

if TYPE_CHECKING:
    from behavior_tasks.registry.erased import Trained

TAUGHT = ("features", "encode")
"""Stages whose rows a model learns from."""
LEARNED = ("train", "baselines")
BASELINES = f"{SCHEME}baselines/"
COPIES = ("package", "champion", "champions")
"""Stages whose artifacts hold a model of another."""
RECORD = "retrain.json"


class Retrain(BaseModel):
    """A version that was trained with people who are erased."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    version: str
    champion: bool
    why: str
    by: date
    """By when it must be trained anew."""
    retired: bool

    @property
    def words(self) -> str:
        """One sentence, with its full stop, for a page or a screen."""
        what = f"Version {self.version} of {self.model}"
        return f"{what} was trained with shoppers who are erased and is to be trained anew by {self.by}."


def retrain_notes(home: Home) -> list[Retrain]:
    """Return the champions that are to be trained anew, as the last erasure or night found; MLflow is not asked."""
    return [one for one in read_retrains(home) if one.champion]


def read_retrains(home: Home) -> list[Retrain]:
    """Return every marked version, the retired ones too; none where nobody was erased."""
    try:
        content = (home.privacy / RECORD).read_bytes()
    except FileNotFoundError:
        return []
    return [Retrain.model_validate(one) for one in json.loads(content)]


def train_again(model: str) -> str:
    """Return the command that trains a registered model anew.

    >>> train_again("behavior"), train_again("behavior-taobao")
    ('behavior run', 'behavior run --set registry.model_name=behavior-taobao')
    """
    return "behavior run" + ("" if model == Config().registry.model_name else f" --set registry.model_name={model}")


def overdue_findings(home: Home, today: date) -> Iterator[Finding]:
    """Yield a finding for each champion that should have been trained anew by now."""
    for one in retrain_notes(home):
        if one.by < today:
            yield _finding(one)


def mark_versions(home: Home, config: Config, *, today: date) -> list[Retrain]:
    """Mark the versions that were trained with people who are erased, and keep which they are; repeating it is free.

    Args:
        home: the state folder.
        config: `privacy.retrain` and `privacy.retrain_days`.
        today: the calendar day.

    Raises:
        store.UnreachableError: when MLflow does not answer; what is erased stays erased.
    """
    from behavior_tasks.registry.erased import mark, trained_versions

    lineage, lines = Lineage(home), read_erasures(home)
    for version in trained_versions(home) if lines else []:
        requests = lineage.requests(version.artifact, created=version.created)
        if requests and version.why is None:
            by = today + timedelta(days=config.privacy.retrain_days if config.privacy.retrain == "within_days" else 1)
            mark(home, version, why=f"trained with shoppers of the erasures {', '.join(requests)}", by=by.isoformat())
    return _keep(home, trained_versions(home) if lines else [])


def retire_versions(home: Home, config: Config, *, today: date) -> list[str]:
    """Delete the models of marked versions whose registered model has a champion that is not marked.

    Whoever calls holds `alone_with_artifacts`. Goes, too, what nobody has registered (candidates, trials).

    Returns:
        What went: `MODEL version N`, and the URIs of artifacts.
    """
    from behavior_tasks.registry.erased import retire, trained_versions

    if not read_erasures(home):
        return []
    versions, gone = trained_versions(home), []
    sound = {one.model for one in versions if one.is_champion and one.why is None}
    for version in versions:
        due = version.why and not version.retired and version.model in sound
        if due and retire(home, config, version, day=today.isoformat()):
            gone.append(f"{version.model} version {version.version}")
    versions = trained_versions(home)
    gone += _delete_artifacts(home, {one.artifact for one in versions if not one.retired})
    _keep(home, versions)
    return gone


def ask_for_retraining(home: Home, config: Config, *, today: date, run_id: str) -> str | None:
    """Ask for a training when a champion is to be trained anew at once, or is overdue; at most once a day.

    Returns:
        None when a training is to be started now, else why not.
    """
    marked = retrain_notes(home)
    due = [one for one in marked if config.privacy.retrain == "now" or one.by < today]
    if not due:
        return f"no champion is due to be trained anew (privacy.retrain: {config.privacy.retrain})"
    alerts = [Alert(**_finding(one).model_dump(), since=today) for one in due]
    return claim_training(home, today=today, run_id=run_id, alerts=alerts)


class Lineage:
    """Which erasures have touched what a model was made from."""

    def __init__(self, home: Home) -> None:
        self._store = ArtifactStore(home.artifacts)
        self._found = {line.request: line for line in read_erasures(home) if line.kind == "done" and line.found}
        self._inputs = cache(self._all_inputs)

    def requests(self, uri: str, *, created: float | None = None) -> list[str]:
        """Return the erasures whose people a model was trained with, in order.

        Args:
            uri: of a train or baselines artifact.
            created: when it was registered, Unix seconds; where what it was made from is gone, erasures that came
                later and found anything count.
        """
        inputs, missing = self._inputs(uri)
        model = self._find(uri)
        named = {name.removeprefix("erased ") for name in model.manifest.inputs} if model else set()
        touched = {
            one.request for artifact in inputs if artifact.manifest.stage in TAUGHT for one in artifact.manifest.erased
        }
        if missing and created is not None:
            touched |= {name for name, line in self._found.items() if _seconds(line) > created}
        return sorted(touched - named)

    def _all_inputs(self, uri: str) -> tuple[tuple[Artifact, ...], bool]:
        """Return all artifacts that one was made from, and whether some of those it learned from are gone."""
        found: dict[str, Artifact] = {}
        missing, waiting = False, [uri]
        while waiting:
            artifact = self._find(name := waiting.pop())
            if artifact is None:
                missing |= name == uri or name.removeprefix(SCHEME).partition("/")[0] in TAUGHT
                continue
            if name not in found:
                found[name] = artifact
                waiting += [one for one in artifact.manifest.inputs.values() if one.startswith(SCHEME)]
        return tuple(found.values()), missing

    def _find(self, uri: str) -> Artifact | None:
        stage, _, key = uri.removeprefix(SCHEME).partition("/")
        return self._store.find(stage, key)


def _seconds(line: Erasure) -> float:
    return datetime.fromisoformat(line.when).timestamp()


def _keep(home: Home, versions: Sequence["Trained"]) -> list[Retrain]:
    marked = [
        Retrain(
            model=one.model,
            version=one.version,
            champion=one.is_champion,
            why=one.why,
            by=date.fromisoformat(one.by),
            retired=one.retired is not None,
        )
        for one in versions
        if one.why is not None and one.by is not None
    ]
    if marked != read_retrains(home):
        make_folder(home.privacy)
        content = json.dumps([one.model_dump(mode="json") for one in marked], indent=2)
        write_durably(home.privacy / RECORD, content.encode())
    return marked


def _delete_artifacts(home: Home, kept: set[str]) -> list[str]:
    """Delete models that were trained with people who are erased, and their copies, but those of versions that stay."""
    store, lineage = ArtifactStore(home.artifacts), Lineage(home)
    for uri in list(kept):
        stage, _, key = uri.removeprefix(SCHEME).partition("/")
        artifact = store.find(stage, key)
        kept |= {one for one in artifact.manifest.inputs.values() if one.startswith(BASELINES)} if artifact else set()
    learned = [artifact for stage in LEARNED for artifact in _of(home, store, stage)]
    going = {one.uri for one in learned if one.uri not in kept and lineage.requests(one.uri)}
    gone = []
    for copy in (artifact for stage in COPIES for artifact in _of(home, store, stage)):
        told = {str(one) for one in copy.manifest.inputs.values()} | set(_models_of(copy))
        # A candidate's package holds boosting's model beside it, which may stay with another version.
        if going & told and not (kept & set(_models_of(copy))):
            gone.append(_delete(copy))
    return gone + [_delete(one) for one in learned if one.uri in going]


def _of(home: Home, store: ArtifactStore, stage: str) -> list[Artifact]:
    folder = home.artifacts / stage
    keys = sorted(one.name for one in folder.iterdir() if not one.name.startswith(".")) if folder.is_dir() else []
    return [artifact for key in keys if (artifact := store.find(stage, key)) is not None]


def _models_of(copy: Artifact) -> Iterator[str]:
    """Yield the URIs of the models that a copy holds."""
    for told in (copy.facts, *(one for one in copy.facts.values() if isinstance(one, dict))):
        if isinstance(model := told.get("model"), str):
            yield model


def _delete(artifact: Artifact) -> str:
    """Delete an artifact; renamed first, into what the next build sweeps away should this process be killed."""
    gone = artifact.path.with_name(f".{artifact.path.name}.{uuid4().hex[:8]}")
    artifact.path.rename(gone)
    shutil.rmtree(gone)
    return artifact.uri


def _finding(one: Retrain) -> Finding:
    return Finding(
        code="retrain_overdue",
        about=f"{one.model} {one.version}",
        level="severe",
        words=f"{one.words} It still serves.",
        next_step=f"train anew, and look why the gate kept it if that was done: {train_again(one.model)}",
        training=True,
    )
