"""Maskers: what tells who somebody is goes as one typed word, and what a shop calls its products stays."""

import pyarrow as pa
import pytest

from behavior_tasks.base.tables import connect
from behavior_tasks.data.masker_checks import is_barcode, is_card, is_luhn, is_resident_id
from behavior_tasks.data.maskers import KINDS, find_personal, mask, mask_columns, mask_values
from behavior_tasks.data.search_words import masked_sql
from tests.data.personal import Labelled, figures, read_labelled

FLOORS = {
    "email": (1.0, 0.95),
    "url": (1.0, 1.0),
    "ip": (1.0, 1.0),
    "id": (1.0, 1.0),
    "card": (1.0, 0.98),
    "phone": (0.99, 0.99),
    "address": (0.99, 0.9),
}
"""Least precision and recall on the labelled set."""


def test_each_kind_keeps_its_precision_and_recall_on_the_labelled_set() -> None:
    lines = read_labelled()
    assert sum(line.kind == "none" for line in lines) > 400
    found = figures(lines)
    assert set(found) == set(FLOORS) == set(KINDS)
    told = {kind: (round(one.precision, 3), round(one.recall, 3)) for kind, one in found.items()}
    for kind, (precision, recall) in FLOORS.items():
        assert found[kind].labelled >= 20
        assert found[kind].precision >= precision, told
        assert found[kind].recall >= recall, told


def test_what_names_nobody_stays_to_the_letter() -> None:
    harmless = [line.text for line in read_labelled() if line.kind == "none"]
    assert [mask(text) for text in harmless] == harmless


def test_the_fast_way_over_many_values_misses_nothing_that_the_close_look_finds() -> None:
    texts = [line.text for line in read_labelled()]
    assert mask_values(pa.array(texts)).to_pylist() == [mask(text) for text in texts]


def test_a_placeholder_is_one_word_of_a_search_and_masking_twice_changes_nothing() -> None:
    lines = [line for line in read_labelled() if line.kind != "none" and find_personal(line.text)]
    once = [mask(line.text) for line in lines]
    assert [mask(text) for text in once] == once
    with connect() as connection:
        connection.register("given", pa.table({"text": pa.array(once)}))
        words = [row[0] for row in connection.execute(f"SELECT {masked_sql('text')} FROM given").fetchall()]
    for line, query in zip(lines, words, strict=True):
        assert any(word.startswith("*") and word[1:] in KINDS for word in query.split(" ")), (line, query)


def test_equal_names_stay_equal_and_each_column_is_masked(labelled: list[Labelled]) -> None:
    personal = next(line.text for line in labelled if line.kind == "email")
    names = ["red mug", personal, None, "red mug", personal]
    table = pa.table(
        {"shopper": list("abcde"), "product_name": names, "query": names, "brand": pa.nulls(5, pa.string())}
    )
    done = mask_columns(table)
    for column in ("product_name", "query"):
        got = done[column].to_pylist()
        assert got[0] == got[3] == "red mug"
        assert got[2] is None
        assert got[1] == got[4] == mask(personal) != personal
    assert done["shopper"].to_pylist() == list("abcde")


@pytest.fixture
def labelled() -> list[Labelled]:
    return read_labelled()


def test_a_very_long_text_is_cut_where_nobody_looked() -> None:
    text = "word " * 2000 + "jo@mail.org"
    assert "jo@mail.org" not in mask(text)
    assert "jo@mail.org" not in mask_values(pa.array([text]))[0].as_py()


@pytest.mark.parametrize("place", range(16))
def test_one_wrong_digit_is_no_card(place: int) -> None:
    good = "4539578763621486"
    assert is_luhn(good)
    assert is_card(good)
    wrong = good[:place] + str((int(good[place]) + 1) % 10) + good[place + 1 :]
    assert not is_luhn(wrong)


def test_resident_ids_need_region_birthday_and_check_digit() -> None:
    assert is_resident_id("11010519491231002X")
    assert is_resident_id("11010519491231002x")
    for wrong in ("110105194912310021", "99010519491231002X", "11010519491331002X", "11010518991231002X"):
        assert not is_resident_id(wrong)
    assert is_resident_id("110105491231002")
    assert not is_resident_id("110105491331002")


def test_barcodes_are_known_by_their_check_digit() -> None:
    assert is_barcode("4006381333931")
    assert is_barcode("036000291452")
    assert not is_barcode("036000291453")
    assert find_personal("4006381333931") == []
