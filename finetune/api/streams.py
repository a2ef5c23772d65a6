"""Bytes out of a vault as a response: decrypted piece by piece, outside any transaction."""

import asyncio
from collections.abc import AsyncIterator
from typing import BinaryIO

from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header

PIECE = 1 << 18


def download(
    stream: BinaryIO,
    *,
    filename: str,
    size: int | None = None,
    content_type: str = "application/octet-stream",
) -> StreamingHttpResponse:
    """`stream` as an attachment. Under ASGI a plain iterator would be read into memory whole.

    Raises the vault's errors for bytes that are missing or were changed: the first ones are read
    here, while the answer has no status yet.
    """
    try:
        first = stream.read(PIECE)
    except BaseException:
        stream.close()
        raise
    response = StreamingHttpResponse(pieces(first, stream), content_type=content_type)
    response["Content-Disposition"] = content_disposition_header(True, filename) or "attachment"
    if size is not None:
        response["Content-Length"] = str(size)
    return response


async def pieces(first: bytes, stream: BinaryIO) -> AsyncIterator[bytes]:
    try:
        piece = first
        while piece:
            yield piece
            piece = await asyncio.to_thread(stream.read, PIECE)
    finally:
        stream.close()
