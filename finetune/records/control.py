"""Control tokens in what people write: to the model they are no text but the border of a turn."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from faults import UserFault

# Written by the model itself around its thoughts, and so in contents, too
THOUGHTS = frozenset({"<think>", "</think>"})


def special_tokens(tokenizer: Any) -> set[str]:
    """Those that the tokenizer calls special, as they are written."""
    added = tokenizer.added_tokens_decoder.values()
    special = {str(token) for token in added if token.special}
    return (special | {str(token) for token in tokenizer.all_special_tokens}) - {""}


def matcher(tokens: Iterable[str]) -> re.Pattern[str]:
    """Finds any of them in a text, the longest first; nothing at all where there are none."""
    longest_first = sorted(tokens, key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def find(control: re.Pattern[str], value: Any) -> str | None:
    """The first control token in any string of a value of JSON, the keys of objects included."""
    for text in _texts(value):
        if match := control.search(text):
            return match[0]
    return None


def refuse(control: re.Pattern[str], value: Any, what: str) -> None:
    """Raises UserFault `control_token_in_message`; `what` begins its sentence."""
    if token := find(control, value):
        raise UserFault(
            "control_token_in_message",
            f"{what} holds the control token '{token}' of the base.",
            fix="Write it in another way, with a space in it for instance: as it stands it is no "
            "text to the model but the border of a turn.",
        )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (key for key in value if isinstance(key, str))
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
