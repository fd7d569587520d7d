"""Pages: a template and values in; a page out that opens without a network and looks like every other page.

The one thing to know: every value is escaped, whatever it holds, so no name out of a log can become markup; a value
that a template asks for and nobody gave is an error.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, DictLoader, Environment, FileSystemLoader, StrictUndefined, select_autoescape

from behavior_tasks.base.style import SHELL, STYLE


def render_page(
    template: Path, values: Mapping[str, Any], filters: Mapping[str, Callable[..., str]] | None = None
) -> str:
    """Return the page that a template makes of values.

    Args:
        template: an HTML file that extends `shell.html` (see `base/style`); it may use the filters `count`, `share`,
            `number`, `figure` and `words`.
        values: by name.
        filters: of its own.
    """
    environment = _environment(template)
    environment.filters |= filters or {}
    return environment.get_template(template.name).render(values, style=STYLE)


def render_text(template: Path, values: Mapping[str, Any]) -> str:
    """Return the Markdown that a template makes of values, with the same filters; `cell` makes one of a table safe."""
    return _environment(template).get_template(template.name).render(values)


def _environment(template: Path) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([FileSystemLoader(template.parent), DictLoader({"shell.html": SHELL})]),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= FILTERS
    return environment


def _count(number: float) -> str:
    return f"{number:,}"


def _share(share: float | None) -> str:
    r"""Return a share as per cent; what is there but small is never called 0 %.

    >>> _share(0.25), _share(0.00001), _share(0), _share(None), _share(0.99999)
    ('25.0\xa0%', '<\xa00.1\xa0%', '0\xa0%', '–', '>\xa099.9\xa0%')
    """
    if share is None:
        return "–"
    if 0 < share < 0.001:
        return "<\u00a00.1\u00a0%"
    if 0.999 < share < 1:
        return ">\u00a099.9\u00a0%"
    return "0\u00a0%" if share == 0 else f"{share:.1%}".replace("%", "\u00a0%")


def shown_number(number: float | None) -> str:
    """Return an amount with about three significant digits.

    >>> [shown_number(n) for n in (0.123456, 12.3456, 123456.7, None, 1e300)]
    ['0.123', '12.3', '123,457', '–', '1e+300']
    """
    if number is None:
        return "–"
    return f"{number:,.0f}" if 100 <= abs(number) < 1e12 else f"{number:.3g}"


def _figure(value: float | None) -> str:
    """Return a figure with three decimals and a true minus sign.

    >>> _figure(0.12345), _figure(-0.5), _figure(None)
    ('0.123', '−0.500', '–')
    """
    return "–" if value is None else f"{value:.3f}".replace("-", "−")


def _words(name: str) -> str:
    """Return a name in words.

    >>> _words("age_band")
    'age band'
    """
    return name.replace("_", " ")


def _cell(value: object) -> str:
    """Return a value as one cell of a Markdown table, without anything that could end it or become markup.

    >>> _cell("a|b\\n<c>")
    'a/b &lt;c&gt;'
    """
    text = " ".join(str(value).split())
    return text.replace("|", "/").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


FILTERS: Mapping[str, Callable[..., str]] = {
    "count": _count,
    "share": _share,
    "number": shown_number,
    "figure": _figure,
    "words": _words,
    "cell": _cell,
}
"""What every template may use."""
