"""Small pictures of a page: figures in; the places of lines and bars, in the units of an SVG, out.

The one thing to know: a picture says nothing that does not stand beside it in figures too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 600, 180
"""Of a curve's picture."""
BAR_WIDTH = 160
"""Of a bar that fills its picture."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How figures become places."""

    most_x: float
    most_y: float

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point stands, from the upper left corner.

        >>> Scale(most_x=10, most_y=4).place(5, 4)
        (300.0, 0.0)
        """
        across = WIDTH * x / self.most_x if self.most_x else 0.0
        down = HEIGHT * (1 - y / self.most_y) if self.most_y else float(HEIGHT)
        return round(across, 1), round(down, 1)


def scale_of(points: Sequence[tuple[float, float]]) -> Scale:
    """Return the scale at which points from (0, 0) on fill the picture."""
    return Scale(most_x=max((x for x, _ in points), default=0.0), most_y=max((y for _, y in points), default=0.0))


def line_of(points: Sequence[tuple[float, float]], scale: Scale) -> str:
    """Return the `points` of a polyline from (0, 0) through the points."""
    return " ".join(f"{x:g},{y:g}" for x, y in (scale.place(*point) for point in [(0.0, 0.0), *points]))


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A bar with its interval."""

    length: float
    lower: float
    upper: float


def bars_of(figures: Sequence[tuple[float, float, float]]) -> list[Bar]:
    """Return a bar for each (figure, lower, upper), all of one scale.

    >>> [(bar.length, bar.upper) for bar in bars_of([(5, 2, 10), (1, 0, 2)])]
    [(80.0, 160.0), (16.0, 32.0)]
    """
    most = max((max(figure, upper) for figure, _, upper in figures), default=0.0)
    part = BAR_WIDTH / most if most > 0 else 0.0
    return [
        Bar(
            **{
                name: round(max(value, 0.0) * part, 1)
                for name, value in zip(("length", "lower", "upper"), row, strict=True)
            }
        )
        for row in figures
    ]
