"""Text that is not UTF-8, as Windows programs write it: told by its bytes, read as UTF-8.

Only what is certain is read. Whatever else is not UTF-8 is one finding for the whole file.
"""

import codecs
import re
from collections.abc import Iterator
from typing import Literal

from finetune.records.check.problems import FileUnusable, Finding

Encoding = Literal["utf-8", "utf-16-le", "utf-16-be", "gb18030"]

PARQUET_MAGIC = b"PAR1"
# What a spreadsheet sends instead of a table: a workbook of Excel or WPS, new and old
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
# GB 2312's rows of punctuation (01-03), and of its 3,755 common characters (16-55), as GBK has it
_COMMON = re.compile(rb"[\xa1\xa3\xb0-\xd7][\xa1-\xfe]")
_HANZI = re.compile(rb"[\xb0-\xd7][\xa1-\xfe]")
# In EUC-KR, whose Hangul fill the rows before it, this half is almost empty
_SECOND_HALF = re.compile(rb"[\xc9-\xd7][\xa1-\xfe]")
_PAIR = re.compile(rb"[\x81-\xfe][\x30-\xfe]")
_LEAST_HANZI = 4
_LOOKED_AT = 4096  # characters
_PLAIN = frozenset(b"\t\r\n") | frozenset(range(0x20, 0x7F))
# ASCII, CJK punctuation, kana, CJK ideographs, full-width forms
_USUAL = re.compile(r"[\t\r\n\x20-\x7e\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef]")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")


def encoding_of(head: bytes) -> Encoding:
    """Of the file that begins so. Raises FileUnusable `workbook`, `other_encoding`."""
    if head.startswith(_WORKBOOKS):
        raise FileUnusable(Finding("workbook"))
    if head.startswith(PARQUET_MAGIC):
        return "utf-8"  # no text: nobody decodes it
    if head.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    if head.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be"
    if wide := _wide(head):
        return wide
    if _is("utf-8", head):
        return "utf-8"
    good, wrong, first = _lines_in_utf8(head)
    if not good and _is("gb18030", head) and _reads_as_chinese(head):
        return "gb18030"
    if wrong > max(1, good) or (not good and b"\0" in head):
        message = f"The file is not UTF-8, first in line {first}; in what it is written is unsure."
        raise FileUnusable(Finding("other_encoding", message=message, values={"first": first}))
    return "utf-8"  # with damage in a line or two, which are named


def as_utf8(chunks: Iterator[bytes], encoding: Encoding) -> Iterator[bytes]:
    """The same text in UTF-8, a byte order mark left out. Raises FileUnusable `other_encoding`."""
    if encoding == "utf-8":
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    begun, line = False, 1
    try:
        for chunk in chunks:
            text = decoder.decode(chunk)
            if not begun and text:
                text, begun = text.removeprefix("\ufeff"), True
            if text:
                line += text.count("\n")
                yield text.encode()
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        name = "GBK" if encoding == "gb18030" else "UTF-16"
        message = f"The file begins as {name}, which it is not from line {line} or soon after on."
        found = Finding("other_encoding", message=message, values={"first": line})
        raise FileUnusable(found) from error


FINDINGS: dict[Encoding, str] = {"utf-16-le": "utf16", "utf-16-be": "utf16", "gb18030": "gbk"}
"""Code of the notice that a file was read so."""


def _is(encoding: str, head: bytes) -> bool:
    """Whether it decodes; a character that the end of `head` cuts may go on behind it."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _wide(head: bytes) -> Encoding | None:
    """UTF-16 without a mark. Its ASCII characters have a NUL each, all on one side, which no text
    in UTF-8 or GBK has; a character such as U+4E00 has one on the other."""
    start = head[: 2 * _LOOKED_AT]
    encoding = _by_nuls(start) or _by_characters(start)
    if encoding is None or not _is(encoding, head):
        return None
    return None if _CONTROL.search(start.decode(encoding, errors="ignore")) else encoding


def _by_nuls(start: bytes) -> Encoding | None:
    little = sum(1 for pair in _pairs(start) if pair[1] == 0 and pair[0] in _PLAIN)
    big = sum(1 for pair in _pairs(start) if pair[0] == 0 and pair[1] in _PLAIN)
    encoding: Encoding = "utf-16-le" if little > big else "utf-16-be"
    if max(little, big) < 2 or max(little, big) < 4 * min(little, big):
        return None
    return encoding


def _by_characters(start: bytes) -> Encoding | None:
    """Chinese or Japanese with hardly an ASCII character: read in the wrong order, two thirds of it
    lie elsewhere. Characters such as U+4E00 do not count, as ASCII in the wrong order gives them.
    """
    if b"\0" not in start:  # not even the end of a line, so it is no text in UTF-16
        return None
    shares: dict[Encoding, float] = {
        order: _share(start.decode(order, errors="replace")) for order in ("utf-16-le", "utf-16-be")
    }
    other, best = sorted(shares, key=lambda order: shares[order])
    return best if shares[best] >= 0.9 and shares[other] < 0.6 else None


def _share(text: str) -> float:
    usual = sum(1 for each in _USUAL.findall(text) if each.isascii() or ord(each) & 0xFF)
    return usual / max(1, len(text))


def _pairs(start: bytes) -> Iterator[tuple[int, int]]:
    return zip(start[0::2], start[1::2], strict=False)


def _lines_in_utf8(head: bytes) -> tuple[int, int, int]:
    """Of the lines that are not ASCII: how many are UTF-8, how many are not, and the first of
    those; the last line, which `head` may cut, counts only where it is the only one."""
    good = wrong = first = 0
    lines = re.split(rb"\r\n|\n|\r", head)
    for number, line in enumerate(lines[:-1] if len(lines) > 1 else lines, 1):
        if not _NOT_ASCII.search(line):
            continue
        try:
            line.decode()
        except UnicodeDecodeError:
            wrong, first = wrong + 1, first or number
        else:
            good += 1
    return good, wrong, first


def _reads_as_chinese(head: bytes) -> bool:
    """Whether nearly every pair is a common character of Chinese. Russian, Japanese, Korean and
    Western encodings, and Big5, decode as GBK now and then, but to rare characters."""
    pairs = _PAIR.findall(head)
    hanzi = sum(1 for pair in pairs if _HANZI.fullmatch(pair))
    if hanzi < _LEAST_HANZI:
        return False
    common = sum(1 for pair in pairs if _COMMON.fullmatch(pair))
    second = sum(1 for pair in pairs if _SECOND_HALF.fullmatch(pair))
    return common >= 0.9 * len(pairs) and second >= 0.15 * hanzi
