"""Token ids to text as they come: never half a character, and in the end the whole decode."""

from typing import Any

REPLACEMENT = "\ufffd"


class Detokenizer:
    """Feeds one choice's tokens; what `push` and `flush` return adds up to `decode(all ids)`.

    A window of earlier tokens is decoded along, since a token's text depends on its neighbours
    (leading spaces, bytes of one character). The scheme is that of vLLM and TGI.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._window = 0  # where the decoded window begins
        self._read = 0  # tokens before this one have been returned as text

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
        text: str = self._tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text
