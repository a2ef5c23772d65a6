"""Files of source code among the documents: what in them should not be learned from unseen.

By what public collections of code leave out: files that a program wrote, files without lines that a
person would write, and no text at all (Kocetkov et al. 2022, The Stack; Li et al. 2023, StarCoder).
"""

import re

from finetune.records.check.fields import Fields
from finetune.records.personal import SECRETS, find
from finetune.records.printing import printable

LONGEST_LINE, LONG_ON_AVERAGE = 1000, 100  # characters
_HEADER = 4096  # characters in which a file says what it is
_TOP_LINES = 12
_LICENCE = re.compile(r"SPDX-License-Identifier:[ \t]*([A-Za-z0-9.+() \-]{1,100})")
_GENERATED = re.compile(
    r"@generated|auto-?generated|do not (?:edit|modify)|generated (?:by|from|with|code|file)",
    re.IGNORECASE,
)
_NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\ufffd]")
_MOST_ODD = 0.05  # of its characters


def look_at(text: str, fields: Fields) -> None:
    odd = len(_NO_TEXT.findall(text))
    if "\0" in text or odd > _MOST_ODD * len(text):
        fields.find("binary_code", "text")
        return
    lines = text.splitlines()
    if _GENERATED.search("\n".join(lines[:_TOP_LINES])[:_HEADER]):
        fields.find("generated_code", "text")
    longest = max(map(len, lines), default=0)
    if longest > LONGEST_LINE or len(text) > LONG_ON_AVERAGE * max(1, len(lines)):
        values = {"longest": longest, "lines": len(lines)}
        message = f"Lines: {len(lines)}, the longest of {longest} characters: minified, or data."
        fields.find("minified_code", "text", message, **values)
    if kinds := sorted({each.kind.value for each in find(text, SECRETS)}):
        named = ", ".join(kinds)
        fields.find("secret_in_code", "text", f"What looks like a secret: {named}.", kinds=named)
    if match := _LICENCE.search(text[:_HEADER]):
        licence = printable(match[1].strip().rstrip("-").strip())
        message = f"Its header names the licence {licence}."
        fields.find("licence_named", "text", message, licence=licence)
