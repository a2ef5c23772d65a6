"""What a single token is in bytes, for the `token` and `bytes` of log-probabilities."""

import re
from functools import cached_property, lru_cache
from typing import Any

_BYTE = re.compile(r"^<0x([0-9A-F]{2})>$")


@lru_cache(maxsize=1)
def _byte_of() -> dict[str, int]:
    """GPT-2's printable stand-ins for bytes: printable Latin-1 stands for itself."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(256 + i): b for i, b in enumerate(others)}


class Vocabulary:
    """Bytes of tokens, for byte-level BPE (GPT-2, LLaMA 3, Qwen) and SentencePiece (Gemma)."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        decoder = tokenizer.backend_tokenizer.decoder
        self._byte_level = decoder is not None and b"ByteLevel" in decoder.__getstate__()

    @cached_property
    def longest(self) -> int:
        """Characters of the longest token: no text has fewer tokens than its length by this."""
        return max(len(piece) for piece in self._tokenizer.get_vocab())

    def id_of(self, piece: str) -> int | None:
        """The token that is exactly this text, if there is one."""
        found: int | None = self._tokenizer.get_vocab().get(piece)
        return found

    def bytes_of(self, token: int) -> bytes:
        piece: str | None = self._tokenizer.convert_ids_to_tokens(token)
        if piece is None:  # an id that the head has and the tokenizer lacks
            return b""
        if self._byte_level:
            known = _byte_of()
            if all(char in known for char in piece):
                return bytes(known[char] for char in piece)
            return piece.encode()
        if match := _BYTE.match(piece):
            return bytes([int(match[1], 16)])
        return piece.replace("\u2581", " ").encode()
