"""The page's sheet of CSS: the look of every page, in the palette that Airflow shows or, without it, the system's.

In comes nothing; out comes the text. The one thing to know: no template may hold a `style` attribute, because the
page's content security policy refuses it; a look is a class, here.
"""

from functools import cache
from pathlib import Path

from behavior_tasks.base.style import DARK, LIGHT, STYLE

STATIC = Path(__file__).with_name("static")


@cache
def sheet() -> str:
    """Return the whole sheet."""
    chosen = "".join(f':root[data-theme="{name}"] {{\n{palette}}}\n' for name, palette in _PALETTES)
    return "\n".join([STYLE, chosen, *(file.read_text(encoding="utf-8") for file in sorted(STATIC.glob("*.css")))])


_PALETTES = (("light", LIGHT), ("dark", DARK))
