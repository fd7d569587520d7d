"""A deployment's settings: the environment of its services in, addresses and words of it out.

The same variables that Airflow and MLflow read are read here, so the doctor sees what a service sees. The one thing to
know: an address that is shown never holds a password.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from behavior_tasks.base.home import Home

CONNECT_SECONDS = 3.0
"""Longest wait for a server to take a connection."""
ANSWER_SECONDS = 5.0
"""Longest wait for one answer."""
DATABASE, BROKER, MLFLOW = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__CELERY__BROKER_URL", "MLFLOW_TRACKING_URI"
SECRET_WORDS = ("PASSWORD", "SECRET", "FERNET", "TOKEN", "KEY")
SHORTEST_HIDDEN = 8


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Where the services are, as one of them sees it."""

    home: Home
    project: Path
    """Where dags/ and .env are."""
    environment: Mapping[str, str]

    def get(self, name: str, default: str = "") -> str:
        """Return a variable, else the default; an empty one counts as not set."""
        return self.environment.get(name) or default

    @property
    def executor(self) -> str:
        """Who runs Airflow's tasks, without the module it comes from."""
        return self.get("AIRFLOW__CORE__EXECUTOR", "LocalExecutor").rpartition(".")[2]

    @property
    def celery(self) -> bool:
        """Whether tasks go to workers over a broker."""
        return "Celery" in self.executor

    @property
    def database(self) -> str:
        """Address of Airflow's metadata."""
        return self.get(DATABASE)

    @property
    def mlflow(self) -> str:
        """Address of the MLflow server; nothing where the store is in the state folder."""
        address = self.get(MLFLOW)
        return address.rstrip("/") if address.startswith(("http://", "https://")) else ""

    @property
    def here(self) -> bool:
        """Whether the services run on this machine, as far as their addresses tell."""
        return not self.database or self.database.startswith("sqlite") or is_loopback(host_of(self.database))

    def hidden(self) -> list[str]:
        """Return every secret of the environment, longest first: none of them may be shown."""
        found = set()
        for name, value in self.environment.items():
            # The id of an access key is a name, as a user has one.
            if any(word in name for word in SECRET_WORDS) and not name.endswith("_ID"):
                found.add(value)
            if "://" in value:
                raw = password_of(value, quoted=True)
                found |= {raw, unquote(raw)}
        return sorted((value for value in found if len(value) >= SHORTEST_HIDDEN), key=len, reverse=True)


def host_of(address: str) -> str:
    """Return the host of an address.

    >>> host_of("postgresql+psycopg2://anna:s%40@db:5432/airflow"), host_of("sqlite:////state/airflow.db")
    ('db', '')
    """
    return urlsplit(address).hostname or ""


def password_of(address: str, *, quoted: bool = False) -> str:
    """Return the password in an address, as it was before it was quoted unless asked otherwise; often none.

    >>> password_of("redis://:s%40crets@broker:6379/0")
    's@crets'
    """
    password = urlsplit(address).password or ""
    return password if quoted else unquote(password)


def place_of(address: str) -> str:
    """Return an address's host, port and path, without the login and the query.

    >>> place_of("redis://:secret@broker:6379/0?ssl=1")
    'broker:6379/0'
    """
    parts = urlsplit(address.partition("+")[2] if address.startswith("db+") else address)
    return "the state folder" if parts.scheme.startswith("sqlite") else parts.netloc.rpartition("@")[2] + parts.path


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by name or number.

    >>> is_loopback("localhost"), is_loopback("::1"), is_loopback("postgres")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
