"""This machine: the state folder and who may read it, room on the disks, open ports, the log, and the time zone.

In comes the deployment, out come findings. The one thing to know: a disk or a port of another machine is not seen from
here, and is said so.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psutil

from behavior_tasks.base.addresses import is_database, scheme_of, shown_address
from behavior_tasks.base.config import DEFAULT_PRESET, load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.data.listing import list_local
from behavior_tasks.pipeline.deployment.finding import Finding, UnseenError, fail, ok, unseen, warn
from behavior_tasks.pipeline.deployment.metadata import connected
from behavior_tasks.pipeline.deployment.settings import BROKER, Deployment, host_of, is_loopback

FOLDER, SECRETS, OWNER, ENV = "State folder", "Secrets folder", "Owner of the files", ".env"
DISK, PORTS, LOG, ZONE = "Disk", "Open ports", "Log to read", "Time zone"
LOW, EMPTY = 0.10, 0.02
"""Shares of a disk that is free."""
OTHERS = 0o077
EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - what is looked for, not what is bound
WORKER_LOGS, TRIGGERER_LOGS = 8793, 8794
"""Ports on which Airflow hands out the logs of tasks."""
AIRFLOW_PAGE, MLFLOW_PAGE = "AIRFLOW__API__BASE_URL", "BEHAVIOR_MLFLOW_URL"


def look_at_folder(deployment: Deployment) -> list[Finding]:
    """Write a little file into the state folder and delete it."""
    root = deployment.home.root
    if not root.is_dir():
        return [warn(FOLDER, "not there yet; the first run makes it", "export BEHAVIOR_HOME=/a/folder, or make run")]
    for folder in (root, deployment.home.artifacts, deployment.home.runs, deployment.home.registry):
        try:
            if folder.is_dir():
                with tempfile.TemporaryFile(dir=folder) as file:
                    file.write(b"behavior doctor")
        except OSError as error:
            where = "the state folder" if folder == root else f"{folder.name}/"
            advice = "give this user the folder (chown -R), or mount the volume for writing"
            return [fail(FOLDER, f"{where} can't be written to: {error.strerror}", advice)]
    return [ok(FOLDER, "can be written to")]


def look_at_secrets(deployment: Deployment) -> list[Finding]:
    """Say whether anybody but the owner may read the secrets folder or a file in it."""
    folder = deployment.home.secrets
    if not folder.is_dir():
        return [unseen(SECRETS, "not there yet; what is made first is private")]
    try:
        open_to = [path for path in (folder, *sorted(folder.iterdir())) if _open_to_others(path)]
    except OSError as error:
        return [fail(SECRETS, f"can't be read: {error.strerror}", "run this command as the user of the services")]
    # Locks hold no secret.
    named = [path.name for path in open_to if path.suffix != ".lock"]
    if named:
        advice = "chmod 700 secrets && chmod 600 secrets/*; if somebody may have read them, make new ones"
        return [fail(SECRETS, f"others may read {', '.join(named[:3])}", advice)]
    return [ok(SECRETS, "mode 700, its files 600")]


def look_at_env(deployment: Deployment) -> list[Finding]:
    """Say whether anybody but the owner may read .env."""
    file = deployment.project / ".env"
    if not file.is_file():
        if not deployment.celery:
            return []
        return [unseen(ENV, "not here: it stays on the machine where the services are started; look there: ls -l .env")]
    if _open_to_others(file):
        advice = "chmod 600 .env; if somebody may have read it, make new secrets"
        return [fail(ENV, f"others may read it (mode {stat.S_IMODE(file.stat().st_mode):o})", advice)]
    return [ok(ENV, "mode 600")]


def look_at_owner(deployment: Deployment) -> list[Finding]:
    """Say whether all of the state folder belongs to the user who runs this command."""
    root, me = deployment.home.root, os.getuid()
    if not root.is_dir():
        return []
    others = {}
    home = deployment.home
    # Other programs may have folders of their own in there, as Postgres has.
    shared = (root, home.artifacts, home.runs, home.work, home.registry, home.served, home.watch, home.secrets)
    for path in (*shared, *sorted(home.artifacts.glob("*"))):
        if path.exists() and (owner := path.stat().st_uid) != me:
            others[path.name if path != root else "the state folder"] = owner
    if others:
        named = ", ".join(f"{name} (user {owner})" for name, owner in list(others.items())[:3])
        advice = "let every service run as the same user, then chown -R the state folder to it"
        return [warn(OWNER, f"this is user {me}, but not all is: {named}", advice)]
    return [ok(OWNER, f"user {me}, as this command")]


def look_at_disks(deployment: Deployment) -> list[Finding]:
    """Say how much room each disk has that is seen from here, and which are not."""
    places = {
        "state folder": _existing(deployment.home.root),
        "artifacts": _existing(deployment.home.artifacts),
        "temporary files": Path(tempfile.gettempdir()),
    }
    database, elsewhere = _database_folder(deployment)
    if database:
        places["Postgres"] = database
    if not is_loopback(host_of(deployment.mlflow)) and deployment.mlflow:
        elsewhere.append("MLflow's artifacts")
    findings = []
    seen: dict[int, str] = {}
    for name, path in places.items():
        device = path.stat().st_dev
        if device not in seen:
            seen[device] = name
            findings.append(_room(f"{DISK} of {name}", path))
    if elsewhere:
        told = f"not seen from here: {', '.join(elsewhere)}; look there: df -h"
        findings.append(unseen(f"{DISK} elsewhere", told))
    return findings


def look_at_ports(deployment: Deployment) -> list[Finding]:
    """Say which of the services' ports on this machine are open to other machines."""
    if not deployment.here:
        return [
            unseen(PORTS, "of other machines; look there (docker compose ps, ss -ltn): only the pages, on 127.0.0.1")
        ]
    ports = {
        int(deployment.get("AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT", str(WORKER_LOGS))): "the workers' logs",
        int(deployment.get("AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT", str(TRIGGERER_LOGS))): "the triggerer's logs",
    }
    ports |= {port: name for address, name in _addresses(deployment) if (port := _port(address))}
    try:
        listening = {c.laddr.port: c.laddr.ip for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    except psutil.AccessDenied:
        raise UnseenError("this user may not see who listens; look with: sudo ss -ltnp") from None
    wide = [f"{name} ({port})" for port, name in sorted(ports.items()) if listening.get(port) in EVERYWHERE]
    if wide:
        advice = "bind them to 127.0.0.1 and put a proxy with TLS in front, or close them in the firewall"
        return [warn(PORTS, f"open to other machines: {', '.join(wide)}", advice)]
    private = [name for port, name in sorted(ports.items()) if port in listening]
    return [ok(PORTS, f"only on this machine: {', '.join(private) or 'nothing listens'}")]


def look_at_log(deployment: Deployment) -> list[Finding]:
    """Say whether the log that is read every night is there; nothing is fetched for it."""
    log, preset = deployment.get("BEHAVIOR_INPUT"), deployment.get("BEHAVIOR_PRESET", DEFAULT_PRESET)
    try:
        load_config(preset)
        if not log:
            advice = "name your log: BEHAVIOR_INPUT=/path/or/url, and BEHAVIOR_PRESET"
            return [warn(LOG, "BEHAVIOR_INPUT is not set: every night reads a simulated shop", advice)]
        if scheme_of(log) not in {"", "file"}:
            kind = "a database" if is_database(log) else "a URL"
            return [unseen(LOG, f"{shown_address(log)} is {kind}: behavior doctor --input tries it")]
        files = list_local(log)
    except UserError as error:
        return [fail(LOG, " ".join(filter(None, (error.problem, error.found))), error.next_step or "mend the name")]
    for file in files:
        if not os.access(file.path, os.R_OK):
            missing = "does not exist" if not file.path.exists() else "may not be read by this user"
            return [fail(LOG, f"{file.name} {missing}", "mend BEHAVIOR_INPUT, or mount and give the file to this user")]
    return [ok(LOG, f"{len(files)} file{'s' if len(files) > 1 else ''}, preset {preset}")]


def look_at_zone(deployment: Deployment) -> list[Finding]:
    """Say whether the time zone of the nights is one."""
    name = deployment.get("BEHAVIOR_TIMEZONE", "UTC")
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return [fail(ZONE, f"there is no {name}", "BEHAVIOR_TIMEZONE=Europe/Berlin, or another name of the IANA list")]
    return [ok(ZONE, name)]


def _room(what: str, path: Path) -> Finding:
    usage, nodes = shutil.disk_usage(path), os.statvfs(path)
    free = usage.free / usage.total
    told = f"{usage.free / 2**30:.1f} of {usage.total / 2**30:.1f} GiB free ({free:.0%})"
    advice = "behavior gc deletes what no run needs; or give it a bigger disk"
    if nodes.f_files and nodes.f_favail / nodes.f_files < EMPTY:
        return fail(what, f"{told}, but hardly a file more fits (inodes)", advice)
    if free < EMPTY:
        return fail(what, told, advice)
    return warn(what, told, advice) if free < LOW else ok(what, told)


def _database_folder(deployment: Deployment) -> tuple[Path | None, list[str]]:
    """Return where Postgres keeps its files, if this process may see it; else who has to be looked at elsewhere."""
    if not deployment.database or deployment.database.startswith("sqlite"):
        return None, []
    if deployment.here:
        from sqlalchemy import text

        try:
            with connected(deployment) as connection:
                folder = Path(str(connection.execute(text("SHOW data_directory")).scalar()))
                if folder.is_dir():
                    return folder, []
        except UnseenError:
            pass  # a plain role may not ask, a database may be away
        except PermissionError:
            pass
    return None, ["Postgres"]


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def _open_to_others(path: Path) -> bool:
    return bool(path.stat().st_mode & OTHERS)


def _addresses(deployment: Deployment) -> Iterator[tuple[str, str]]:
    pages = {AIRFLOW_PAGE: "Airflow", MLFLOW_PAGE: "MLflow"}
    servers = ((deployment.database, "Postgres"), (deployment.get(BROKER), "Redis"), (deployment.mlflow, "MLflow"))
    for address, name in (*servers, *((deployment.get(variable), page) for variable, page in pages.items())):
        if is_loopback(host_of(address)):
            yield address, name


def _port(address: str) -> int:
    """Return the port that an address names; 0 when it names none."""
    return urlsplit(address).port or 0
