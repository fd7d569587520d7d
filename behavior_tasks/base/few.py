"""Counts of people: a number and the least that may be told in; what is shown of it out.

Who sees that a group has three people can often name them, so a count below the least is told as a bound. The one thing
to know: nobody is nobody; a count of 0 is told as it is.
"""


def is_few(people: int, least: int) -> bool:
    """Whether a group has people, but fewer than may be told of.

    >>> is_few(19, 20), is_few(20, 20), is_few(0, 20), is_few(1, 1)
    (True, False, False, False)
    """
    return 0 < people < least


def told_count(people: int | None, least: int) -> str:
    """Return a count of people in words; None is one that was withheld before.

    >>> told_count(1204, 20), told_count(3, 20), told_count(0, 20), told_count(None, 20)
    ('1,204', 'fewer than 20', '0', 'fewer than 20')
    """
    return f"fewer than {least}" if people is None or is_few(people, least) else f"{people:,}"


def withheld(people: int | None, least: int) -> int | None:
    """Return a count of people for a program: None where it is too small to be told.

    >>> withheld(20, 20), withheld(3, 20), withheld(None, 20)
    (20, None, None)
    """
    return None if people is None or is_few(people, least) else people


def stepped(people: int, least: int) -> int:
    """Return the largest whole number of groups that people make, so that no two answers lie closer than a group.

    >>> stepped(59, 20), stepped(60, 20), stepped(7, 20), stepped(7, 1)
    (40, 60, 0, 7)
    """
    return people - people % least
