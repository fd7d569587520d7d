"""The scan, certificates of erasure and access requests, on a shop that the real stages have made."""

import base64
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from typer.testing import CliRunner

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.cli.main import app
from behavior_tasks.data.erasures import Erasure, add_erasure
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.keys import fingerprint, identity_key, secret_key
from behavior_tasks.data.tombstones import tombstone
from behavior_tasks.pipeline.privacy.access import everything_about
from behavior_tasks.pipeline.privacy.access_files import kept_until, write_access
from behavior_tasks.pipeline.privacy.certificate import certify, check_certificate
from behavior_tasks.pipeline.privacy.scan import scan, write_report
from behavior_tasks.pipeline.privacy.search_all import Elsewhere
from tests.serve.world import ServedShop

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
NOWHERE = Elsewhere()


@pytest.fixture(scope="module")
def home(shop: ServedShop, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A copy of the shop's state folder."""
    return Home(shutil.copytree(shop.home.root, tmp_path_factory.mktemp("copied") / "home", symlinks=True))


def somebody(home: Home) -> str:
    """Return a raw id of the simulated log that has events."""
    (log,) = {line.split(",")[0] for line in _log(home).read_text().splitlines()[1:2]}
    return log


def _log(home: Home) -> Path:
    return next(home.artifacts.glob("simulate/*/events.csv"))


def erased(home: Home, *ids: str, kind: str = "done") -> Erasure:
    key, graves = identity_key(home), secret_key(home, "tombstone")
    return Erasure(
        kind=kind,  # type: ignore[arg-type]
        request="r1",
        when="2026-11-27T09:00:00+00:00",
        who="ann",
        why="ticket",
        shoppers=tuple(pseudonym(one, key) for one in ids),
        tombstones=tuple(tombstone(one, graves) for one in ids),
        identity_key=fingerprint(key),
        found={"clean-part": 3},
    )


def test_nothing_of_the_source_stands_outside_it(home: Home) -> None:
    found = scan(home, NOWHERE, now=NOW)
    assert list(found.found.hits) == []
    assert found.asked["raw id"] == 160
    assert found.found.searched["artifact clean-part"].rows > 1000
    assert write_report(home, found).is_file()


def test_a_leak_is_named_without_the_word(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = Home(shutil.copytree(home.root, tmp_path / "home", symlinks=True))
    raw_id, key = somebody(copy), identity_key(copy).hex()
    (copy.root / "services").mkdir()
    (copy.root / "services" / "api.log").write_text(f"GET /shoppers/{raw_id} {key}\n")
    monkeypatch.setenv(HOME_VARIABLE, str(copy.root))
    answer = CliRunner().invoke(app, ["privacy", "scan", "--json", str(tmp_path / "scan.json")])
    assert answer.exit_code == 1
    told = json.loads((tmp_path / "scan.json").read_text())
    assert {(hit["place"], hit["what"], hit["count"]) for hit in told["found"]} == {
        ("services/api.log", "raw id", 1),
        ("services/api.log", "secret", 1),
    }
    written = answer.output + "".join(path.read_text() for path in copy.privacy.glob("scan-*"))
    assert raw_id not in written
    assert key not in written
    assert "services/api.log" in written


def test_a_certificate_tells_presence_and_absence_and_is_signed(home: Home, tmp_path: Path) -> None:
    copy = Home(shutil.copytree(home.root, tmp_path / "home", symlinks=True))
    raw_id = somebody(copy)
    with pytest.raises(UserError, match="Nobody was erased"):
        certify(copy, NOWHERE, now=NOW, who="ann")
    add_erasure(copy, erased(copy, "nobody-1"))
    gone = certify(copy, NOWHERE, now=NOW, who="ann")
    assert gone.absent
    assert gone.content["shoppers"] == 1
    _third_party_checks(gone.file)
    checked = check_certificate(copy, gone.file)
    assert checked.is_own
    assert not check_certificate(Home(tmp_path / "elsewhere"), gone.file).is_own
    assert "nobody-1" not in gone.file.read_text() + gone.page.read_text()
    for name in erased(copy, "nobody-1").shoppers:
        assert name not in gone.file.read_text() + gone.page.read_text()

    changed = tmp_path / "changed.json"
    changed.write_text(gone.file.read_text().replace('"shoppers": 1', '"shoppers": 2'))
    with pytest.raises(UserError, match="changed after it was signed"):
        check_certificate(copy, changed)

    with pytest.raises(UserError, match="never erased"):
        certify(copy, NOWHERE, now=NOW, who="ann", raw_ids=[raw_id])
    add_erasure(copy, erased(copy, raw_id))
    there = certify(copy, NOWHERE, now=NOW.replace(hour=13), who="ann", raw_ids=[raw_id])
    assert not there.absent
    kinds = {hit.kind for hit in there.found.hits}
    assert kinds >= {"artifact clean-part", "artifact verbalize", "artifact encode"}
    assert raw_id not in there.file.read_text() + there.page.read_text()


def _third_party_checks(file: Path) -> None:
    """Check a signature with the public key beside it and no code of this project."""
    signed = json.loads(file.read_text())
    signature = base64.b64decode(signed.pop("signature")["value"])
    content = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    key = load_pem_public_key((file.parent / "public-key.pem").read_bytes())
    assert isinstance(key, Ed25519PublicKey)
    key.verify(signature, content)


def test_the_command_verifies_and_checks(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = Home(shutil.copytree(home.root, tmp_path / "home", symlinks=True))
    monkeypatch.setenv(HOME_VARIABLE, str(copy.root))
    nobody = CliRunner().invoke(app, ["erase", "--verify"])
    assert (nobody.exit_code, "Nobody was erased yet" in nobody.output) == (0, True)
    add_erasure(copy, erased(copy, somebody(copy)))
    there = CliRunner().invoke(app, ["erase", "--verify", "--who", "ann"])
    assert there.exit_code == 1
    assert "Not absent" in there.output
    (file,) = copy.privacy.glob("certificates/*.json")
    checked = CliRunner().invoke(app, ["erase", "--check-certificate", str(file)])
    assert checked.exit_code == 0
    assert "NOT absent" in checked.output
    assert somebody(copy) not in there.output + checked.output


def test_an_erasure_that_is_not_through_is_no_absence(home: Home, tmp_path: Path) -> None:
    copy = Home(shutil.copytree(home.root, tmp_path / "home", symlinks=True))
    add_erasure(copy, erased(copy, "nobody-2", kind="asked"))
    found = certify(copy, NOWHERE, now=NOW, who="ann")
    assert not found.absent
    assert found.content["not_through"] == ["r1"]


def test_what_an_earlier_key_has_named_is_no_absence(home: Home, tmp_path: Path) -> None:
    copy = Home(shutil.copytree(home.root, tmp_path / "home", symlinks=True))
    add_erasure(copy, erased(copy, "nobody-3"))
    (copy.secrets / "identity.key").write_text("cd" * 32)
    found = certify(copy, NOWHERE, now=NOW, who="ann")
    assert not found.absent
    assert found.content["under_earlier_keys"]


def test_everything_about_somebody_is_written_for_its_owner_only(home: Home, tmp_path: Path) -> None:
    copy = Home(shutil.copytree(home.root, tmp_path / "home", symlinks=True))
    raw_id = somebody(copy)
    found = everything_about(copy, f" {raw_id} ", NOWHERE, now=NOW)
    assert found is not None
    rows = {section.name: section.rows for section in found.sections}
    theirs = [line for line in _log(copy).read_text().splitlines() if line.startswith(f"{raw_id},")]
    assert len(rows["log"]) == len(theirs)
    assert len(rows["clean"]) <= len(theirs)
    assert {row["product_id"] for row in rows["clean"]} <= {row["product_id"] for row in rows["log"]}
    assert rows["verbalize"]
    assert rows["features"]
    out = tmp_path / "out"
    files = write_access(copy, found, out, who="ann", kept=kept_until(found, _privacy(copy)))
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert out.stat().st_mode & 0o777 == 0o700
    told = json.loads((out / "data.json").read_text())
    assert told["shopper"] == raw_id
    assert told["clean"] == rows["clean"]
    page = (out / "index.html").read_text()
    assert "Events that are used" in page
    logged = (copy.registry / "exports.jsonl").read_text()
    assert "access request" in logged
    assert raw_id not in logged
    assert found.pseudonym not in logged
    with pytest.raises(UserError, match="there already"):
        write_access(copy, found, out, who="ann", kept=[])


def _privacy(home: Home) -> object:
    from behavior_tasks.pipeline.runs import last_runs

    return last_runs(home, most=1, inspections=True)[0].record.config.privacy


def test_nothing_is_held_about_a_stranger(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = Home(shutil.copytree(home.root, tmp_path / "home", symlinks=True))
    add_erasure(copy, erased(copy, "gone-1"))
    monkeypatch.setenv(HOME_VARIABLE, str(copy.root))
    stranger = CliRunner().invoke(app, ["export", "--shopper", "stranger-1"])
    assert stranger.exit_code == 1
    assert "Nothing is held about this shopper." in stranger.output
    gone = CliRunner().invoke(app, ["export", "--shopper", "gone-1"])
    assert gone.exit_code == 1
    assert "erased on 2026-11-27" in gone.output
