"""Texts to tokens beside others. `Tokenizer.encode` holds the interpreter's lock until it is done,
seconds of a megabyte, and all that time nobody else is answered; `encode_batch` lets go of it."""

from typing import Any

LONG = 1 << 12  # characters; shorter ones take less than letting go does


def encoded(fast: Any, text: str, pair: str | None = None, *, special: bool = True) -> Any:
    """tokenizers' Encoding, with `special` tokens or without."""
    if len(text) + len(pair or "") < LONG:
        return fast.encode(text, pair, add_special_tokens=special)
    given = text if pair is None else (text, pair)
    return fast.encode_batch([given], add_special_tokens=special)[0]
