"""Airflow's api-server: up, taking the tokens that are signed here, and closed to the best known password.

In come its addresses and the shared secret, out come findings. The one thing to know: a task proves who it is with a
token that the scheduler signs and the api-server checks, so both must hold the same secret; a token is tried for that.
"""

import time
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from behavior_tasks.pipeline.deployment.finding import Finding, UnseenError, fail, ok, unseen, warn
from behavior_tasks.pipeline.deployment.settings import (
    ANSWER_SECONDS,
    CONNECT_SECONDS,
    Deployment,
    is_loopback,
    place_of,
)

WHAT, TOKENS, PUBLIC, ADMIN = "Airflow's server", "Airflow's tokens", "Airflow's public address", "Airflow's logins"
JWT_SECRET = "AIRFLOW__API_AUTH__JWT_SECRET"  # noqa: S105 - the variable's name
AUDIENCE = "urn:airflow.apache.org:task"
TOKEN_SECONDS = 60
SLOW_SECONDS = 2.0
HEALTH = "/api/v2/monitor/health"
START = "start it: airflow api-server (one machine: make up; compose: docker compose up -d)"


def look_at_server(deployment: Deployment) -> list[Finding]:
    """Say whether the api-server answers, and whether it is Airflow that answers."""
    address = _inside(deployment)
    begun = time.perf_counter()
    answer = _get(f"{address}{HEALTH}")
    seconds = time.perf_counter() - begun
    if isinstance(answer, httpx.TimeoutException):
        told = f"{place_of(address)} took the connection, but gave no answer within {ANSWER_SECONDS:.0f} s"
        return [fail(WHAT, told, "see the load and the log of the api-server and of its database", passing=True)]
    if isinstance(answer, httpx.HTTPError):
        return [fail(WHAT, f"{place_of(address)}: {answer}", START, passing=True)]
    if not answer.is_success or "metadatabase" not in answer.text:
        advice = "another program has this port, or Airflow has an error: see who listens (ss -ltnp) and its log"
        return [fail(WHAT, f"what answers at {place_of(address)} is no healthy Airflow ({answer.status_code})", advice)]
    if answer.json()["metadatabase"]["status"] != "healthy":
        return [fail(WHAT, "it answers, but has no database", "mend the metadata database first", passing=True)]
    told = f"at {place_of(address)}, {seconds * 1000:.0f} ms an answer"
    if seconds > SLOW_SECONDS:
        return [warn(WHAT, f"{told}: slow", "see its load; AIRFLOW__API__WORKERS gives it more processes")]
    return [ok(WHAT, told)]


def look_at_tokens(deployment: Deployment) -> list[Finding]:
    """Try whether the api-server takes a token that is signed with the secret of this environment."""
    import jwt

    secret = deployment.get(JWT_SECRET)
    if not secret:
        return [fail(TOKENS, f"{JWT_SECRET} is not set", "set the same one for every service (make secrets, make up)")]
    now = int(time.time())
    audience = deployment.get("AIRFLOW__EXECUTION_API__JWT_AUDIENCE", AUDIENCE).partition(",")[0]
    claims = {"jti": uuid4().hex, "sub": str(uuid4()), "aud": audience, "iat": now, "nbf": now}
    claims["exp"] = now + TOKEN_SECONDS
    if issuer := deployment.get("AIRFLOW__API_AUTH__JWT_ISSUER"):
        claims["iss"] = issuer
    token = jwt.encode(claims, secret, algorithm="HS512")
    url = f"{_inside(deployment)}/execution/dag-runs/count?dag_id=behavior_training"
    answer = _get(url, headers={"Authorization": f"Bearer {token}"})
    if isinstance(answer, httpx.HTTPError) or answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise UnseenError(f"no api-server: see {WHAT}")
    if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        advice = f"give every service the same {JWT_SECRET} and the same time, then restart all of them"
        return [fail(TOKENS, "the api-server refuses a token that is signed with this environment's secret", advice)]
    return [ok(TOKENS, "the api-server takes what is signed here; other services show it by running tasks")]


def look_at_public_address(deployment: Deployment) -> list[Finding]:
    """Say whether the address that people use leads to Airflow, as far as that is seen from here."""
    address = deployment.get("AIRFLOW__API__BASE_URL").rstrip("/")
    if not address:
        return [warn(PUBLIC, "AIRFLOW__API__BASE_URL is not set", "set it, or links in messages lead nowhere")]
    host = urlsplit(address).hostname or ""
    if urlsplit(address).scheme == "http" and not is_loopback(host):
        advice = "put TLS in front: docs/deployment.md"
        return [warn(PUBLIC, f"{address} sends passwords in the clear", advice)]
    answer = _get(f"{address}{HEALTH}")
    if isinstance(answer, httpx.HTTPError):
        return [unseen(PUBLIC, f"{address} can't be reached from here; open it where people are")]
    if not answer.is_success:
        return [fail(PUBLIC, f"{address} answers {answer.status_code}", "see the proxy in front of Airflow")]
    return [ok(PUBLIC, address)]


def look_at_logins(deployment: Deployment) -> list[Finding]:
    """Try the login admin with the password admin, which has to be refused."""
    try:
        with _client(_inside(deployment)) as client:
            tried = {"username": "admin", "password": "admin"}
            status = client.post(f"{_inside(deployment)}/auth/token", json=tried).status_code
    except (httpx.HTTPError, httpx.InvalidURL):
        raise UnseenError(f"no api-server: see {WHAT}") from None
    if status in {httpx.codes.OK, httpx.codes.CREATED}:
        advice = "airflow users reset-password --username admin, with the password in .env"
        return [fail(ADMIN, "admin gets in with the password admin", advice)]
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise UnseenError(f"the api-server answers {status}: see its log")
    return [ok(ADMIN, "admin is not let in with the password admin")]


def _inside(deployment: Deployment) -> str:
    """Return the address at which the services reach the api-server."""
    execution = deployment.get("AIRFLOW__CORE__EXECUTION_API_SERVER_URL").rstrip("/")
    return execution.removesuffix("/execution") or deployment.get("AIRFLOW__API__BASE_URL", "http://127.0.0.1:8080")


def _get(url: str, *, headers: dict[str, str] | None = None) -> httpx.Response | httpx.HTTPError:
    try:
        with _client(url) as client:
            return client.get(url, headers=headers)
    except httpx.InvalidURL as error:
        return httpx.UnsupportedProtocol(str(error))
    except httpx.HTTPError as error:
        return error


def _client(address: str) -> httpx.Client:
    # Reading all certificates takes its time, so only where there is one to check.
    waits = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
    return httpx.Client(timeout=waits, verify=address.startswith("https:"))
