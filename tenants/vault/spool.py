"""A temporary file for plaintext on its way in: memory, then a disk that sees only ciphertext.

It has the ways of `tempfile.SpooledTemporaryFile`; what reaches the disk is an unlinked file of
blocks sealed with AES-256-GCM under a key that exists in this object alone.
"""

import errno
import io
import tempfile
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from faults.disk import is_full
from tenants.vault.errors import ObjectDamaged, StorageDown, StorageFull

BLOCK = 1 << 16  # bytes of plaintext in a sealed block
_TAG = 16


class EncryptedSpool(io.BufferedIOBase):
    """Reads, writes and seeks like `BytesIO`; beyond `max_size` bytes it spills, encrypted."""

    name = None

    def __init__(self, max_size: int = 1 << 20, folder: str | None = None) -> None:
        self._max_size = max_size
        self._folder = folder
        self._file: io.BytesIO | _SealedFile = io.BytesIO()

    @property
    def spilled(self) -> bool:
        """Whether it has outgrown the memory it may use."""
        return isinstance(self._file, _SealedFile)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._check_open()
        size = memoryview(data).nbytes
        if not self.spilled and self._file.tell() + size > self._max_size:
            self._spill()
        return self._file.write(data)

    def read(self, size: int | None = -1, /) -> bytes:
        self._check_open()
        return self._file.read(size)

    def read1(self, size: int = -1, /) -> bytes:
        return self.read(size)

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def peek(self, size: int = 0, /) -> bytes:
        """What is next, without moving; `readline` is slow without it."""
        self._check_open()
        place = self._file.tell()
        data = self._file.read(max(size, 4096))
        self._file.seek(place)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._check_open()
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        self._check_open()
        return self._file.tell()

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")

    def _spill(self) -> None:
        assert isinstance(self._file, io.BytesIO)
        sealed = _SealedFile(self._folder)
        try:
            sealed.write(self._file.getbuffer())
            sealed.seek(self._file.tell())
        except BaseException:
            sealed.close()
            raise
        self._file.close()
        self._file = sealed


class _SealedFile:
    """A file of sealed blocks, one of which stands open in memory.

    Every sealing takes a nonce that was never used with the key, so rewriting a place is safe;
    the nonces stay in memory, so a block of the disk put elsewhere or put back later is noticed.
    """

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._cipher = AESGCM(AESGCM.generate_key(256))
        self._nonces: dict[int, int] = {}  # block -> the nonce it was last sealed with
        self._sealings = 0
        self._place = 0
        self._size = 0
        self._block = bytearray()  # plaintext of block number `_index`
        self._index = 0
        self._dirty = False
        try:
            self._disk: BinaryIO = tempfile.TemporaryFile(  # noqa: SIM115 - closed by close()
                dir=folder, buffering=0
            )
        except OSError as error:
            raise self._explain(error) from error

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        if base + offset < 0 and whence == io.SEEK_SET:
            raise ValueError(f"negative seek value {offset}")
        self._place = max(0, base + offset)
        return self._place

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._size - self._place)
        left = left if size is None or size < 0 else min(left, size)
        pieces = []
        while left:
            at = self._open_block()
            piece = bytes(self._block[at : at + left])
            pieces.append(piece)
            self._place += len(piece)
            left -= len(piece)
        return b"".join(pieces)

    def write(self, data: Any, /) -> int:
        rest = memoryview(data).cast("B")
        total = len(rest)
        if total and self._place > self._size:
            self._fill_gap()
        while rest:
            at = self._open_block()
            taken = rest[: BLOCK - at]
            self._block[at : at + len(taken)] = taken
            self._dirty = True
            self._place += len(taken)
            self._size = max(self._size, self._place)
            rest = rest[len(taken) :]
        return total

    def close(self) -> None:
        self._disk.close()
        self._block.clear()
        self._nonces.clear()

    def _fill_gap(self) -> None:
        """Zeros between the end and a place beyond it, as in any file."""
        until, self._place = self._place, self._size
        while self._place < until:
            self.write(bytes(min(BLOCK, until - self._place)))

    def _open_block(self) -> int:
        """Bring the block of the present place into memory; returns the place within it."""
        index, at = divmod(self._place, BLOCK)
        if index != self._index:
            self._seal()
            self._block = self._unseal(index)
            self._index = index
        return at

    def _seal(self) -> None:
        if not self._dirty:
            return
        self._sealings += 1
        sealed = self._cipher.encrypt(_nonce(self._sealings), bytes(self._block), None)
        try:
            self._disk.seek(self._index * (BLOCK + _TAG))
            if self._disk.write(sealed) != len(sealed):
                raise OSError(errno.ENOSPC, "short write")
        except OSError as error:
            raise self._explain(error) from error
        self._nonces[self._index] = self._sealings
        self._dirty = False

    def _unseal(self, index: int) -> bytearray:
        if index not in self._nonces:
            return bytearray()
        try:
            self._disk.seek(index * (BLOCK + _TAG))
            sealed = self._disk.read(min(BLOCK, self._size - index * BLOCK) + _TAG)
            return bytearray(self._cipher.decrypt(_nonce(self._nonces[index]), sealed, None))
        except OSError as error:
            raise self._explain(error) from error
        except InvalidTag as error:
            raise ObjectDamaged("(temporary file)", "its blocks were changed on disk") from error

    def _explain(self, error: OSError) -> StorageFull | StorageDown:
        where = self._folder or tempfile.gettempdir()
        if is_full(error):
            return StorageFull(where)
        return StorageDown(where, error, "Make the folder for temporary files writable.")


def _nonce(sealing: int) -> bytes:
    return sealing.to_bytes(12, "big")
