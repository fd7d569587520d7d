"""Keys and passwords of a deployment: there, strong, none that is known, no two the same.

In comes the environment of the services, out come findings that name variables only. The one thing to know: no secret,
and nothing that is computed from one, is ever part of a finding.
"""

import base64
import binascii
from collections import defaultdict
from collections.abc import Iterator

from behavior_tasks.base.errors import UserError
from behavior_tasks.data.keys import KEY_VARIABLE, identity_key, key_exists
from behavior_tasks.pipeline.deployment.finding import Finding, UnseenError, fail, ok, warn
from behavior_tasks.pipeline.deployment.metadata import connected
from behavior_tasks.pipeline.deployment.settings import BROKER, DATABASE, Deployment, password_of

KEYS, FERNET, PASSWORDS, PSEUDONYMS = "Shared keys", "Fernet key", "Passwords", "Pseudonym key"
FERNET_VARIABLE = "AIRFLOW__CORE__FERNET_KEY"
SHARED = ("AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__API__SECRET_KEY")
SHORTEST_KEY, SHORTEST_PASSWORD, FEWEST_SIGNS = 32, 12, 8
"""Characters; and different characters."""
KNOWN = frozenset(
    {
        "admin", "airflow", "airflow_jwt_secret", "behavior", "change-me", "changeit", "changeme", "default", "mlflow",
        "password", "password1234", "postgres", "redis", "secret", "static_secret", "temporary_key", "test",
        # Airflow's own documentation shows this Fernet key.
        "81HqDtbqAywKSOumSha3BhWNOdQ26slT6K0YaZeZyPs=",
    }
)  # fmt: skip
MAKE = "make secrets makes new ones (one machine: make up keeps its own); every service needs the same, then a restart"


def look_at_keys(deployment: Deployment) -> list[Finding]:
    """Say whether the keys that all services share are there, strong, and different."""
    values = {name: deployment.get(name) for name in (*SHARED, FERNET_VARIABLE)}
    missing = [name for name, value in values.items() if not value]
    if missing:
        return [fail(KEYS, f"not set: {', '.join(missing)}", MAKE)]
    weak = [name for name in SHARED if _is_weak(values[name], SHORTEST_KEY)]
    if weak:
        return [fail(KEYS, f"known, too short or too plain: {', '.join(weak)}", MAKE)]
    by_value = defaultdict(list)
    for name, value in values.items():
        by_value[value].append(name)
    for names in by_value.values():
        if len(names) > 1:
            return [warn(KEYS, f"the same key for {' and '.join(names)}", MAKE)]
    return [ok(KEYS, f"{len(values)} keys, strong and different; that others hold the same: see Airflow's tokens")]


def look_at_fernet(deployment: Deployment) -> list[Finding]:
    """Say whether the Fernet key is one, and opens what was written with it."""
    from cryptography.fernet import Fernet, InvalidToken, MultiFernet
    from sqlalchemy import text

    keys = [key.strip() for key in deployment.get(FERNET_VARIABLE).split(",") if key.strip()]
    if not keys:
        return [fail(FERNET, f"{FERNET_VARIABLE} is not set: connections would be kept in the clear", MAKE)]
    if any(key in KNOWN for key in keys):
        return [fail(FERNET, "one that everybody knows", "make a new one, then airflow rotate-fernet-key")]
    if not all(_is_fernet(key) for key in keys):
        return [fail(FERNET, f"{FERNET_VARIABLE} is no Fernet key", f"32 bytes in base64; {MAKE}")]
    queries = {
        "connection": "SELECT password FROM connection WHERE is_encrypted AND password IS NOT NULL LIMIT 1",
        "variable": "SELECT val FROM variable WHERE is_encrypted AND val IS NOT NULL LIMIT 1",
    }
    try:
        with connected(deployment) as connection:
            written = [value for query in queries.values() for value in connection.execute(text(query)).scalars()]
    except UnseenError:
        return [ok(FERNET, "one is there; whether it opens what was written is not seen without the database")]
    for value in written:
        try:
            MultiFernet([Fernet(key) for key in keys]).decrypt(str(value).encode())
        except InvalidToken:
            advice = "put the old key back (behind the new one, with a comma), then airflow rotate-fernet-key"
            return [fail(FERNET, "it does not open the connections and variables in the database", advice)]
    return [ok(FERNET, "it opens what was written" if written else "one is there; nothing is written with it yet")]


def look_at_passwords(deployment: Deployment) -> list[Finding]:
    """Say whether a password of the environment is known to everybody, or easily guessed."""
    passwords = dict(_passwords(deployment))
    known = [name for name, value in passwords.items() if value.lower() in KNOWN]
    if known:
        return [fail(PASSWORDS, f"known to everybody: {', '.join(known)}", f"change them; {MAKE}")]
    weak = [name for name, value in passwords.items() if _is_weak(value, SHORTEST_PASSWORD)]
    if weak:
        return [warn(PASSWORDS, f"short or plain: {', '.join(weak)}", f"change them; {MAKE}")]
    if not passwords and deployment.celery:
        return [fail(PASSWORDS, "no address of this environment holds one", MAKE)]
    return [ok(PASSWORDS, f"{len(passwords)} of this environment, none known or short")]


def look_at_pseudonyms(deployment: Deployment) -> list[Finding]:
    """Say whether the key of the pseudonyms is there and whole; it is never made by looking at it."""
    home = deployment.home
    if not key_exists(home):
        if any(home.artifacts.glob("identities/*")) or any(home.artifacts.glob("clean/*")):
            advice = f"restore secrets/identity.key (or {KEY_VARIABLE}) from the backup before the next run"
            return [fail(PSEUDONYMS, "gone, while events are stored under pseudonyms made with it", advice)]
        return [warn(PSEUDONYMS, "none yet; the first run makes it", "keep a copy of secrets/ in a safe place then")]
    try:
        identity_key(home)
    except UserError as error:
        return [fail(PSEUDONYMS, error.problem, error.next_step or "restore it from the backup")]
    return [ok(PSEUDONYMS, f"whole, from {KEY_VARIABLE if deployment.get(KEY_VARIABLE) else 'secrets/identity.key'}")]


def _passwords(deployment: Deployment) -> Iterator[tuple[str, str]]:
    for name in (DATABASE, BROKER, "AIRFLOW__CELERY__RESULT_BACKEND"):
        if password := password_of(deployment.get(name)):
            yield name, password
    for name, value in deployment.environment.items():
        if name.endswith("_PASSWORD") and value:
            yield name, value


def _is_weak(value: str, shortest: int) -> bool:
    return len(value) < shortest or len(set(value)) < FEWEST_SIGNS or value.lower() in KNOWN


def _is_fernet(key: str) -> bool:
    try:
        return len(base64.urlsafe_b64decode(key)) == SHORTEST_KEY
    except (binascii.Error, ValueError):
        return False
