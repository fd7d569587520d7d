"""Exchanged products: a text's parts in; the same text with its products called by one another's names, out.

A product is called by its name when it is among the most frequent of train, else by the letter of its place among the
text's products. Neither says anything of the shopper, so a test may ask how much a model leans on them. The one thing
to know: within a text the exchange is one to one, and nothing else of it changes.
"""

from collections.abc import Sequence

from behavior_tasks.text.names import letters
from behavior_tasks.text.parts import spaced
from behavior_tasks.text.settings import TextSettings


def exchange_names(settings: TextSettings) -> TextSettings:
    """Return settings in which each product bears the name of the one next to it in frequency.

    The first and the second change names, the third and the fourth, and so on, so that a name stays that of a product
    about as frequent; the last of an odd number keeps its own.
    """
    products, names = list(settings.products), list(settings.products.values())
    for place in range(0, len(names) - 1, 2):
        names[place], names[place + 1] = names[place + 1], names[place]
    return settings.model_copy(update={"products": dict(zip(products, names, strict=True))})


def exchange_letters(parts: Sequence[str], settings: TextSettings) -> list[str]:
    """Return a text's parts with its letters in reverse: of three products B becomes D, C stays, and D becomes B.

    Args:
        parts: of one text, as `write_texts` wrote it with these settings.
        settings: how it was written.
    """
    leads = ("", settings.words.list_joint)
    there, used = set(parts), 0

    def forms(number: int) -> list[str]:
        return [lead + spaced(letters(number), settings.templates.blank) for lead in leads]

    # Letters are given in order of appearance, so a text that lacks one has none of those that follow it.
    while there & set(forms(used + 1)):
        used += 1
    changed = {
        old: new
        for number in range(1, used + 1)
        for old, new in zip(forms(number), forms(used + 1 - number), strict=True)
    }
    return [changed.get(part, part) for part in parts]
