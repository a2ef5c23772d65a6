"""A pattern of all texts but a few: what turns off the way to each of them, or ends on it."""

import string
from dataclasses import dataclass, field

from finetune.serving.structured.logic import Case
from finetune.serving.structured.refusals import too_large, unsupported

MAX_TEXT = 100  # characters of a text that is ruled out
_ANY = "(?s:.)"


@dataclass
class _Node:
    ways: "dict[str, _Node]" = field(default_factory=dict)
    barred: bool = False  # a text may not end here


def text_case(case: Case, place: str) -> Case | None:
    """A case of texts without `but`, and with lengths alone as a pattern; None: there are none.
    Raises UserFault."""
    but = case.get("but", [])
    strict = [key for key in ("pattern", "format") if key in case]
    if strict and but:
        raise unsupported(place, f"texts cannot be ruled out of a `{strict[0]}`")
    if strict:
        return case
    if any(len(text) > MAX_TEXT for text in but):
        raise too_large(place, f"rules out a text of more than {MAX_TEXT} characters")
    pattern = pattern_of_others(but, case.get("minLength", 0), case.get("maxLength"))
    return None if pattern is None else {"type": "string", "pattern": pattern}


def pattern_of_others(texts: list[str], low: int, high: int | None) -> str | None:
    """Of `low` to `high` characters; None: there are none."""
    root = _Node()
    for text in texts:
        node = root
        for letter in text:
            node = node.ways.setdefault(letter, _Node())
        node.barred = True
    rest = _rest(root, low, high)
    return None if rest is None else f"^{rest}$"


def _rest(node: _Node, low: int, high: int | None) -> str | None:
    """What may follow; None: nothing, not even the end."""
    ends = not node.barred and low <= 0
    if high == 0:
        return "" if ends else None
    if not node.ways:
        return _times(max(low, 1 if node.barred else 0), high)
    less = None if high is None else high - 1
    others = f"[^{''.join(_spelt(letter) for letter in node.ways)}]"
    ways = [f"{others}{_times(max(low - 1, 0), less)}"]
    for letter, next_ in node.ways.items():
        rest = _rest(next_, low - 1, less)
        if rest is not None:
            ways.append(f"{_spelt(letter)}{rest}")
    return f"({'|'.join(ways)}){'?' if ends else ''}"


def _times(low: int, high: int | None) -> str | None:
    if high is not None and low > high:
        return None
    if high is None:
        return f"{_ANY}*" if low == 0 else f"{_ANY}{{{low},}}"
    return f"{_ANY}{{{low},{high}}}"


def _spelt(letter: str) -> str:
    if letter.isalnum() or letter in " _":
        return letter
    return f"\\{letter}" if letter in string.punctuation else f"\\x{{{ord(letter):x}}}"
