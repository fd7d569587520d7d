"""Addresses of logs: paths, URLs and databases, shown without what is secret in them.

In comes what a user typed; out comes an address that may stand in a message, a log or a manifest. The one thing to
know: a password, or the query of a signed URL, is kept in a file of mode 0600 below the state folder's secrets and
looked up again by the address without it.
"""

import hashlib
import json
import re
from urllib.parse import parse_qsl, urlencode

from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.home import Home, make_folder

POSTGRES = ("postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2")
SECRET_WORDS = ("password", "sslpassword", "passfile", "token", "key", "secret")
SHOWN_HASH = 8
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"`<>]+")
PLACE = re.compile(r"(?<![\w/:.#-])~?(?:/[^\s/'\"`,;:()\[\]<>]+)+/?")
"""An absolute path; what stands in an address is none, because something stands before its first slash."""


def scheme_of(text: str) -> str:
    """Return the lower-case scheme of an address; nothing for a path.

    >>> scheme_of("S3://bucket/log.csv"), scheme_of("logs/2026.csv"), scheme_of("s3:/bucket")
    ('s3', '', '')
    """
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    return match[1].lower() if match else ""


def is_database(text: str) -> bool:
    """Whether an address names a Postgres database."""
    return scheme_of(text) in POSTGRES


def shown_address(text: str) -> str:
    """Return an address without passwords and signatures; a path stays as it is.

    >>> shown_address("postgresql://anna:secret@db:5432/shop?sslmode=require")
    'postgresql://anna@db:5432/shop?sslmode=require'
    >>> shown_address("https://files.example/log.csv?X-Amz-Signature=abc").startswith("https://files.example/log.csv?")
    True
    """
    scheme = scheme_of(text)
    if scheme in {"", "file"}:
        return text
    start, rest = text[: len(scheme) + 3], text[len(scheme) + 3 :]
    # In a database's address everything before the last @ belongs to the user, even a slash somebody forgot to quote.
    end_of_user = (rest if scheme in POSTGRES else rest.partition("/")[0]).rfind("@")
    user, place = rest[: max(end_of_user, 0)].partition(":")[0], rest[end_of_user + 1 :]
    place, mark, query = place.partition("?")
    if query and scheme in POSTGRES:
        pairs = parse_qsl(query, keep_blank_values=True)
        query = urlencode([(key, value) for key, value in pairs if key.lower() not in SECRET_WORDS])
    elif query and scheme in {"http", "https"}:
        # Any parameter may be a signature; a short hash tells two addresses apart.
        query = hashlib.sha256(query.encode()).hexdigest()[:SHOWN_HASH]
    else:
        query = mark + query if scheme not in POSTGRES else ""
        mark = ""
    at = "@" if end_of_user >= 0 else ""
    return f"{start}{user}{at}{place}{mark if query else ''}{query}"


def hide_secrets(text: str, home: Home) -> str:
    """Return an address that may be written down, keeping the full one in the secrets when they differ."""
    shown = shown_address(text)
    if shown != text:
        make_folder(home.secrets).chmod(0o700)
        path = home.secrets / "addresses.json"
        kept = {**_kept(home), shown: text}
        write_durably(path, json.dumps(kept, indent=2).encode())
        path.chmod(0o600)
    return shown


def full_address(text: str, home: Home) -> str:
    """Return what `hide_secrets` was given, for an address that it returned; any other as it is."""
    return _kept(home).get(text, text) if scheme_of(text) else text


def _kept(home: Home) -> dict[str, str]:
    try:
        held = json.loads((home.secrets / "addresses.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


def shareable(text: str) -> str:
    """Return a message that may leave this machine: of every absolute path only its name, addresses without secrets.

    >>> shareable("There is no file /srv/shop/logs/2026.csv; see postgresql://anna:secret@db/shop")
    'There is no file 2026.csv; see postgresql://anna@db/shop'
    >>> shareable("F1 0.41 on 1/3 of http://127.0.0.1:5000/#/runs/7")
    'F1 0.41 on 1/3 of http://127.0.0.1:5000/#/runs/7'
    """
    text = ADDRESS.sub(lambda match: shown_address(match[0]), text.replace("file://", ""))
    return PLACE.sub(lambda match: match[0].rstrip("/").rpartition("/")[2], text)
