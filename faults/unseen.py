"""Characters of a name that hide, turn the line round, or look blank. Pure."""

import unicodedata

# Controls, format characters (zero width, right-to-left), halves of characters, line breaks.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Letters and symbols that fonts draw as nothing: the empty Braille cell and Hangul fillers.
_BLANK = frozenset("\u2800\u3164\u115f\u1160\uffa0")


def unseen(text: str) -> str | None:
    """The first character that cannot be seen, as U+200B; None: all can be."""
    found = next(filter(_is_unseen, text), None)
    return None if found is None else f"U+{ord(found):04X}"


def _is_unseen(character: str) -> bool:
    return character in _BLANK or unicodedata.category(character) in _UNSEEN
