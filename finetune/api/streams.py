"""Bytes out of a vault as a response: decrypted piece by piece, outside any transaction."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header

from tenants.database.scope import release_connection

PIECE = 1 << 18


class RightEnded(ConnectionAbortedError):
    """The download breaks off; whoever receives it sees that it is not whole."""


def download(
    stream: BinaryIO,
    *,
    filename: str,
    still: Callable[[], bool],
    size: int | None = None,
    content_type: str = "application/octet-stream",
) -> StreamingHttpResponse:
    """`stream` as an attachment. Under ASGI a plain iterator would be read into memory whole.

    `still` says whether the caller may go on; a slow reader can draw a download out for hours.

    Raises the vault's errors for bytes that are missing or were changed: the first ones are read
    here, while the answer has no status yet.
    """
    try:
        first = stream.read(PIECE)
    except BaseException:
        stream.close()
        raise
    response = StreamingHttpResponse(pieces(first, stream, still), content_type=content_type)
    response["Content-Disposition"] = content_disposition_header(True, filename) or "attachment"
    if size is not None:
        response["Content-Length"] = str(size)
    return response


async def pieces(first: bytes, stream: BinaryIO, still: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Raises RightEnded, which cuts the connection: a short file must not look like a whole one."""

    def may_go_on() -> bool:
        try:
            return still()
        finally:
            release_connection()

    try:
        piece, asked = first, time.monotonic()
        while piece:
            yield piece
            if time.monotonic() - asked > settings.ASK_AGAIN_SECONDS:
                if not await sync_to_async(may_go_on)():
                    raise RightEnded("the right to these bytes has ended")
                asked = time.monotonic()
            piece = await asyncio.to_thread(stream.read, PIECE)
    finally:
        stream.close()
