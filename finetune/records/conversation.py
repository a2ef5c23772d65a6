"""A conversation rendered up to any of its messages; in one go where a template can be watched."""

from collections.abc import Sequence
from typing import Any

from finetune.records.rendering import Tools
from finetune.records.template import ChatTemplate
from finetune.records.watching import Watched


class Conversation:
    """`messages` as `ChatTemplate.prepare` returns them."""

    def __init__(
        self, template: ChatTemplate, messages: Sequence[dict[str, Any]], tools: Tools
    ) -> None:
        self.messages = list(messages)
        self._template, self._tools = template, tools
        self._watched: dict[bool | None, Watched | None] = {}
        self._ends: dict[tuple[bool, bool | None], str | None] = {}

    def render(self, count: int, *, prompt: bool = False, think: bool | None = None) -> str:
        """What `ChatTemplate.render` returns for the first `count` messages. Raises UserFault."""
        watched = self._watch(think)
        beginning = watched.until(count) if watched else None
        if beginning is not None:
            behind = self._end(prompt=prompt, think=think)
            if behind is not None:
                return beginning + behind
        return self._template.render(self.messages[:count], self._tools, prompt=prompt, think=think)

    def _end(self, *, prompt: bool, think: bool | None) -> str | None:
        key = (prompt, think)
        if key not in self._ends:
            watched = self._watch(think)
            self._ends[key] = (
                watched.behind
                if watched is not None and not prompt
                else self._template.behind(self.messages, self._tools, prompt=prompt, think=think)
            )
        return self._ends[key]

    def _watch(self, think: bool | None) -> Watched | None:
        if think not in self._watched:
            self._watched[think] = self._template.watch(self.messages, self._tools, think=think)
        return self._watched[think]
