"""The parts of an answer in gpt-oss' harmony: each has a head with its channel, and what it says.
`analysis` is thought, `final` is said, and a part `to=functions.NAME` is a call, which ends the
answer.

The marks are control tokens, which no text shows, so that their ids are kept where it chats.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from faults.nesting import loads
from finetune.serving.finite import finite
from finetune.serving.stops import first_match, held_suffix
from finetune.serving.tagged import Read

START, CHANNEL, MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
END, CALL, RETURN, CONSTRAIN = "<|end|>", "<|call|>", "<|return|>", "<|constrain|>"
TO = "to=functions."
_ENDS = [END, CALL, RETURN, START]
_BEGINS = (START, CHANNEL, TO)  # of a head, its role aside
_CALLED = re.compile(r"\bto=functions\.([^\s<]+)")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")


@dataclass(frozen=True)
class Marks:
    """Their ids; no template writes `constrain`, which some models do."""

    start: int
    channel: int
    message: int
    end: int
    call: int
    turn: int
    constrain: int | None

    @property
    def read(self) -> frozenset[int]:
        known = {self.start, self.channel, self.message, self.end, self.call, self.constrain}
        return frozenset(each for each in known if each is not None)

    @property
    def ends(self) -> frozenset[int]:
        """Those that end an answer."""
        return frozenset((self.call, self.turn))


def find(tokenizer: Any) -> Marks | None:
    """None where the chat template writes no such parts."""
    template, known = tokenizer.chat_template or "", tokenizer.get_vocab()
    needed = (START, CHANNEL, MESSAGE, END, CALL, RETURN)
    if not all(mark in template and mark in known for mark in needed):
        return None
    start, channel, message, end, call, turn = (known[mark] for mark in needed)
    return Marks(start, channel, message, end, call, turn, known.get(CONSTRAIN))


def reading(tools: list[dict[str, Any]]) -> Read:
    """Reads a part, head and all, as a call of one of `tools`; None where it is something else."""
    names = {tool.get("function", tool)["name"] for tool in tools}

    def read(part: str) -> tuple[str, dict[str, Any]] | None:
        head, _, written = part.partition(MESSAGE)
        called = _CALLED.search(head)
        try:
            arguments = finite(loads(written))
        except ValueError:
            return None
        known = called is not None and called[1] in names and isinstance(arguments, dict)
        return (called[1], arguments) if called and known else None

    return read


@dataclass
class PartReader:
    """Splits streamed text into what is said and what is thought. A call comes among what is said,
    between `START` and `CALL`, head and all; who reads calls takes it from there."""

    inside: bool | None = field(default=None, init=False)  # what comes is thought; None: a head
    _called: bool = field(default=False, init=False)  # what comes is a call
    _begun: bool = field(default=False, init=False)  # there was a head
    _held: str = field(default="", init=False)

    def push(self, text: str) -> tuple[str, str]:
        """(what is said, what is thought) that is certain by now."""
        self._held += text
        said, thought = "", ""
        while True:
            more, whole = self._head() if self.inside is None else self._body()
            said, thought = said + more[0], thought + more[1]
            if not whole:
                return said, thought

    def flush(self) -> tuple[str, str]:
        """What is still held back at the answer's end, which is a call's end, too: its token ends
        the answer and is not among the text."""
        held, self._held = self._held, ""
        if self._called:
            return held + (CALL if _is_json(held.partition(MESSAGE)[2]) else ""), ""
        if self.inside is None and held.lstrip().startswith("<|"):
            return "", ""  # a head that was cut off says nothing
        return ("", held) if self.inside else (held, "")

    def _head(self) -> tuple[tuple[str, str], bool]:
        head, ended, rest = self._held.partition(MESSAGE)
        if not ended:
            if not self._begun and not _may_begin(head):
                self.inside = False  # it has no parts at all
            return ("", ""), self.inside is not None
        self._begun = True
        self._called = _CALLED.search(head) is not None
        channel = _CHANNEL.search(head)
        self.inside = not self._called and channel is not None and channel[1] == "analysis"
        self._held = rest
        if self._called:
            self._held = f"{START}{head.removeprefix(START)}{MESSAGE}{rest}"
        return ("", ""), True

    def _body(self) -> tuple[tuple[str, str], bool]:
        pending = self._held
        begin = len(START) if self._called else 0
        at = first_match(pending[begin:], _ENDS)
        if at is None:
            keep = len(pending) if self._called else held_suffix(pending, _ENDS)
            certain = pending[: len(pending) - keep]
            self._held = pending[len(certain) :]
            return (("", certain) if self.inside else (certain, "")), False
        body, self._held = pending[: at + begin], pending[at + begin :]
        for end in (END, CALL, RETURN):
            self._held = self._held.removeprefix(end)
        told = ("", body) if self.inside else (body + (CALL if self._called else ""), "")
        self.inside, self._called = None, False
        return told, True


def _may_begin(head: str) -> bool:
    start = head.lstrip()
    return any(start.startswith(each) or each.startswith(start) for each in _BEGINS)


def _is_json(text: str) -> bool:
    try:
        loads(text)
    except ValueError:
        return False
    return True
