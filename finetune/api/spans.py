"""Parts of a download that a client asks for again after it broke off: one range of bytes
(RFC 9110, section 14). Several at once are answered with the whole, as the RFC allows."""

import re
from dataclasses import dataclass

from django.http import HttpRequest

from faults import UserFault

ONE_RANGE = re.compile(r"bytes=(?P<first>\d{0,18})-(?P<last>\d{0,18})", re.ASCII)


class NoSuchRange(UserFault):
    status = 416


@dataclass(frozen=True)
class Span:
    """Bytes `first` to `last`, both counted in, of `size`."""

    first: int
    last: int
    size: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1

    @property
    def content_range(self) -> str:
        return f"bytes {self.first}-{self.last}/{self.size}"


def first_of(span: Span | None) -> int:
    """Where an answer begins."""
    return span.first if span else 0


def tag(sha256: str) -> str:
    """The strong ETag of such bytes."""
    return f'"{sha256}"'


def span_of(request: HttpRequest, *, size: int, sha256: str) -> Span | None:
    """None: the whole was asked for, or a part of other bytes than these (`If-Range`). Raises
    NoSuchRange."""
    found = ONE_RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if found is None or request.headers.get("if-range", tag(sha256)) != tag(sha256):
        return None
    first, last = found["first"], found["last"]
    if not first and not last:
        return None
    if not first:  # so many at the end
        span = Span(max(0, size - int(last)), size - 1, size)
    else:
        span = Span(int(first), min(int(last), size - 1) if last else size - 1, size)
    if span.length < 1:
        raise NoSuchRange(
            "no_such_range",
            f"There are {size} bytes, and none of them in the range that was asked for.",
            fix="Ask without `Range`, and compare the SHA-256 of what you have.",
            param="range",
        )
    return span
