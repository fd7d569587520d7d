"""What Airflow's metadata tell: who beats, which DAGs it has read, what hangs, whether the pool of training is there.

In come the tables, out come findings. The one thing to know: ages are taken by the database's clock, so a clock that
goes wrong on this machine makes nobody look dead.
"""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from behavior_tasks.pipeline.deployment.finding import Finding, fail, ok, warn
from behavior_tasks.pipeline.deployment.metadata import connected
from behavior_tasks.pipeline.deployment.settings import Deployment
from behavior_tasks.pipeline.schedules import NIGHTS, TRAINING_POOL

if TYPE_CHECKING:
    from sqlalchemy import Connection

PARTS = {"SchedulerJob": "Scheduler", "DagProcessorJob": "DAG processor", "TriggererJob": "Triggerer"}
COMMANDS = {"SchedulerJob": "scheduler", "DagProcessorJob": "dag-processor", "TriggererJob": "triggerer"}
NIGHTLY = tuple(f"behavior_{name}" for name in NIGHTS)
"""The DAGs that have to run by themselves."""
QUIET_SECONDS = 30.0
"""As Airflow's own health page: one that has not beaten for so long counts as dead."""
WATCHED_SECONDS = 6.0
"""A little longer than the pause between two beats."""
GONE_SECONDS = 3600.0
"""Rows of processes that were stopped long ago are nobody's concern."""
AHEAD_SECONDS = 2.0
LOST_SECONDS = 300.0
"""A running task beats more often than that."""
QUEUED_SECONDS = 600.0
LONGEST_RUN = timedelta(hours=38)
DEFAULT_LIFETIME_SECONDS = 600
"""Airflow's own."""
LONGEST_TASK_SECONDS = 12 * 3600
"""Of a training, where Airflow has not read the DAGs yet."""
LIFETIME = "AIRFLOW__EXECUTION_API__JWT_EXPIRATION_TIME"
PATIENCE = "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT"
MOST_NAMED = 3


def look_at_pool(deployment: Deployment) -> list[Finding]:
    """Say whether the pool of training has a slot; without one Airflow never starts a training."""
    rows = _ask(deployment, "SELECT slots FROM slot_pool WHERE pool = :pool", pool=TRAINING_POOL)
    what, make = f"Pool {TRAINING_POOL}", f'airflow pools set {TRAINING_POOL} 1 "one training a GPU"'
    if not rows:
        return [fail(what, "not there", make)]
    slots = int(rows[0]["slots"])
    if slots == 0 or slots < -1:
        return [fail(what, f"{slots} slots", make)]
    return [ok(what, "no limit" if slots == -1 else f"{slots} slot{'s' if slots > 1 else ''}")]


def look_at_heartbeats(deployment: Deployment) -> list[Finding]:
    """Say whether scheduler, DAG processor and triggerer beat, and whether their clocks agree with the database's."""
    beats = _beats(deployment)
    if any(age > QUIET_SECONDS for _, age in beats.values()):
        # One whose clock is behind looks dead; it goes on beating all the same.
        time.sleep(WATCHED_SECONDS)
        later = _beats(deployment)
        moved = {key for key in later if key in beats and later[key][0] != beats[key][0]}
        beats = later
    else:
        moved = set()
    return [_part(kind, beats, moved) for kind in PARTS]


def look_at_dags(deployment: Deployment) -> list[Finding]:
    """Say which DAG files Airflow could not read, and which DAGs of the night are missing or paused."""
    broken = _ask(deployment, "SELECT filename, stacktrace FROM import_error ORDER BY filename")
    known = {row["dag_id"]: row for row in _ask(deployment, "SELECT dag_id, is_paused, is_stale FROM dag")}
    findings = []
    for row in broken[:MOST_NAMED]:
        name = str(row["filename"]).rpartition("/")[2]
        last = (str(row["stacktrace"] or "").strip().splitlines() or ["no reason is kept"])[-1][:200]
        findings.append(fail("DAG files", f"{name} can't be read: {last}", "airflow dags list-import-errors says all"))
    missing = [name for name in NIGHTLY if name not in known or known[name]["is_stale"]]
    paused = [name for name in NIGHTLY if name in known and name not in missing and known[name]["is_paused"]]
    if missing:
        advice = "start the DAG processor and see its log; AIRFLOW__CORE__DAGS_FOLDER has to name dags/"
        findings.append(fail("DAGs", f"Airflow does not know {', '.join(missing)}", advice))
    if paused:
        advice = "; ".join(f"airflow dags unpause {name}" for name in paused)
        findings.append(warn("DAGs", f"paused, so nothing happens by night: {', '.join(paused)}", advice))
    return findings or [ok("DAGs", f"{', '.join(NIGHTLY)} are read and not paused")]


def look_at_runs(deployment: Deployment) -> list[Finding]:
    """Say which tasks have lost their process or wait too long, and which runs never end."""
    query = "SELECT dag_id, run_id, task_id, state, queue, queued_dttm, last_heartbeat_at FROM task_instance"
    with connected(deployment) as connection:
        now = clock_of(connection)
        tasks = _rows(connection, f"{query} WHERE state IN ('running', 'queued')")
        runs = _rows(connection, "SELECT dag_id, run_id, start_date FROM dag_run WHERE state = 'running'")
    what, findings = "Runs under way", []
    for task in tasks:
        name = f"{task['task_id']} of {task['dag_id']}"
        running = task["state"] == "running"
        since = _instant(task["last_heartbeat_at"] if running else task["queued_dttm"])
        age = (now - since).total_seconds() if since else 0.0
        if running and age > LOST_SECONDS:
            advice = "the scheduler tries it again by itself; where no scheduler runs, start one"
            findings.append(warn(what, f"{name} has not been heard of for {age / 60:.0f} minutes", advice))
        elif not running and age > QUEUED_SECONDS:
            advice = f"see the workers of queue {task['queue']} and the slots of its pool"
            findings.append(warn(what, f"{name} has waited for {age / 60:.0f} minutes", advice))
    for run in runs:
        begun = _instant(run["start_date"])
        if begun and now - begun > LONGEST_RUN:
            told = f"{run['run_id']} of {run['dag_id']} runs since {begun:%Y-%m-%d %H:%M} UTC"
            findings.append(fail(what, told, "mark it as failed on its page in Airflow; nothing starts behind it"))
    return findings[:MOST_NAMED] or [
        ok(what, f"{_count(len(runs), 'run')}, {_count(len(tasks), 'task')}, all of them alive")
    ]


def look_at_lifetimes(deployment: Deployment) -> list[Finding]:
    """Say whether a task's token, and the broker's patience, outlast the longest task."""
    longest = _longest_task(deployment)
    lifetime = int(float(deployment.get(LIFETIME, str(DEFAULT_LIFETIME_SECONDS))))
    told = f"{lifetime} s; the longest task may take {longest:.0f} s"
    short = fail("Token lifetime", told, f"set {LIFETIME}=86400 for every service, then restart them")
    findings = [ok("Token lifetime", told) if lifetime > longest else short]
    patience = deployment.get(PATIENCE)
    if deployment.celery and patience and float(patience) <= longest:
        told = f"{patience} s; the longest task may take {longest:.0f} s"
        findings.append(fail("Broker's patience", told, f"set {PATIENCE}=86400: a longer task is started twice"))
    return findings


def clock_of(connection: "Connection") -> datetime:
    """Return the time by the database's clock."""
    from sqlalchemy import text

    sqlite = connection.dialect.name == "sqlite"
    query = "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')" if sqlite else "SELECT clock_timestamp()"
    found = _instant(connection.execute(text(query)).scalar())
    assert found is not None
    return found


def _longest_task(deployment: Deployment) -> float:
    """Return the longest time limit of a task in seconds, as Airflow has read it."""
    rows = _ask(deployment, "SELECT dag_id, data FROM serialized_dag ORDER BY last_updated")
    newest = {row["dag_id"]: row["data"] for row in rows if str(row["dag_id"]).startswith("behavior_")}
    limits = [0.0]
    for data in newest.values():
        read = json.loads(data) if isinstance(data, str) else data or {}
        for task in read.get("dag", {}).get("tasks", []):
            limits.append(float(task.get("__var", {}).get("execution_timeout") or 0.0))
    return max(limits) or LONGEST_TASK_SECONDS


def _beats(deployment: Deployment) -> dict[tuple[str, str], tuple[datetime, float]]:
    """Return (kind, host) → its last beat and how many seconds ago that was, of all that beat lately."""
    with connected(deployment) as connection:
        now = clock_of(connection)
        rows = _rows(
            connection,
            "SELECT job_type, hostname, max(latest_heartbeat) AS beat FROM job WHERE state = 'running'"
            " GROUP BY job_type, hostname",
        )
    beats = {}
    for row in rows:
        beat = _instant(row["beat"])
        if beat is not None and (age := (now - beat).total_seconds()) < GONE_SECONDS:
            beats[str(row["job_type"]), str(row["hostname"])] = (beat, age)
    return beats


def _part(kind: str, beats: Mapping[tuple[str, str], tuple[datetime, float]], moved: set[tuple[str, str]]) -> Finding:
    what = PARTS[kind]
    ages = {host: age for (job, host), (_, age) in beats.items() if job == kind}
    behind = {host: age for host, age in ages.items() if age > QUIET_SECONDS and (kind, host) in moved}
    ahead = {host: -age for host, age in ages.items() if age < -AHEAD_SECONDS}
    alive = [host for host, age in ages.items() if age <= QUIET_SECONDS or host in behind]
    for word, hosts in (("behind", behind), ("ahead of", ahead)):
        for host, seconds in hosts.items():
            told = f"{host} beats, but its clock is about {seconds:.0f} s {word} the database's"
            return fail(what, told, "switch on time synchronisation (chrony, systemd-timesyncd) on that machine")
    if not alive:
        last = f"last heard of {min(ages.values()):.0f} s ago" if ages else "not heard of within the hour"
        advice = f"start it: airflow {COMMANDS[kind]} (one machine: make up; compose: docker compose up -d)"
        return fail(what, last, advice)
    return ok(what, f"{len(alive)} alive, last beat {min(ages[host] for host in alive):.0f} s ago")


def _ask(deployment: Deployment, query: str, **values: object) -> list[Mapping[str, Any]]:
    with connected(deployment) as connection:
        return _rows(connection, query, **values)


def _rows(connection: "Connection", query: str, **values: object) -> list[Mapping[str, Any]]:
    from sqlalchemy import text

    return [dict(row) for row in connection.execute(text(query), values).mappings()]


def _instant(value: object) -> datetime | None:
    """Return a column's instant with its zone; SQLite gives text in UTC."""
    if value is None:
        return None
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    assert isinstance(found, datetime)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
