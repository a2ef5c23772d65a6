"""An object from its middle on. tink's stream is a row of segments, each authenticated by itself
and as the one that stands in its place; tink's own Python can only begin at the first.

The format is tink's AES-GCM-HKDF streaming encryption: a header of its length, a salt and the
beginning of the nonces, then segments whose nonces end in their number and whether it is the last.
"""

import io
from typing import Any

import tink
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from tink import proto_keyset_format, secret_key_access
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

_KEY_BYTES, _PREFIX_BYTES, _TAG_BYTES = 32, 7, 16
HEADER = 1 + _KEY_BYTES + _PREFIX_BYTES  # part of the first segment
_TYPE = "type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey"


class Changed(ValueError):
    """A segment is not what was written in its place."""


class SegmentReader(io.RawIOBase):
    """Plaintext from byte `at` of the stream that begins at byte `start` of `source`, which is
    seekable and closed with this."""

    def __init__(
        self,
        source: io.RawIOBase,
        *,
        start: int,
        data_key: tink.KeysetHandle,
        bound_to: bytes,
        at: int,
    ) -> None:
        self._source, self._start = source, start
        key, self._size = _secret(data_key)
        self._length = source.seek(0, io.SEEK_END) - start
        source.seek(start)
        header = _whole(source, HEADER)
        if len(header) < HEADER or header[0] != HEADER:
            raise Changed("it has no header")
        salt, self._nonces = header[1 : 1 + _KEY_BYTES], header[1 + _KEY_BYTES :]
        derived = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=salt, info=bound_to).derive(key)
        self._cipher = AESGCM(derived)
        self._number, skipped = self._place(at)
        source.seek(start + max(HEADER, self._number * self._size))
        self._plain = memoryview(self._next())[skipped:]

    def _place(self, at: int) -> tuple[int, int]:
        """Which segment holds the byte, and how many of its bytes stand before that."""
        first = self._size - HEADER - _TAG_BYTES
        if at < first:
            return 0, at
        number, skipped = divmod(at - first, self._size - _TAG_BYTES)
        return number + 1, skipped

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._plain and not self._ended:
            self._plain = memoryview(self._next())
        taken = min(len(buffer), len(self._plain))
        buffer[:taken] = self._plain[:taken]
        self._plain = self._plain[taken:]
        return taken

    @property
    def _ended(self) -> bool:
        return self._number * self._size >= self._length

    def _next(self) -> bytes:
        """Raises Changed."""
        begins = HEADER if self._number == 0 else 0
        sealed = _whole(self._source, self._size - begins)
        number, self._number = self._number, self._number + 1
        nonce = self._nonces + number.to_bytes(4, "big") + bytes([self._ended])
        try:
            return self._cipher.decrypt(nonce, sealed, None)
        except (InvalidTag, ValueError) as error:
            raise Changed(f"its segment {number} is not authentic") from error

    def close(self) -> None:
        self._source.close()
        super().close()


def _secret(data_key: tink.KeysetHandle) -> tuple[bytes, int]:
    """The key's bytes and its segments' size."""
    raw = proto_keyset_format.serialize(data_key, secret_key_access.TOKEN)
    keyset = tink_pb2.Keyset.FromString(raw)
    [held] = keyset.key
    key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey.FromString(held.key_data.value)
    known = (_TYPE, _KEY_BYTES, common_pb2.SHA256)
    if (held.key_data.type_url, key.params.derived_key_size, key.params.hkdf_hash_type) != known:
        raise Changed("its data key is of another kind")
    return bytes(key.key_value), int(key.params.ciphertext_segment_size)


def _whole(source: io.RawIOBase, size: int) -> bytes:
    """`size` bytes, fewer only at the end; a store may answer in smaller pieces."""
    pieces = bytearray()
    while len(pieces) < size and (piece := source.read(size - len(pieces))):
        pieces += piece
    return bytes(pieces)
