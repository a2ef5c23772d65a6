"""A text as a person reads it, with the way back to its own characters: escapes of JSON and of code
read, full-width letters and odd blanks as plain ones, invisible characters left out."""

import re

_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_NAMED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LEVELS = 3  # JSON in a string of JSON in a string of JSON
_HIDDEN = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
# Full-width letters, digits and what joins them; signs that end a value stay as they are.
_WIDE = {code: code - 0xFEE0 for code in (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B),
         *range(0xFF41, 0xFF5B), 0xFF0B, 0xFF0D, 0xFF0E, 0xFF20, 0xFF3F)}  # fmt: skip
_BLANKS = dict.fromkeys((0xA0, *range(0x2000, 0x200B), 0x202F, 0x3000), " ")
_DASHES = dict.fromkeys((*range(0x2010, 0x2016), 0x2212), "-")
_ALIKE = {**_WIDE, **_BLANKS, **_DASHES}

Edges = list[int]


def plain(text: str) -> tuple[str, Edges | None]:
    """(what is read, edges): its character n stands at edges[n] to edges[n + 1] of `text`; None
    where each stands in its own place."""
    edges: Edges | None = None
    for _ in range(_LEVELS):
        if "\\" not in text:
            break
        text, edges = _without(_ESCAPE, text, edges)
    if not text.isascii():
        text = text.translate(_ALIKE)
        if _HIDDEN.search(text):
            text, edges = _without(_HIDDEN, text, edges)
    return text, edges


def _without(form: "re.Pattern[str]", text: str, edges: Edges | None) -> tuple[str, Edges | None]:
    """With each match read, which makes one character of it or none."""
    pieces, kept, at = [], list[int](), 0
    for match in form.finditer(text):
        said = _read(match)
        pieces += [text[at : match.start()], said]
        kept += range(at, match.start() + len(said))
        at = match.end()
    if not at:
        return text, edges
    kept += range(at, len(text) + 1)
    return "".join([*pieces, text[at:]]), kept if edges is None else [edges[n] for n in kept]


def _read(match: "re.Match[str]") -> str:
    if match.re is _HIDDEN:
        return ""
    code, name = match.groups()
    return chr(int(code, 16)) if code else _NAMED.get(name, name)
