"""Bytes of the source, unpacked, counted and made UTF-8 while they come, and cut into lines.

Memory stays at one chunk and one line, whatever the file says of itself.
"""

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

import zstandard

from faults import UserFault
from finetune.records.check.encodings import FINDINGS, as_utf8, encoding_of
from finetune.records.check.problems import FileUnusable, Finding, Problems
from finetune.records.check.spec import Compression, Limits

CHUNK = 1 << 20
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_BOM = b"\xef\xbb\xbf"
# More than zstd's own default of 8 MiB (files made with --ultra --long ask for up to 128 MiB)
_ZSTD_WINDOW = 1 << 27

OnProgress = Callable[[int], None]


class Source:
    """A file to check. `decoded` counts the unpacked bytes read so far; `head` is its beginning.

    Raises FileUnusable `bad_compression`, and of `encoding_of`.
    """

    def __init__(self, path: Path, limits: Limits, on_progress: OnProgress) -> None:
        self.size = path.stat().st_size
        self.decoded = 0
        self._path = path
        self._limits = limits
        self.on_progress = on_progress
        with path.open("rb") as raw:
            self.compression = _compression(raw.read(4))
        self._encoding = encoding_of(next(self._unpacked(), b""))
        self.head = next(self.chunks(), b"")
        self.decoded = 0
        # Old programs of the Mac end lines with CR alone
        self._line_end = b"\r" if b"\r" in self.head and b"\n" not in self.head else b"\n"

    def notices(self, problems: Problems) -> None:
        """What was read otherwise than it stands there."""
        if code := FINDINGS.get(self._encoding):
            problems.add(None, Finding(code))
        if self._line_end == b"\r":
            problems.add(None, Finding("cr_only"))

    def chunks(self) -> Iterator[bytes]:
        """The unpacked bytes, text as UTF-8. Raises FileUnusable `bad_compression`,
        `other_encoding`, UserFault `limit_decoded_bytes`."""
        return as_utf8(self._unpacked(), self._encoding)

    def _unpacked(self) -> Iterator[bytes]:
        self.decoded = 0
        with self._path.open("rb") as raw:
            unpacked = _unpack(raw, self.compression)
            while chunk := _read(unpacked):
                self.count(len(chunk))
                self.on_progress(raw.tell())
                yield chunk

    def count(self, decoded: int) -> None:
        self.decoded += decoded
        if self.decoded > self._limits.decoded_bytes:
            raise UserFault(
                "limit_decoded_bytes",
                f"The unpacked file is larger than {self._limits.decoded_bytes} bytes.",
                fix="Split it into several files.",
            )

    def lines(self, problems: Problems) -> Iterator[tuple[int, bytes | None]]:
        """Number and bytes of each line, without its end; None for a line that is too large.

        Raises what `chunks` raises.
        """
        for number, line, whole in _split(self.chunks(), self._limits.line_bytes, self._line_end):
            if number == 1 and line.startswith(_BOM):
                problems.add(1, Finding("bom"))
                line = line[len(_BOM) :]  # noqa: PLW2901 - the rest of the loop wants it so
            if not whole:
                yield number, None
                continue
            if line.endswith(b"\r"):
                problems.add_once(number, Finding("crlf"))
                line = line[:-1]  # noqa: PLW2901
            yield number, line


def _compression(magic: bytes) -> Compression:
    if magic.startswith(_GZIP):
        return "gzip"
    return "zstd" if magic.startswith(_ZSTD) else "none"


def _unpack(raw: IO[bytes], compression: Compression) -> IO[bytes]:
    if compression == "gzip":
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw))
    if compression == "zstd":
        unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        return unpacker.stream_reader(raw, read_across_frames=True)
    return raw


def _read(unpacked: IO[bytes]) -> bytes:
    try:
        return unpacked.read(CHUNK)
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        message = f"The compressed data cannot be unpacked: {error}."
        raise FileUnusable(Finding("bad_compression", message=message)) from error


def _split(
    chunks: Iterator[bytes], limit: int, line_end: bytes
) -> Iterator[tuple[int, bytes, bool]]:
    """Line number, bytes, and whether the line is within the limit (if not, only its start)."""
    number, rest, too_large = 1, b"", False
    for chunk in chunks:
        first, *more = chunk.split(line_end)
        rest = rest if too_large else rest + first
        for begin in more:
            too_large = too_large or len(rest) > limit
            yield number, rest, not too_large
            number, rest, too_large = number + 1, begin, False
        if len(rest) > limit:
            too_large, rest = True, b""
    if rest or too_large:
        yield number, rest, not too_large
