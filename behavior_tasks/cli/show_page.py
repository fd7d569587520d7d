"""The page of `behavior show`: one example for people, within eighty columns, with or without colour.

In comes what `show_example` found; out comes something to print. The one thing to know: colour says nothing that the
words and signs do not say as well, so that it reads the same in a file.
"""

from datetime import datetime

from rich.cells import cell_len, chop_cells
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from behavior_tasks.cli.screen import count
from behavior_tasks.model.explain import Effect, largest
from behavior_tasks.pipeline.show import Candidate, FeatureValue, Shown
from behavior_tasks.pipeline.show_find import describe

WIDTH = 80
"""Widest panel, in characters."""
BAR = 14
"""Widest bar, in characters."""
STRONG = 0.5
"""From this share of the largest effect on, a phrase is bold."""
WEAK = 0.05
"""Below this share of the largest effect, a phrase has no colour."""
LISTED = 8
"""Candidates that are listed."""
SPACE = "·"
"""Stands for a blank within a token."""
BEGIN = "‖"
"""Where the part of the text begins that is read."""
UNITS = {"shopper": "any product", "shopper_product": "product {product}"}
FOR, AGAINST = "green", "red"


def example_page(found: Shown, *, top: int, every_token: bool, every_feature: bool, width: int) -> RenderableType:
    """Return the page.

    Args:
        top: how many phrases, and how many numbers, to list.
        every_token: show all tokens instead of the first line.
        every_feature: show all features instead of those that are words of the text.
        width: of the screen, in characters.
    """
    parts: list[RenderableType] = [_header(found, min(width, WIDTH)), *_text(found, width)]
    if found.effects:
        parts += _effects(found, top)
    if found.candidates:
        parts += _candidates(found.candidates, found.product)
    parts += [*_tokens(found, every_token=every_token, width=width)]
    parts += _features(found.features, every_feature=every_feature)
    return Group(*parts)


def _header(found: Shown, width: int) -> Panel:
    told, moment = found.told, found.moment
    rows = Table.grid(padding=(0, 2, 0, 0))
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold")
    place = f"split {moment.split}" if moment.split else "no cutoff of this run: made just now, as the stages would"
    place += "; the model has learned from what followed" if moment.in_train else ""
    asked = UNITS[found.unit].format(product=found.product)
    rows.add_row("question", Text(f"buys {asked} within {found.horizon_days} days from {moment.day}?"))
    rows.add_row("cutoff", Text(f"{moment.day}, {place}"))
    rows.add_row("", Text(f"The run's cutoffs: {describe(found.cutoffs)}", style="dim"))
    rows.add_row("label", Text(_label(found), style="bold"))
    sign, verdict = ("≥", "a purchase") if told.buys else ("<", "no purchase")
    said = f"{told.probability:.1%} {sign} threshold {told.decision.threshold:.1%}: {verdict}"
    rows.add_row("prediction", Text(said, style="bold " + (FOR if told.buys else AGAINST)))
    if told.expected_amount is not None:
        between = f"{_amount(told.low)} to {_amount(told.high)}"
        rows.add_row("amount", Text(f"{_amount(told.expected_amount)} expected; in 8 of 10 cases {between}"))
    else:
        rows.add_row("amount", Text("the model tells none (no amounts in the log that it was trained on)"))
    rows.add_row("calibration", Text(_calibration(found)))
    rows.add_row("model", Text(found.model))
    rows.add_row("run", Text(found.run_id))
    title = Text(f"Shopper {found.shopper.pseudonym} before {moment.day}")
    return Panel(rows, title=title, title_align="left", width=width)


def _label(found: Shown) -> str:
    within = f"within {found.horizon_days} days"
    if found.label is None:
        last = datetime.fromisoformat(found.last)
        return f"not known yet: the log ends {last:%Y-%m-%d %H:%M} UTC, before the {found.horizon_days} days are over"
    if not found.label:
        return f"did not buy {within}"
    return f"bought {within}" + ("" if found.amount is None else f", for {_amount(found.amount)}")


def _calibration(found: Shown) -> str:
    decision = found.told.decision
    said = f"the network itself says {found.told.uncalibrated:.1%}"
    how = "none" if decision.calibration == "off" else f"{decision.calibration}, fitted on validation"
    return f"{how}; {said}" + (f" ({decision.reason})" if decision.reason else "")


def _text(found: Shown, width: int) -> list[RenderableType]:
    """The text, its phrases coloured by their effects, broken between phrases only where that is possible."""
    trace = found.trace
    strengths = {effect.place: effect.change for effect in found.effects if effect.kind == "part"}
    most = max(map(abs, strengths.values()), default=0.0)
    lines, at = [Text(overflow="fold")], 0
    for place, part in enumerate(trace.parts):
        unread = part[: max(trace.begin - at, 0)]
        phrase = Text()
        phrase.append(unread, style="dim")
        if trace.cut and at <= trace.begin < at + len(part):
            phrase.append(BEGIN, style="bold")
        phrase.append(part[len(unread) :], style=_style(strengths.get(place, 0.0), most))
        if lines[-1].cell_len + phrase.cell_len > width:
            lines.append(Text(overflow="fold"))
        lines[-1].append_text(phrase)
        at += len(part)
    words = [f"{len(trace.parts)} phrases"]
    if trace.cut:
        words.append(f"what stands before {BEGIN} is cut off and not read")
    if found.effects:
        words.append("green speaks for a purchase, red against")
    return [_title("Text", "; ".join(words)), *lines]


def _style(change: float, most: float) -> str:
    share = abs(change) / most if most else 0.0
    if share < WEAK:
        return ""
    return ("bold " if share >= STRONG else "") + (FOR if change > 0 else AGAINST)


def _effects(found: Shown, top: int) -> list[RenderableType]:
    shown = largest(found.effects, top)
    most = max(abs(effect.change) for effect in shown)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, width=BAR)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    for effect in shown:
        style = FOR if effect.change > 0 else AGAINST
        bar = "█" * round(BAR * abs(effect.change) / most) if most else ""
        points = f"{100 * effect.change:+.2f}"
        table.add_row(Text(points, style=style), Text(bar or "▏", style=style), *_what(found, effect))
    explained = (
        "Percentage points by which the prediction falls when it alone is left out (a number: made undefined). "
        "They do not add up."
    )
    return [_title("What moved it most", f"{len(shown)} of {len(found.effects)}"), table, Text(explained, style="dim")]


def _what(found: Shown, effect: Effect) -> tuple[Text, Text]:
    if effect.kind == "number":
        one = next(one for one in found.features if one.feature.name == effect.name)
        said = Text.assemble(f"{effect.name} = {_value(one.value)}\n", (one.feature.description, "dim"))
        return said, Text("number", style="dim")
    return Text(effect.name.strip() or effect.name), Text(f"phrase {effect.place + 1}", style="dim")


def _candidates(candidates: tuple[Candidate, ...], product: str | None) -> list[RenderableType]:
    told = [
        Text(f"{one.probability:6.1%}  {one.product}" + ("  (shown here)" if one.product == product else ""))
        for one in candidates[:LISTED]
    ]
    if len(candidates) > LISTED:
        told.append(Text(f"and {count(len(candidates) - LISTED)} more; all with --json", style="dim"))
    return [_title("Products asked about", "choose with --product"), *told]


def _tokens(found: Shown, *, every_token: bool, width: int) -> list[RenderableType]:
    trace = found.trace
    told = [piece.replace(" ", SPACE) for piece in trace.pieces]
    line = " ".join(told)
    if not every_token and cell_len(line) > width:
        line = chop_cells(line, width - 2)[0].rpartition(" ")[0] + " …"
    words = f"{len(trace.ids)} read"
    words += f", {trace.cut} cut off at the beginning (model.max_tokens {found.max_tokens})" if trace.cut else ""
    words += "" if every_token else "; all with --tokens"
    return [_title("Tokens", words), Text(line, overflow="fold")]


def _features(features: tuple[FeatureValue, ...], *, every_feature: bool) -> list[RenderableType]:
    """The features, two a line: name, value, quantile."""
    words = [one for one in features if one.quantiles is not None]
    shown = features if every_feature or not words else words
    table = Table.grid(padding=(0, 1, 0, 0))
    for _ in range(2):
        table.add_column(no_wrap=True, width=23)
        table.add_column(justify="right", no_wrap=True, width=9)
        table.add_column(no_wrap=True, width=4)
    half = (len(shown) + 1) // 2
    for place in range(half):
        row: list[Text] = []
        for one in shown[place::half]:
            style = "dim" if one.value is None else ""
            quantile = f"{one.quantile}/{one.quantiles}" if one.quantile else ""
            row += [Text(one.feature.name, style), Text(_value(one.value), style), Text(quantile, "dim")]
        table.add_row(*row)
    read = sum(one.as_number for one in features)
    told = f"{len(words)} as words, {read} as numbers" + ("" if len(shown) == len(features) else "; all: --features")
    legend = "2/8: in the second of 8 quantiles of train. –: undefined. `behavior features` says what each means."
    return [_title("Features", told), table, Text(legend, style="dim")]


def _title(name: str, words: str) -> Text:
    return Text.assemble("\n", (name, "bold"), f"  {words}")


def _amount(value: float | None) -> str:
    return "–" if value is None else f"{value:,.2f}"


def _value(value: float | str | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value.is_integer() else f"{value:,.4g}"
