"""Tool calls between the marks of DeepSeek V3, R1 and V3.1. The marks are control tokens, which
no text shows, so that their ids are kept where a request has tools.

V3.1 writes the name, a mark and JSON; V3 and R1 `function`, the mark, the name and JSON in a fence.
"""

import re
from dataclasses import dataclass
from typing import Any

from faults.nesting import loads
from finetune.serving.finite import finite
from finetune.serving.tagged import Read

BEGIN, MARK, END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
_FENCED = re.compile(r"([^\n]+)\n```json\n(.*)\n```\s*", re.DOTALL)


FENCE, FENCE_END = "\n```json\n", "\n```"
_ALL = ("<｜tool▁calls▁begin｜>", BEGIN, MARK, END, "<｜tool▁calls▁end｜>")


@dataclass(frozen=True)
class Marks:
    """Their ids: calls stand between `opening` and `closing`, each between `begin` and `end`, with
    `mark` in it. `fenced`: as V3 and R1 write them."""

    opening: int
    begin: int
    mark: int
    end: int
    closing: int
    fenced: bool

    @property
    def read(self) -> frozenset[int]:
        """Those that tell calls from text; the others stand around them and say nothing."""
        return frozenset((self.begin, self.mark, self.end))


def find(tokenizer: Any) -> Marks | None:
    """None where the chat template writes no such calls."""
    template = tokenizer.chat_template or ""
    known = tokenizer.get_vocab()
    if not all(mark in template and mark in known for mark in _ALL):
        return None
    opening, begin, mark, end, closing = (known[each] for each in _ALL)
    return Marks(opening, begin, mark, end, closing, fenced="```json" in template)


def reading(tools: list[dict[str, Any]]) -> Read:
    """Reads what stands between the marks as a call of one of `tools`: its name and arguments;
    None where it is something else."""
    known = {tool.get("function", tool)["name"] for tool in tools}

    def read(body: str) -> tuple[str, dict[str, Any]] | None:
        name, _, written = body.partition(MARK)
        if name.strip() == "function" and (fenced := _FENCED.fullmatch(written)):
            name, written = fenced[1], fenced[2]
        try:
            arguments = finite(loads(written))
        except ValueError:
            return None
        found = name.strip() in known and isinstance(arguments, dict)
        return (name.strip(), arguments) if found else None

    return read
