"""A tokenizer's chat template: what it writes around messages, and what it can say.

Knows nothing of tokens or masks; those are made in `spans` and `encode`.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from os.path import commonprefix
from typing import Any

from faults import UserFault
from finetune.records import control, thinking
from finetune.records.call_form import CallForm
from finetune.records.rendering import (
    SENTINEL,
    TEMPLATE_ERRORS,
    CharSpan,
    Tools,
    frozen,
    render,
    taken,
)
from finetune.records.rows import Message
from finetune.records.tool_calls import ToolCalls
from finetune.records.watching import Unwatchable, Watched, ends_alike, is_watchable

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
# Shapes of conversations whose unprinted messages are remembered
SHAPES_KEPT = 1000


class ChatTemplate:
    """Renders messages as the base model expects them; every refusal is a UserFault."""

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.chat_template:
            raise UserFault(
                "no_chat_template",
                "The base model has no chat template, so chat rows cannot be written for it.",
                fix="Import the base with --chat-template FILE, or use prompt/completion rows.",
            )
        self._tokenizer = tokenizer
        self._variables = tokenizer.special_tokens_map
        self._calls = ToolCalls(self.render)
        self._unprinted: dict[Any, frozenset[int]] = {}
        self._sources: dict[bool, str] = {}
        self._marked: dict[bool, bool] = {}
        self._behind: dict[tuple[str, bool, bool | None], str] = {}

    def _source(self, tools: Tools) -> str:
        with_tools = bool(tools)
        if with_tools not in self._sources:
            source = self._tokenizer.get_chat_template(None, tools or None)
            self._sources[with_tools] = frozen(source)
        return self._sources[with_tools]

    def is_marked(self, tools: Tools) -> bool:
        """Whether the template itself says, by {% generation %}, what the model writes."""
        with_tools = bool(tools)
        if with_tools not in self._marked:
            self._marked[with_tools] = bool(_GENERATION.search(self._source(tools)))
        return self._marked[with_tools]

    def render(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Tools,
        *,
        prompt: bool = False,
        think: bool | None = None,
    ) -> str:
        """`prompt`: end with what comes before an answer, as at inference. `think` turns the
        template's switch, if it has one; None leaves it alone."""
        return self._render(self._reworded(messages), tools, prompt, think, marks=False)[0]

    def render_marked(
        self, messages: Sequence[dict[str, Any]], tools: Tools, *, think: bool | None = None
    ) -> tuple[str, list[CharSpan]]:
        """The text, and the character spans of the template's generation marks in it."""
        return self._render(self._reworded(messages), tools, False, think, marks=True)

    def _render(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Tools,
        prompt: bool,
        think: bool | None,
        *,
        marks: bool,
    ) -> tuple[str, list[CharSpan]]:
        return render(
            self._source(tools),
            messages,
            tools,
            self._variables | self._switch(think),
            prompt=prompt,
            marks=marks,
        )

    def _switch(self, think: bool | None) -> dict[str, Any]:
        return {} if think is None else dict.fromkeys(self.switches, think)

    def watch(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Tools,
        *,
        prompt: bool = False,
        think: bool | None = None,
    ) -> Watched | None:
        """As `render`, and what it says of the beginnings too; None where that cannot be told."""
        source = self._source(tools)
        if not is_watchable(source):
            return None
        variables = self._variables | self._switch(think)
        try:
            return Watched(
                source, self._reworded(messages), tools or None, variables, prompt=prompt
            )
        except (Unwatchable, *TEMPLATE_ERRORS):  # which `render` will tell of
            return None

    def behind(
        self,
        messages: Sequence[dict[str, Any]],
        tools: Tools,
        *,
        prompt: bool,
        think: bool | None,
    ) -> str | None:
        """What a template that can be watched writes behind the last message, whatever that is.
        Asked with `messages`; None where they cannot tell."""
        key = (self._source(tools), prompt, think)
        if (known := self._behind.get(key)) is not None:
            return known
        watched = self.watch(messages, tools, prompt=prompt, think=think)
        behind = watched.behind if watched is not None else None
        if behind is not None and ends_alike(key[0]):
            self._behind[key] = behind
        return behind

    # --- thinking

    @cached_property
    def has_switch(self) -> bool:
        return bool(self.switches)

    @cached_property
    def switches(self) -> tuple[str, ...]:
        """What it calls its switch."""
        return tuple(name for name in thinking.SWITCHES if name in taken(self._source(None)))

    @cached_property
    def thinks(self) -> bool:
        """Whether it has a switch, or opens a thought in every prompt."""
        return self.has_switch or self._opens_thoughts

    @cached_property
    def _opens_thoughts(self) -> bool:
        question = [{"role": "user", "content": SENTINEL}]
        try:
            prompt = self._render(question, None, True, None, marks=False)[0]
        except UserFault:
            return False
        opened = thinking.PROMPTED.search(prompt)
        return opened is not None and not opened["ended"]

    def require_switch(self, think: bool | None) -> None:
        """Raises UserFault `thinking_unsupported` for what the template cannot be asked."""
        if think and not self.thinks:
            raise thinking.unsupported("knows no thinking, so it cannot be turned on")
        if think is False and self._opens_thoughts and not self.has_switch:
            raise thinking.unsupported(
                "opens a thought in every prompt, so it cannot be turned off"
            )

    def asks_to_think(self, setting: thinking.Thinking, message: dict[str, Any]) -> bool | None:
        """What the prompt of this answer asks for; None: the template has no switch.

        Raises UserFault `thinking_unsupported`.
        """
        if setting != "each":
            self.require_switch(setting == "on")
        if not self.has_switch:
            return None
        return bool(message.get("reasoning_content")) if setting == "each" else setting == "on"

    @cached_property
    def _thought_field(self) -> str | None:
        """Where it takes an answer's reasoning from: a field, or the content itself."""
        fields = ["reasoning_content", "reasoning", "thinking"]
        return next(
            filter(self._prints_thought, [*fields, "content"] if self.thinks else fields), None
        )

    def _prints_thought(self, field: str) -> bool:
        return SENTINEL in self._try_thought(field, "so")

    @cached_property
    def thought_end(self) -> str:
        """What it writes between reasoning and content."""
        field = self._thought_field
        text = self._try_thought(field, f"{SENTINEL}so") if field else ""
        between = text.partition(SENTINEL)[2].partition(f"{SENTINEL}so")[0]
        return between if thinking.CLOSE in between else thinking.CLOSED_AT_ONCE

    def _try_thought(self, field: str, content: str) -> str:
        question = {"role": "user", "content": "u"}
        answer = _with_thought({"role": "assistant", "content": content}, field, SENTINEL)
        try:
            return self._render([question, answer], None, False, True, marks=False)[0]
        except UserFault:
            return ""

    def _reworded(self, messages: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        """Reasoning where the template takes it from; one that takes none is not shown it."""
        if not any("reasoning_content" in message for message in messages):
            return messages
        return [
            _with_thought(
                {key: value for key, value in message.items() if key != "reasoning_content"},
                self._thought_field,
                message.get("reasoning_content"),
            )
            for message in messages
        ]

    def unprinted(self, messages: Sequence[dict[str, Any]], tools: Tools) -> frozenset[int]:
        """Which of the messages that have content are left out, whatever they say.

        Asked with another word in each, and once for all conversations of the same shape.
        """
        shape = (
            bool(tools),
            tuple((m["role"], bool(m["content"]), bool(m.get("tool_calls"))) for m in messages),
        )
        if shape not in self._unprinted:
            if len(self._unprinted) >= SHAPES_KEPT:
                self._unprinted.clear()
            self._unprinted[shape] = self._find_unprinted(messages, tools)
        return self._unprinted[shape]

    def _find_unprinted(self, messages: Sequence[dict[str, Any]], tools: Tools) -> frozenset[int]:
        words = {i: f"{SENTINEL}n{i}e" for i, message in enumerate(messages) if message["content"]}
        swapped = [{**m, "content": words.get(i, "")} for i, m in enumerate(messages)]
        text = self.render(swapped, tools)
        return frozenset(i for i, word in words.items() if word not in text)

    def prepare(self, messages: Sequence[Message], tools: Tools) -> list[dict[str, Any]]:
        """The messages in the words of chat templates: OpenAI's differ in four places.

        Raises UserFault `control_token_in_message`: what is written in a message or in a tool
        could otherwise end its turn and speak as somebody else.
        """
        for number, message in enumerate(messages, 1):
            control.refuse(self._control, message, f"Message {number} ({message['role']})")
        control.refuse(self._control, tools, "The list of tools")
        return [self._prepare(message) for message in messages]

    @cached_property
    def _control(self) -> re.Pattern[str]:
        """Special tokens, and whatever else the template marks turns with: some tokenizers do not
        call those special."""
        marks = {token for token in self._added_tokens if token in self._bare_talk}
        return control.matcher((control.special_tokens(self._tokenizer) | marks) - control.THOUGHTS)

    @cached_property
    def _bare_talk(self) -> str:
        """What the template writes around messages that say nothing of their own."""
        talk = [{"role": "user", "content": SENTINEL}, {"role": "assistant", "content": SENTINEL}]
        text = ""
        for messages in ([{"role": "system", "content": SENTINEL}, *talk, *talk], [*talk, *talk]):
            try:
                text += self.render(messages, None) + self.render(messages[:-1], None, prompt=True)
            except UserFault:  # it knows no system role, or no second turn
                continue
        return text

    def _prepare(self, message: Message) -> dict[str, Any]:
        role = message["role"]
        if role == "developer" and not self._knows_developer:
            role = "system"
        # None would be printed as "None" by templates that only trim the content
        prepared: dict[str, Any] = {"role": role, "content": message.get("content") or ""}
        if role == "assistant":
            reasoning = message.get("reasoning_content")
            if not reasoning and self.thinks:
                reasoning, prepared["content"] = thinking.split(prepared["content"])
            if reasoning and reasoning.strip():
                prepared["reasoning_content"] = reasoning
        if name := message.get("name"):
            prepared["name"] = name
        if call_id := message.get("tool_call_id"):
            prepared["tool_call_id"] = self._calls.short_id(call_id)
        if calls := message.get("tool_calls"):
            prepared["tool_calls"] = [self._calls.prepare(call) for call in calls]
        return prepared

    @property
    def call_form(self) -> CallForm | None:
        return self._calls.form

    @cached_property
    def _knows_developer(self) -> bool:
        return "developer" in self._source(None)

    @cached_property
    def end_mark(self) -> str:
        """The text of the token or tokens that end an assistant's turn, as <|im_end|> or </s>."""
        match = self._leading_tokens.match(commonprefix(self._tails())) or (  # noqa: RUF071
            # gpt-oss ends the last turn otherwise than the ones before
            self._leading_tokens.match(self._tails()[-1])
        )
        if not match:
            raise UserFault(
                "end_not_trained",
                "The chat template writes no end token after the assistant's answer, so a model "
                "trained on it would never learn to stop.",
                fix="Import the base with a chat template that ends an assistant's turn with "
                "the end-of-turn or end-of-sequence token (--chat-template FILE).",
            )
        return match[1]

    def ends_in_token(self, text: str) -> bool:
        return text.rstrip().endswith(tuple(self._added_tokens))

    def _tails(self) -> list[str]:
        """What the template writes behind an answer that is not the last, and behind the last."""
        question = {"role": "user", "content": "u"}
        answer = {"role": "assistant", "content": SENTINEL}
        parts = self.render([question, answer, question, answer], None).split(SENTINEL)
        return parts[1:] if len(parts) == 3 else [""]

    @cached_property
    def _leading_tokens(self) -> re.Pattern[str]:
        tokens = "|".join(map(re.escape, self._added_tokens)) or "(?!)"
        return re.compile(rf"\s*((?:{tokens})+)")

    @cached_property
    def _added_tokens(self) -> list[str]:
        """Longest first, so that a token goes before those it begins with."""
        tokens = {str(token) for token in self._tokenizer.added_tokens_encoder}
        if self._tokenizer.eos_token:
            tokens.add(str(self._tokenizer.eos_token))
        return sorted(tokens, key=lambda token: (-len(token), token))


def _with_thought(
    message: dict[str, Any], field: str | None, reasoning: str | None
) -> dict[str, Any]:
    if not (field and reasoning):
        return message
    if field != "content":
        return {**message, field: reasoning}
    thought = f"{thinking.OPEN}\n{reasoning}{thinking.CLOSED_AT_ONCE}"
    return {**message, "content": thought + message["content"]}
