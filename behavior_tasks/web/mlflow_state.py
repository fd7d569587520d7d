"""Whether MLflow answers: its address in; yes or no out, within a second, asked at most twice a minute.

The one thing to know: nothing on the page waits for MLflow, so this is only said, and what waits for it is counted from
the state folder.
"""

import os
import time
from threading import Lock

import httpx

from behavior_tasks.base.home import Home
from behavior_tasks.registry import store

SECONDS, KEPT_SECONDS = 1.0, 30.0
PUBLIC_VARIABLE = "BEHAVIOR_MLFLOW_URL"
_answers: dict[str, tuple[float, bool]] = {}
_lock = Lock()


def server_of(home: Home) -> str | None:
    """Return the address of the MLflow server, or None when none is named."""
    named = store.tracking_uri(home)
    if named.startswith(("http://", "https://")):
        return named.rstrip("/")
    return (os.environ.get(PUBLIC_VARIABLE) or "").rstrip("/") or None


def answers(url: str) -> bool:
    """Whether the server at an address is healthy."""
    now = time.monotonic()
    with _lock:
        known = _answers.get(url)
    if known is not None and now - known[0] < KEPT_SECONDS:
        return known[1]
    try:
        found = httpx.get(f"{url}/health", timeout=SECONDS).status_code < 500
    except httpx.HTTPError:
        found = False
    with _lock:
        _answers[url] = (now, found)
    return found
