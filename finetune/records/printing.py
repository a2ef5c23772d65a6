"""Pieces of a stranger's text, safe to put into a message."""

from collections.abc import Iterable


def some_of(names: Iterable[str], shown: int = 5) -> str:
    """The first of the customer's names and how many more there are, in no language's words: a file
    may have a million."""
    ordered = sorted(names)
    some = ", ".join(map(printable, ordered[:shown]))
    more = len(ordered) - shown
    return f"{some}, … (+{more})" if more > 0 else some


def printable(text: str, limit: int = 80) -> str:
    """A piece of the customer's text that is safe to put into a message or a JSON file."""
    short = text if len(text) <= limit else text[:limit] + "..."
    return short.encode("utf-8", "backslashreplace").decode()
