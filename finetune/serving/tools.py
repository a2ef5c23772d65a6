"""Tool calls out of a model's text, for templates that write `<tool_call>{json}</tool_call>`.

Qwen's and Hermes' templates do, SmolLM2's puts a list inside. Other dialects stay plain text.
"""

import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from faults.nesting import loads
from finetune.serving.protocol import ToolCall
from finetune.serving.stops import held_suffix

OPEN, CLOSE = "<tool_call>", "</tool_call>"


def speaks_tool_calls(chat_template: str | None) -> bool:
    """Whether the template itself writes calls in this form, so that the model was taught it."""
    return OPEN in (chat_template or "")


@dataclass
class ToolCallReader:
    """Splits streamed text into what is said and what is called."""

    count: int = 0
    _held: str = field(default="", init=False)

    def push(self, text: str) -> tuple[str, list[ToolCall]]:
        """Text to show and calls completed; a call is withheld until it is whole."""
        pending, said = self._held + text, ""
        calls: list[ToolCall] = []
        while (start := pending.find(OPEN)) >= 0:
            end = pending.find(CLOSE, start)
            if end < 0:
                break
            said += self._speech(pending[:start])
            found = self._parse(pending[start + len(OPEN) : end])
            # what cannot be read as a call is shown as it stands, never dropped
            said += "" if found else pending[start : end + len(CLOSE)]
            calls += found
            pending = pending[end + len(CLOSE) :]
        cut = start if start >= 0 else len(pending) - held_suffix(pending, [OPEN])
        self._held = pending[cut:]
        return said + self._speech(pending[:cut]), calls

    def _speech(self, text: str) -> str:
        """Text between calls; the line breaks that templates put there say nothing."""
        return "" if self.count and text.isspace() else text

    def flush(self) -> str:
        """An unfinished call, or the start of what was no marker after all."""
        text, self._held = self._held, ""
        return text

    def _parse(self, body: str) -> list[ToolCall]:
        try:
            loaded: Any = loads(body)
        except ValueError:
            return []
        items = loaded if isinstance(loaded, list) else [loaded]
        if not items or not all(_is_call(item) for item in items):
            return []
        return [self._call(item) for item in items]

    def _call(self, item: dict[str, Any]) -> ToolCall:
        arguments = item.get("arguments", {})
        call = ToolCall(
            index=self.count,
            id=f"call_{secrets.token_hex(12)}",
            name=item["name"],
            arguments=arguments
            if isinstance(arguments, str)
            else json.dumps(arguments, ensure_ascii=False),
        )
        self.count += 1
        return call


def _is_call(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("name"), str)
