"""Who looks at the page and how: a visitor, a language, an address in; a template filled in for them out.

The one thing to know: every value is escaped, whatever it holds, and a value that a template asks for and nobody gave
is an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markdown_it import MarkdownIt
from markupsafe import Markup

from behavior_tasks.base.page import FILTERS
from behavior_tasks.web.texts import LANGUAGES, text

TEMPLATES = Path(__file__).with_name("templates")
TABS: Mapping[str, str] = {"engineer": "/", "marketer": "/marketing"}
"""The page's tabs, by name: where each is, below the page's root."""


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """A person that Airflow knows, and what Airflow lets them do."""

    name: str
    may_trigger: bool
    """Whether they may start runs (Airflow's role user)."""
    may_decide: bool
    """Whether they may roll back, approve, see risk and real ids (Airflow's roles op and admin)."""


@dataclass(frozen=True, kw_only=True)
class View:
    """How one answer looks."""

    root: str
    """The page's own address without a last slash, e.g. `/behavior`."""
    here: str
    """The address of this answer below the root, e.g. `/marketing?budget=100`."""
    language: str
    visitor: Visitor
    csrf: str
    """Proves that a form came from this session; every form carries it in the field `csrf`."""
    tab: str | None = None
    said: str | None = None
    """Key of a text below `said`, shown once on top."""

    def url(self, path: str, **query: object) -> str:
        """Return the address of something below the page's root; empty values are left out."""
        told = {name: value for name, value in query.items() if value is not None}
        return f"{self.root}{path}{'?' + urlencode(told) if told else ''}"

    def text(self, key: str, **values: object) -> str:
        """Return a text in the view's language."""
        return text(self.language, key, **values)

    def in_language(self, language: str) -> str:
        """Return this answer's address in another language."""
        return f"{self.root}{self.here}{'&' if '?' in self.here else '?'}lang={language}"


def render(template: str, view: View, values: Mapping[str, Any]) -> str:
    """Return the page that one of `templates/` makes of values.

    Beside the values a template has `view`, `t` (a text by key), `url` (an address below the root), `tabs`,
    `languages`, the filters of `base/page`, `when` for instants and days, and `markdown`.
    """
    shared = {"view": view, "t": view.text, "url": view.url, "tabs": TABS, "languages": LANGUAGES}
    return _environment().get_template(template).render({**values, **shared})


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {**FILTERS, "when": shown_time, "markdown": markdown}
    return environment


def shown_time(value: str | date | None) -> str:
    """Return an instant to the minute, in UTC, or a day.

    >>> shown_time("2026-11-27T13:21:03+00:00"), shown_time(date(2026, 11, 27)), shown_time(None)
    ('2026-11-27 13:21 UTC', '2026-11-27', '–')
    """
    if value is None:
        return "–"
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return str(value)
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if isinstance(instant, datetime) else instant.isoformat()


def markdown(text: str) -> Markup:
    """Return Markdown as HTML: tables and lists as such; what looks like HTML or a picture stays text.

    >>> markdown("**yes** <script>").strip()
    Markup('<p><strong>yes</strong> &lt;script&gt;</p>')
    """
    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    return Markup(reader.render(text))  # noqa: S704  # the library escapes all that is no Markdown
