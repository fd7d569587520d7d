"""The page's texts: the same keys and the same blanks in every language."""

import re

from behavior_tasks.web.texts import LANGUAGES, texts

BLANK = re.compile(r"\{\w+\}")


def test_every_text_is_there_in_every_language_with_the_same_blanks():
    english = texts("en")
    for language in LANGUAGES:
        other = texts(language)
        assert set(other) == set(english), language
        for key, value in english.items():
            assert sorted(BLANK.findall(other[key])) == sorted(BLANK.findall(value)), (language, key)
