"""Text of others on a terminal: what would move the cursor, change colours or the title, or turn
the line round, is shown and not obeyed."""

import re
from typing import Any

from rich.console import Console
from rich.text import Text

_TURNING = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
# Each by one character, so that what is marked in a text stays marked.
_SHOWN = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys((*range(0x80, 0xA0), *_TURNING), 0xFFFD),
}
_UNESCAPED = re.compile(f"[\x7f-\x9f{''.join(map(chr, _TURNING))}]")


def visible(text: str) -> str:
    """With pictures (\N{SYMBOL FOR ESCAPE}) for control characters but line ends and tabs."""
    return text.translate(_SHOWN)


def json_visible(text: str) -> str:
    """Of JSON, which writes most control characters as escapes; the same JSON, and so are those
    that would turn the line round."""
    return _UNESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class VisibleConsole(Console):
    """Of what it is given to print, markup is obeyed and control characters are not."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*map(_shown, objects), **options)


def _shown(given: Any) -> Any:
    if isinstance(given, str):
        return visible(given)
    if isinstance(given, Text):
        given.plain = visible(given.plain)
    return given
