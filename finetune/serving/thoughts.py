"""What a model thinks, apart from what it says: `<think>…</think>` in front of an answer."""

from dataclasses import dataclass, field
from typing import Any

from finetune.records.thinking import CLOSE, OPEN, PROMPTED
from finetune.serving.stops import held_suffix

_TAIL = 64  # tokens of a prompt's end; even byte by byte a thought without words takes fewer


def opened_by(tokenizer: Any, prompt: list[int]) -> bool | None:
    """Whether a prompt ends within a thought; False: behind one; None: the answer may open one."""
    tail = tokenizer.decode(prompt[-_TAIL:], skip_special_tokens=False)
    found = PROMPTED.search(tail)
    return None if found is None else not found["ended"]


@dataclass
class ThoughtReader:
    """Splits streamed text. `inside`: within a thought; None: the answer may begin with one.

    Line breaks that templates put around a thought are no part of it, nor of what is said.
    """

    inside: bool | None
    _held: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self._begun = self.inside is False  # what is read now has said something

    def push(self, text: str) -> tuple[str, str]:
        """(what is said, what is thought) that is certain by now."""
        pending, self._held = self._held + text, ""
        if self.inside is None:
            begin = pending.lstrip()
            if not begin.startswith(OPEN) and OPEN.startswith(begin):
                self._held = pending
                return "", ""
            self.inside = begin.startswith(OPEN)
            self._begun = not self.inside
            pending = begin.removeprefix(OPEN) if self.inside else pending
        if not self.inside:
            return self._led(pending), ""
        thought, ended, after = pending.partition(CLOSE)
        if not ended:
            certain = thought[: len(thought) - held_suffix(thought, [CLOSE])].rstrip("\n")
            self._held = thought[len(certain) :]
            return "", self._led(certain)
        thought = self._led(thought.rstrip("\n"))
        self.inside = self._begun = False
        return self._led(after), thought

    def flush(self) -> tuple[str, str]:
        """What is still held back at the answer's end."""
        held, self._held = self._held, ""
        return ("", held.rstrip("\n")) if self.inside else (held, "")

    def _led(self, text: str) -> str:
        """Without the line breaks in front of the first word."""
        if not self._begun:
            text = text.lstrip("\n")
            self._begun = bool(text)
        return text
