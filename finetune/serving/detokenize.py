"""Token ids to text as they come: never half a character, and in the end the whole decode."""

from collections.abc import Sequence
from typing import Any

REPLACEMENT = "\ufffd"


class Detokenizer:
    """Feeds one choice's tokens; what `push` and `flush` return adds up to `decode(all ids)`.

    A window of earlier tokens is decoded along, since a token's text depends on its neighbours
    (leading spaces, bytes of one character). The scheme is that of vLLM and TGI.
    """

    def __init__(
        self,
        tokenizer: Any,
        kept: frozenset[int] = frozenset(),
        before: Sequence[int] = (),
    ) -> None:
        """`kept`: control tokens that are text here; others are left out. `before`: tokens that
        stand before the text and are not told, as some decoders leave out a text's first space."""
        self._tokenizer = tokenizer
        self._silent = frozenset(tokenizer.all_special_ids) - kept if kept else None
        self._ids = list(before)
        self._window = 0  # where the decoded window begins
        self._read = len(self._ids)  # tokens before this one have been returned as text

    def push(self, token: int) -> str:
        """The text that `token` completes; "" while it ends in part of a character."""
        self._ids.append(token)
        text = self._fresh()
        if text.endswith(REPLACEMENT):
            return ""
        self._window, self._read = self._read, len(self._ids)
        return text

    def flush(self) -> str:
        """What is still held back: a character that was never completed."""
        text = self._fresh()
        self._window, self._read = self._read, len(self._ids)
        return text

    def _fresh(self) -> str:
        known = self._decode(self._ids[self._window : self._read])
        return self._decode(self._ids[self._window :])[len(known) :]

    def _decode(self, ids: list[int]) -> str:
        silent = self._silent
        if silent is not None:
            ids = [each for each in ids if each not in silent]
        text: str = self._tokenizer.decode(
            ids, skip_special_tokens=silent is None, clean_up_tokenization_spaces=False
        )
        return text
