"""Telling somebody: a message in; it in a webhook and in a mailbox, or a line in the log that says why not, out.

Each way is tried four times, with longer and longer waits, for twenty seconds at most. The one thing to know:
no way that is down, slow or wrong ever fails what the message is about.
"""

import json
import logging
import os
import smtplib
import time
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

WEBHOOK, EMAIL = "BEHAVIOR_ALERT_WEBHOOK", "BEHAVIOR_ALERT_EMAIL"
MAIL_SERVER, MAIL_PASSWORD = "BEHAVIOR_SMTP", "BEHAVIOR_SMTP_PASSWORD"  # names of variables
WAITS_SECONDS = (1.0, 2.0, 5.0)
"""Between two tries. With the time-outs, and both ways down, that is less than Airflow gives a callback (50 s)."""
TIMEOUT_SECONDS = 3.0
log = logging.getLogger("behavior")


def tell(
    subject: str,
    text: str,
    facts: Mapping[str, Any],
    *,
    settings: Mapping[str, str] = os.environ,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Log a message and send it wherever the settings say.

    Args:
        subject: one line.
        text: the whole message.
        facts: the same as JSON, for programs behind the webhook; `text` is added.
        settings: BEHAVIOR_ALERT_WEBHOOK, an address that takes JSON by POST (`text` is what Slack and Mattermost
            show); BEHAVIOR_ALERT_EMAIL, addresses with commas between, with BEHAVIOR_SMTP, `smtp://user@host:587` or
            `smtps://…`, and BEHAVIOR_SMTP_PASSWORD.
        sleep: waits so many seconds.

    Returns:
        The ways on which it went out.
    """
    log.error("%s", text)
    ways: dict[str, Callable[[], None]] = {}
    if settings.get(WEBHOOK):
        ways["webhook"] = lambda: _post(settings[WEBHOOK], {**facts, "text": text})
    if settings.get(EMAIL):
        ways["e-mail"] = lambda: _mail(subject, text, settings)
    return [name for name, send in ways.items() if _sent(name, send, sleep)]


def _sent(name: str, send: Callable[[], None], sleep: Callable[[float], None]) -> bool:
    for wait in (*WAITS_SECONDS, None):
        try:
            send()
        except (OSError, HTTPException, ValueError) as error:
            # Its own words may hold the address, and that may hold a secret.
            problem = _said(error)
        else:
            return True
        if wait is None:
            log.warning("The message did not go out by %s: %s.", name, problem)
            return False
        log.info("The message did not go out by %s (%s); trying again in %g seconds.", name, problem, wait)
        sleep(wait)
    return False


def _said(error: Exception) -> str:
    return f"it answered {error.code}" if isinstance(error, HTTPError) else type(error).__name__


def _post(address: str, content: Mapping[str, Any]) -> None:
    # Not httpx: it logs every address, and whoever holds a webhook's address may write to it.
    if urlsplit(address).scheme not in ("http", "https"):
        raise ValueError("not a web address")
    body = json.dumps(content, ensure_ascii=False).encode()
    asked = Request(address, body, {"Content-Type": "application/json"}, method="POST")  # noqa: S310  # checked above
    with urlopen(asked, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
        answer.read()


def _mail(subject: str, text: str, settings: Mapping[str, str]) -> None:
    server = urlsplit(settings.get(MAIL_SERVER) or "smtp://localhost:25")
    to = [address.strip() for address in settings[EMAIL].split(",") if address.strip()]
    user = unquote(server.username or "")
    message = EmailMessage()
    message["Subject"], message["To"] = subject, ", ".join(to)
    message["From"] = user if "@" in user else to[0]
    message.set_content(text)
    kind = smtplib.SMTP_SSL if server.scheme == "smtps" else smtplib.SMTP
    with kind(server.hostname or "localhost", server.port or 0, timeout=TIMEOUT_SECONDS) as session:
        session.ehlo()
        if server.scheme != "smtps" and session.has_extn("starttls"):
            session.starttls()
        if user:
            session.login(user, settings.get(MAIL_PASSWORD) or "")
        session.send_message(message)
