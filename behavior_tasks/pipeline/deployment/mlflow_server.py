"""The MLflow server as the tasks reach it: up, of the client's version, closed to strangers, and keeping files.

In come its address and the tasks' login, out come findings. The one thing to know: a file of a few bytes is written
into the project's experiment, read back and deleted, because only that shows that the server itself keeps artifacts.
"""

import ssl
import time
from importlib.metadata import version
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from behavior_tasks.base.config import DEFAULT_PRESET, load_config
from behavior_tasks.pipeline.deployment.finding import Finding, UnseenError, fail, ok, unseen, warn
from behavior_tasks.pipeline.deployment.settings import (
    ANSWER_SECONDS,
    CONNECT_SECONDS,
    MLFLOW,
    Deployment,
    is_loopback,
    place_of,
)

WHAT, LOGIN, HOSTS, FILES = "MLflow", "MLflow's logins", "MLflow's host names", "MLflow's artifacts"
SLOW_SECONDS = 2.0
SEARCH = "/api/2.0/mlflow/experiments/search"
NAMED = "/api/2.0/mlflow/experiments/get-by-name"
PROXY = "/api/2.0/mlflow-artifacts/artifacts"
FIRST_PASSWORD = ("admin", "password1234")
"""What MLflow starts with where nobody sets another."""
STRANGE_HOST = "rebinding.example"


def look_at_server(deployment: Deployment) -> list[Finding]:
    """Say whether the server answers in time, and whether it is of the client's version."""
    place = place_of(deployment.mlflow)
    try:
        begun = time.perf_counter()
        with _client(deployment) as client:
            healthy = client.get("/health")
            seconds = time.perf_counter() - begun
            told = client.get("/version")
    except httpx.TimeoutException:
        advice = "see the load and the log of the MLflow server and of its database; restart it"
        return [
            fail(
                WHAT,
                f"{place} took the connection, but gave no answer within {ANSWER_SECONDS:.0f} s",
                advice,
                passing=True,
            )
        ]
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        advice = f"start the MLflow server, or mend {MLFLOW}; until then results wait in the state folder"
        return [fail(WHAT, f"{place}: {error}", advice, passing=True)]
    if healthy.status_code >= httpx.codes.BAD_REQUEST:
        advice = "see the MLflow server's log: its database, its disk; then `behavior sync`"
        return [fail(WHAT, f"{place} answers {healthy.status_code}", advice, passing=True)]
    ours, theirs = version("mlflow"), told.text.strip() if told.is_success else ""
    found = f"{theirs or 'unknown version'} at {place}, {seconds * 1000:.0f} ms an answer"
    if told.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        return [
            fail(WHAT, f"{place} answers {told.status_code}", "see the MLflow server's log: its database, its disk")
        ]
    if theirs and theirs.split(".")[:2] != ours.split(".")[:2]:
        return [warn(WHAT, f"{found}, the tasks have {ours}", "run the server from the same image as the tasks")]
    if seconds > SLOW_SECONDS:
        return [warn(WHAT, f"{found}: slow", "see its load and its database's; more memory or workers may be needed")]
    return [ok(WHAT, found)]


def look_at_logins(deployment: Deployment) -> list[Finding]:
    """Say whether the tasks' login is taken, and nobody gets in without one or with the password of the first start."""
    ask = {"max_results": 1}
    try:
        with _client(deployment) as client:
            ours = client.post(SEARCH, json=ask).status_code
        with _client(deployment, login=False) as client:
            nobody = client.post(SEARCH, json=ask).status_code
            first = client.post(SEARCH, json=ask, auth=FIRST_PASSWORD).status_code
    except (httpx.HTTPError, httpx.InvalidURL):
        raise UnseenError(f"no MLflow: see {WHAT}") from None
    if nobody == httpx.codes.OK:
        return [fail(LOGIN, "anybody gets in without one", "start the server with --app-name basic-auth")]
    if first == httpx.codes.OK:
        advice = "change the password of admin on MLflow's page, and keep it as MLFLOW_ADMIN_PASSWORD"
        return [fail(LOGIN, "admin still has the password that every MLflow starts with", advice)]
    if ours in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        advice = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD have to be those of an account of the server"
        return [fail(LOGIN, f"the tasks' login is refused ({ours})", advice)]
    if ours != httpx.codes.OK:
        raise UnseenError(f"the server answers {ours}: see its log")
    user = deployment.get("MLFLOW_TRACKING_USERNAME", "a token")
    return [ok(LOGIN, f"{user} is let in; nobody without a login, nor with MLflow's first password")]


def look_at_hosts(deployment: Deployment) -> list[Finding]:
    """Say whether the server answers to the name that people use, and not to any other."""
    public = urlsplit(deployment.get("BEHAVIOR_MLFLOW_URL")).netloc
    try:
        with _client(deployment) as client:
            # Asked for data: /health and /version answer to any name.
            ask = {"max_results": 1}
            strange = client.post(SEARCH, json=ask, headers={"Host": STRANGE_HOST})
            known = client.post(SEARCH, json=ask, headers={"Host": public}) if public else None
    except (httpx.HTTPError, httpx.InvalidURL):
        raise UnseenError(f"no MLflow: see {WHAT}") from None
    if any(
        answer is not None and answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR for answer in (strange, known)
    ):
        raise UnseenError(f"the server has an error of its own: see {WHAT}")
    if known is not None and known.status_code == httpx.codes.FORBIDDEN:
        return [
            fail(HOSTS, f"{public} is refused, so nobody can open the page", f"add it to --allowed-hosts: {public}")
        ]
    # A name is looked at before a login.
    if strange.is_success or strange.status_code == httpx.codes.UNAUTHORIZED:
        advice = "name the hosts in --allowed-hosts; else a page elsewhere can read MLflow through a browser in here"
        return [fail(HOSTS, "the server answers to any name", advice)]
    if known is None:
        return [unseen(HOSTS, "strange names are refused; BEHAVIOR_MLFLOW_URL does not say which one people use")]
    return [ok(HOSTS, f"{public} is answered to, strange names are refused")]


def look_at_files(deployment: Deployment) -> list[Finding]:
    """Write, read and delete a little file through the server, as a task does with a model."""
    name = load_config(DEFAULT_PRESET).registry.experiment
    try:
        with _client(deployment) as client:
            found = client.get(NAMED, params={"experiment_name": name})
            if found.status_code == httpx.codes.NOT_FOUND:
                raise UnseenError(f"there is no experiment {name} yet; the first run makes it, then ask again")
            if not found.is_success:
                raise UnseenError(f"the server answers {found.status_code} to the experiment: see {LOGIN}")
            place = urlsplit(str(found.json()["experiment"]["artifact_location"]))
            if place.scheme != "mlflow-artifacts":
                advice = (
                    "start the server with --artifacts-destination, not --default-artifact-root; then a new experiment"
                )
                return [fail(FILES, f"not kept by the server, but at {place.scheme or 'a path'}:", advice)]
            return [_write_and_read(client, f"{PROXY}{place.path}/doctor-{uuid4().hex[:12]}")]
    except (httpx.HTTPError, httpx.InvalidURL):
        raise UnseenError(f"no MLflow: see {WHAT}") from None


def _write_and_read(client: httpx.Client, folder: str) -> Finding:
    said = uuid4().bytes
    put = client.put(f"{folder}/probe.bin", content=said)
    if not put.is_success:
        advice = "see the disk of the server's artifact volume and its log; what is refused waits in the state folder"
        return fail(FILES, f"a file can't be written: the server answers {put.status_code}", advice)
    got = client.get(f"{folder}/probe.bin")
    gone = client.delete(folder)
    if got.content != said:
        return fail(FILES, f"a file comes back otherwise ({got.status_code})", "see the server's log and its store")
    if not gone.is_success:
        advice = "the tasks' account needs to manage the experiment, or old files can never be deleted"
        return warn(FILES, f"written and read, but not deleted ({gone.status_code})", advice)
    return ok(FILES, "a file was written through the server, read back and deleted")


def look_at_embedded(deployment: Deployment) -> list[Finding]:
    """Say where the store is when there is no server: in the state folder."""
    if deployment.get(MLFLOW) and not deployment.get(MLFLOW).startswith("sqlite"):
        return [fail(WHAT, f"{MLFLOW} is no address of a server", f"{MLFLOW}=http://mlflow:5000")]
    if deployment.celery:
        return [fail(WHAT, "a store in the state folder, with workers elsewhere", f"{MLFLOW}=http://mlflow:5000")]
    there = (deployment.home.mlflow / "mlflow.db").is_file()
    return [ok(WHAT, "the store is in the state folder" + ("" if there else "; the first run makes it"))]


def clock_of(deployment: Deployment) -> str:
    """Return the `Date` with which the server answers; nothing when it sends none.

    Raises:
        UnseenError: when it does not answer.
    """
    try:
        with _client(deployment) as client:
            return client.get("/health").headers.get("Date", "")
    except (httpx.HTTPError, httpx.InvalidURL):
        raise UnseenError(f"no MLflow: see {WHAT}") from None


def _client(deployment: Deployment, *, login: bool = True) -> httpx.Client:
    """Return a client of the server; with the tasks' login, unless it is to look like a stranger."""
    token, user = deployment.get("MLFLOW_TRACKING_TOKEN"), deployment.get("MLFLOW_TRACKING_USERNAME")
    return httpx.Client(
        base_url=deployment.mlflow,
        auth=(user, deployment.get("MLFLOW_TRACKING_PASSWORD")) if user and login else None,
        headers={"Authorization": f"Bearer {token}"} if token and login else {},
        timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
        verify=_trusted(deployment),
        trust_env=not is_loopback(urlsplit(deployment.mlflow).hostname or ""),
    )


def _trusted(deployment: Deployment) -> ssl.SSLContext | bool:
    """Return whose certificates count; reading them all takes its time, so only where there is one to check."""
    if deployment.mlflow.startswith("http:") or deployment.get("MLFLOW_TRACKING_INSECURE_TLS").lower() == "true":
        return False
    return ssl.create_default_context(cafile=deployment.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or None)
