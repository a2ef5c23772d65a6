"""Which tokens of a text are trained, told from the characters that are."""

from bisect import bisect_right
from collections.abc import Iterable

from finetune.records.borders import Cut
from finetune.records.rendering import CharSpan
from finetune.records.spans import Rendered


def places_of(chat: Rendered, cut: Cut) -> dict[int, int] | None:
    """Of each seam, how many tokens stand before it; None if one has no such place."""
    places = {}
    for seam in chat.seams:
        if (place := cut.tokens_before(seam)) is None:
            return None
        places[seam] = place
    return places


def between(chat: Rendered, cut: Cut, places: dict[int, int]) -> list[bool] | None:
    """The mask of answers that reach from a seam to a border; None where one does not."""
    if not cut.certain:
        return None
    trained = [False] * len(cut.ids)
    for start, end in chat.spans:
        first, last = places.get(start), cut.tokens_until(end)
        # some tokenizers place a space of its own at the character behind it
        if first is None or last is None or chat.text[start - 1] == " ":
            return None
        trained[first:last] = [True] * (last - first)
    return trained


def mask(begins: Iterable[int], spans: list[CharSpan]) -> list[bool]:
    """A token is trained if it begins inside a span.

    One that begins before the span holds text of the prompt and stays untrained.
    """
    edges = [edge for span in spans for edge in span]
    return [bisect_right(edges, begin) % 2 == 1 for begin in begins]
