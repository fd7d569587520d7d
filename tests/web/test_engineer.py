"""The engineer's page: what it shows of a state folder, what it refuses, and what stays when somebody acts."""

import json
import re
import shutil
from datetime import UTC, datetime

import pytest

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE, Home, make_folder
from behavior_tasks.registry import ledger
from behavior_tasks.registry.actions import actions_path, log_action, read_actions
from behavior_tasks.registry.budget import budget_path, reserve
from behavior_tasks.web import rolling_back
from behavior_tasks.web.engineer_draw import draw_heat, draw_matured
from behavior_tasks.web.engineer_watch import read_standing
from behavior_tasks.web.remember import remembered
from behavior_tasks.web.reports import run_report, served_report, watch_report
from tests.registry.test_budget import asked, cost
from tests.web.door import FakeDoor, client, make_app
from tests.web.seeded import HOSTILE, LAST_DAY, watch_days

WHEN = datetime(2026, 11, 24, 9, tzinfo=UTC)
PAGE = "/behavior/"


def crowned(home: Home, *versions: str | None) -> None:
    """Write a ledger in which one version after the other became champion."""
    for was, version in zip((None, *versions), versions, strict=False):
        told = {"kind": "promotion", "model": "behavior", "when": WHEN.isoformat(), "who": "nightly"}
        told |= {"why": f"better {HOSTILE}", "verdict": "promote", "test_hash": None, "run_id": "night"}
        ledger.append(home, {**told, "from_version": was, "version": version})


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> Home:
    home = Home(tmp_path_factory.mktemp("watched"))
    watch_days(home, days=3)
    return home


@pytest.fixture
def home(tmp_path, watched, monkeypatch) -> Home:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.delenv("BEHAVIOR_MLFLOW_URL", raising=False)
    shutil.copytree(watched.root, tmp_path / "home")
    return Home(tmp_path / "home")


def csrf(page: str) -> str:
    return re.search(r'name="csrf" value="([0-9a-f]{64})"', page)[1]


def test_empty_state_folder_has_a_page_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "nothing"))
    shown = client("viewer").get(PAGE)
    assert shown.status_code == 200
    assert "No champion yet" in shown.text
    assert "Trigger the DAG behavior_training" in shown.text


def test_page_tells_champion_alert_and_drift_and_escapes_whatever_they_hold(home):
    crowned(home, "1", "2")
    shown = client("viewer").get(PAGE).text
    assert "version 2" in shown
    assert "Searches fell to 3" in shown
    assert HOSTILE not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "Roll back" not in shown
    assert "Roll back to version 1" in client("op").get(PAGE).text
    assert "严重" in client("viewer").get(f"{PAGE}?lang=zh").text


def test_damaged_ledger_is_said_in_place_of_the_champion(home):
    crowned(home, "1", "2")
    path = ledger.ledger_path(home)
    path.write_bytes(path.read_bytes().replace(b'"who": "nightly"', b'"who": "mallory"', 1))
    shown = client("op").get(PAGE)
    assert shown.status_code == 200
    assert "not what was written" in shown.text
    assert "Roll back" not in shown.text


def test_privacy_budget_has_a_panel_once_something_was_spent_and_damage_is_said(home):
    assert "Privacy budget" not in client("viewer").get(PAGE).text
    reserve(home, asked("a", budget=8.0))
    shown = client("viewer").get(PAGE).text
    assert "Trainings on real logs" in shown
    assert f"ε = {cost(1):.3f} (δ = 1e-05)" in shown
    assert f"{8 - cost(1):.3f} / 8" in shown
    assert "1 not ended, counted in full" in shown
    assert "隐私预算" in client("viewer").get(f"{PAGE}?lang=zh").text
    budget_path(home).write_bytes(budget_path(home).read_bytes().replace(b"5000", b"4000"))
    shown = client("viewer").get(PAGE).text
    assert "The budget ledger, privacy/budget.jsonl, is damaged" in shown


def test_a_champion_that_was_trained_with_somebody_erased_says_so_by_when_it_goes(home):
    crowned(home, "1", "2")
    told = {"model": "behavior", "why": "erased", "by": "2026-12-24", "retired": False}
    marks = [{**told, "version": "1", "champion": False}, {**told, "version": "2", "champion": True}]
    assert "to be trained anew" not in client("viewer").get(PAGE).text
    make_folder(home.privacy).joinpath("retrain.json").write_text(json.dumps(marks), encoding="utf-8")
    shown = client("viewer").get(PAGE).text
    assert shown.count("Trained with shoppers who are erased; to be trained anew by 2026-12-24.") == 1
    marks[1]["champion"] = False
    (home.privacy / "retrain.json").write_text(json.dumps(marks), encoding="utf-8")
    assert "to be trained anew" not in client("viewer").get(PAGE).text


def test_mlflow_that_is_down_is_said_and_holds_nobody_up(home, monkeypatch):
    monkeypatch.setenv("BEHAVIOR_MLFLOW_URL", "http://127.0.0.1:9")
    assert "MLflow does not answer" in client("viewer").get(PAGE).text


def test_rollback_needs_the_sessions_own_form_and_leaves_a_name(home, monkeypatch):
    crowned(home, "1", "2")
    asked = []
    monkeypatch.setattr(rolling_back, "_roll_back", lambda home, **told: asked.append(told))
    app = make_app()
    op = client("op", app)
    form = {"model": "behavior", "to": "1", "why": "calls everybody a buyer"}
    token = csrf(op.get("/behavior/rollback", params={"model": "behavior", "to": "1"}).text)
    for wrong in ({}, {"csrf": "0" * 64}, {"csrf": token[:-1]}):
        assert op.post("/behavior/rollback", data={**form, **wrong}).status_code == 403
    assert client("op", app, session="2").post("/behavior/rollback", data={**form, "csrf": token}).status_code == 403
    elsewhere = op.post("/behavior/rollback", data={**form, "csrf": token}, headers={"sec-fetch-site": "cross-site"})
    assert elsewhere.status_code == 403
    gone = client("anonymous", app).post("/behavior/rollback", data={**form, "csrf": token})
    assert (gone.status_code, "said=expired" in gone.headers["location"]) == (303, True)
    assert asked == []
    answer = op.post("/behavior/rollback", data={**form, "csrf": token})
    assert (answer.status_code, answer.headers["location"]) == (303, "/behavior/?said=rolled_back")
    assert asked == [{"model": "behavior", "to": "1", "who": "op", "why": "calls everybody a buyer"}]
    (line,) = read_actions(home)
    assert (line["who"], line["action"], line["outcome"], line["what"]["to"]) == ("op", "rollback", "done", "1")


@pytest.mark.parametrize(("to", "why"), [("2", "it is champion"), ("7", "never was"), ("1", " "), ("../1", "path")])
def test_rollback_is_refused_with_a_reason_and_the_refusal_is_logged(home, to, why):
    crowned(home, "1", "2")
    with pytest.raises(UserError):
        rolling_back.roll_back(home, model="behavior", to=to, who="olga", why=why)
    (line,) = read_actions(home)
    assert line["outcome"] != "done"
    assert len(ledger.read(home)) == 2


def test_waiting_approval_is_answered_by_op_through_airflow(home):
    door = FakeDoor()
    instance = {"dag_run_id": "night", "task_id": "registry.approval", "map_index": -1, "state": "deferred"}
    body = f"**F1** {HOSTILE}\n\n| | new |\n|---|---|\n| recall | 0.4 |"
    question = {"task_instance": instance, "subject": f"May it? {HOSTILE}", "body": body}
    door.questions.append(question)
    app = make_app(door)
    seen = client("viewer", app).get(PAGE).text
    assert "May it? &lt;script&gt;" in seen
    assert "<strong>F1</strong> &lt;script&gt;" in seen
    assert "<td>0.4</td>" in seen
    assert "Approve" not in seen
    op = client("op", app)
    form = {"run": "night", "answer": "Approve", "why": "fine", "csrf": csrf(op.get(PAGE).text)}
    assert op.post("/behavior/answer", data={**form, "answer": "Maybe"}).status_code == 409
    assert op.post("/behavior/answer", data=form).headers["location"] == "/behavior/?said=approved"
    ((path, body),) = door.answered
    assert path == "/api/v2/dags/behavior_training/dagRuns/night/taskInstances/registry.approval/-1/hitlDetails"
    assert body == {"chosen_options": ["Approve"], "params_input": {"why": "fine"}}
    assert op.post("/behavior/answer", data=form).status_code == 409, "an answered question was answered again"
    assert [line["action"] for line in read_actions(home)] == ["approval"]


@pytest.mark.parametrize(
    "name", ["..", ".", "../secrets", "%2e%2e%2fsecrets", "/etc/passwd", "date=2026-11-24", "2026-11-24/../..", ""]
)
def test_reports_are_only_found_under_names_that_there_are(home, name):
    (home.root / "report.html").write_text("nobody may read this")
    (home.runs / "night").mkdir(parents=True)
    (home.runs / "night" / "run.json").write_text("{}")
    assert run_report(home, name, "data") is None
    assert run_report(home, "night", name) is None
    assert watch_report(home, name) is None
    assert served_report(home, name, "2026-11-24") is None
    assert served_report(home, "demand", name) is None
    assert "nobody may read this" not in client("admin").get(f"/behavior/watch/{name}").text


def test_report_is_shown_under_a_policy_in_which_nothing_runs(home):
    shown = client("viewer").get(f"/behavior/watch/{LAST_DAY}")
    assert shown.status_code == 200
    assert shown.headers["content-security-policy"].endswith("sandbox")
    assert client("viewer").get("/behavior/served/risk/2026-11-24").status_code == 404
    assert client("viewer").get("/behavior/served-restricted/risk/2026-11-24").status_code == 403


def test_heat_map_and_matured_figures_stand_where_they_belong(home):
    standing = read_standing(home)
    assert standing.heat.days == [LAST_DAY.replace(day=LAST_DAY.day - back) for back in (2, 1, 0)]
    heat = draw_heat(standing.heat)
    assert len(heat.fields) == 3 * len(standing.heat.columns)
    worst = max(heat.fields, key=lambda field: float(field["title"].rpartition(": ")[2]))
    assert worst["y"] == 0, "the farthest column comes first"
    (matured,) = standing.matured
    assert matured.promised == pytest.approx(0.44)
    assert matured.waiting == 1
    drawing = draw_matured(matured)
    best, promised = max(drawing.dots, key=lambda dot: -dot["y"]), drawing.lines[5]["y1"]
    assert len(drawing.dots) == 3
    assert (best["y"] < promised) == (max(day["f1"] for day in matured.days) > 0.44)


def test_log_of_actions_notices_a_changed_line(home):
    for number in range(3):
        log_action(home, when=WHEN, who="olga", action="rollback", outcome="done", what={"to": number})
    path = actions_path(home)
    path.write_bytes(path.read_bytes() + b'{"half')
    log_action(home, when=WHEN, who="olga", action="rollback", outcome="done", what={})
    assert len(read_actions(home)) == 4
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(path.read_bytes().replace(b'"to": 1', b'"to": 7'))
    with pytest.raises(UserError, match="Line 3"):
        read_actions(home)


def test_what_was_read_is_read_again_once_its_file_changes(tmp_path):
    file = tmp_path / "facts.json"
    read = []

    def make() -> int:
        read.append(1)
        return json.loads(file.read_text())

    file.write_text("1")
    assert [remembered("t", [file], make) for _ in range(3)] == [1, 1, 1]
    file.write_text("22")
    assert remembered("t", [file], make) == 22
    assert len(read) == 2
