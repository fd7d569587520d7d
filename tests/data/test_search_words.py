"""Search words of clean events: short, lower case, and without addresses and long numbers."""

import pytest

from behavior_tasks.base.tables import connect
from behavior_tasks.data.search_words import masked_sql

CASES = {
    "Red  MUG, (large)!": "red mug large",
    "l'été à 20°": "l été à 20",
    "红色 连衣裙": "红色 连衣裙",
    "iphone 15 pro 256 gb": "iphone 15 pro 256 gb",
    "jo.do@mail.org": "*",
    "from:jo+x@mail.co.uk, please": "* please",
    "see https://shop.org/a?b=1 and www.x.org": "see * and *",
    "call +44 (0)20 7946-0958 now": "call * now",
    "visa 4111 1111 1111 1111": "visa *",
    "born 24.12.1990": "born *",
    "order 12345": "order *",
    "[buy] {what}": "buy what",
    "one two three four five six seven eight nine": "one two three four five six seven eight",
    " ?! ": None,
    "": None,
    None: None,
}


@pytest.mark.parametrize("raw", CASES)
def test_what_is_left_of_a_search(raw: str | None) -> None:
    once, twice = (
        connect()
        .execute(
            f"""SELECT once, {masked_sql("once")}
            FROM (SELECT {masked_sql("raw")} AS once FROM (SELECT ?::VARCHAR AS raw))""",
            [raw],
        )
        .fetchall()[0]
    )
    assert once == CASES[raw]
    assert twice == once
