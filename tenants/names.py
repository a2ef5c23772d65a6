"""What people read and take for a name: nothing in it may hide, turn the line round, or look blank.
Pure."""

import unicodedata

from tenants.errors import Invalid

# Controls, format characters (zero width, right-to-left), halves of characters, line breaks.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Letters and symbols that fonts draw as nothing: the empty Braille cell and Hangul fillers.
_BLANK = frozenset("\u2800\u3164\u115f\u1160\uffa0")


def readable(text: str, *, param: str) -> str:
    """The text without white space around it. Raises Invalid when nothing is left, and for a
    character that cannot be seen."""
    stripped = text.strip()
    unseen = next((each for each in stripped if _is_unseen(each)), None)
    if unseen is None and stripped:
        return stripped
    what = "is blank" if unseen is None else f"holds U+{ord(unseen):04X}, which cannot be seen"
    raise Invalid(
        "unreadable_text",
        f"The text of `{param}` {what}.",
        fix="Write it in one line of visible characters.",
        param=param,
    )


def _is_unseen(character: str) -> bool:
    return character in _BLANK or unicodedata.category(character) in _UNSEEN
