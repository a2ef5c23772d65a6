"""Bytes of a tenant as a response: made piece by piece, outside any transaction, for as long as
whoever receives them may have them."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import BinaryIO

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header

from finetune.api.spans import Span, tag
from tenants.database.scope import release_connection

PIECE = 1 << 18

Still = Callable[[], bool]


class RightEnded(ConnectionAbortedError):
    """The download breaks off; whoever receives it sees that it is not whole."""


def download(
    stream: BinaryIO,
    *,
    filename: str,
    still: Still,
    size: int | None = None,
    content_type: str = "application/octet-stream",
    span: Span | None = None,
) -> StreamingHttpResponse:
    """`stream` as an attachment, or a `span` that it begins with. Under ASGI a plain iterator would
    be read into memory whole.

    `still` says whether the caller may go on; a slow reader can draw a download out for hours.

    Raises the vault's errors for bytes that are missing or were changed: the first ones are read
    here, while the answer has no status yet.
    """
    try:
        first = stream.read(PIECE)
    except BaseException:
        stream.close()
        raise
    pieces = _pieces(first, stream)
    if span is not None:
        pieces = _cut(pieces, span)
    response = attachment(pieces, filename=filename, still=still, content_type=content_type)
    if span is not None:
        response.status_code = 206
        response["Content-Range"] = span.content_range
        response["Content-Length"] = str(span.length)
    elif size is not None:
        response["Content-Length"] = str(size)
    return response


def resumable(
    stream: BinaryIO, *, span: Span | None, filename: str, still: Still, size: int, sha256: str
) -> StreamingHttpResponse:
    """A .tar that can be asked for in parts, as `span_of` read them from the request; `stream`
    begins with the part."""
    response = download(
        stream,
        still=still,
        filename=filename,
        size=size,
        content_type="application/x-tar",
        span=span,
    )
    response["Accept-Ranges"] = "bytes"
    response["ETag"] = tag(sha256)
    response["x-privatune-sha256"] = sha256
    return response


def attachment(
    pieces: AsyncGenerator[bytes], *, filename: str, still: Still, content_type: str
) -> StreamingHttpResponse:
    """What is made while it leaves, under the same question as a download."""
    response = StreamingHttpResponse(_while_allowed(pieces, still), content_type=content_type)
    response["Content-Disposition"] = content_disposition_header(True, filename) or "attachment"
    return response


async def _pieces(first: bytes, stream: BinaryIO) -> AsyncGenerator[bytes]:
    try:
        piece = first
        while piece:
            yield piece
            piece = await asyncio.to_thread(stream.read, PIECE)
    finally:
        stream.close()


async def _cut(pieces: AsyncGenerator[bytes], span: Span) -> AsyncGenerator[bytes]:
    """So much as the span has, of what begins with it."""
    left = span.length
    async with aclosing(pieces):
        async for piece in pieces:
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                return


async def _while_allowed(pieces: AsyncGenerator[bytes], still: Still) -> AsyncGenerator[bytes]:
    """Raises RightEnded, which cuts the connection: a short file must not look like a whole one."""

    def may_go_on() -> bool:
        try:
            return still()
        finally:
            release_connection()

    async with aclosing(pieces):
        asked = time.monotonic()
        async for piece in pieces:
            if time.monotonic() - asked > settings.ASK_AGAIN_SECONDS:
                if not await sync_to_async(may_go_on)():
                    raise RightEnded("the right to these bytes has ended")
                asked = time.monotonic()
            yield piece
