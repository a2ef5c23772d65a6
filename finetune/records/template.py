"""A tokenizer's chat template: rendering in transformers' immutable sandbox, and what it can say.

Knows nothing of tokens or masks; those are made in `spans` and `encode`.
"""

import hashlib
import json
import re
import string
from collections.abc import Sequence
from functools import cached_property
from os.path import commonprefix
from typing import Any

import jinja2
from transformers.utils.chat_template_utils import render_jinja_template

from faults import UserFault
from faults.nesting import loads
from finetune.records import control, thinking
from finetune.records.rows import Message

CharSpan = tuple[int, int]
Tools = list[dict[str, Any]] | None

_LETTERS = string.digits + string.ascii_letters
_SHORT_ID = re.compile(r"[0-9A-Za-z]{9}")
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
# Llama 3 and others print today's date: a run resumed tomorrow would then train other tokens.
_FROZEN_DATE = "{% set date_string = '26 Jul 2024' %}{{ '' }}"
_FROZEN_CLOCK = (
    "{% macro strftime_now(format) %}{{ {'%d %b %Y': '26 Jul 2024', '%d %B %Y': '26 July 2024', "
    "'%B %d, %Y': 'July 26, 2024'}[format] or '2024-07-26' }}{% endmacro %}{{ '' }}"
)
_TEMPLATE_ERRORS = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


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
        self._unprinted: dict[Any, frozenset[int]] = {}

    def _source(self, tools: Tools) -> str:
        return frozen(self._tokenizer.get_chat_template(None, tools))

    def is_marked(self, tools: Tools) -> bool:
        """Whether the template itself says, by {% generation %}, what the model writes."""
        return bool(_GENERATION.search(self._source(tools)))

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
        switch: dict[str, Any] = (
            {thinking.SWITCH: think} if think is not None and self.has_switch else {}
        )
        try:
            result: Any = render_jinja_template(
                [list(messages)],
                tools=list(tools) if tools else None,
                chat_template=self._source(tools),
                add_generation_prompt=prompt,
                return_assistant_tokens_mask=marks,
                **(self._variables | switch),
            )
        except _TEMPLATE_ERRORS as error:
            raise UserFault(
                "template_refused",
                f"The base model's chat template refuses this conversation: {error}.",
                fix="Write the conversation as the template wants it (some know no system role, "
                "or need user and assistant to take turns), or choose another base.",
            ) from error
        texts, spans = result
        return texts[0], spans[0] if marks else []

    # --- thinking

    @cached_property
    def has_switch(self) -> bool:
        return thinking.SWITCH in self._source(None)

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
        return opened is not None and not opened[2]

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
            prepared["tool_call_id"] = self._call_id(call_id)
        if calls := message.get("tool_calls"):
            prepared["tool_calls"] = [self._prepare_call(call) for call in calls]
        return prepared

    def _prepare_call(self, call: dict[str, Any]) -> dict[str, Any]:
        function = dict(call.get("function") or {})
        arguments = function.get("arguments")
        if self._arguments_are_text:
            if not isinstance(arguments, str):
                function["arguments"] = json.dumps(arguments, ensure_ascii=False)
        elif isinstance(arguments, str):
            # OpenAI sends text; templates do `arguments | tojson`, which would quote it twice
            try:
                function["arguments"] = loads(arguments)
            except ValueError as error:
                raise UserFault(
                    "bad_tool_arguments",
                    f"The arguments of the tool call '{function.get('name')}' are not JSON.",
                    fix="Write the arguments as a JSON object in a string.",
                ) from error
        prepared = {**call, "type": call.get("type", "function"), "function": function}
        if isinstance(call.get("id"), str):
            prepared["id"] = self._call_id(call["id"])
        return prepared

    def _call_id(self, call_id: str) -> str:
        """The id, or for templates that take only nine letters or digits (Mistral's) nine that
        follow from it, the same wherever it stands."""
        if not self._ids_are_short or _SHORT_ID.fullmatch(call_id):
            return call_id
        number = int.from_bytes(hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).digest())
        letters = []
        for _ in range(9):
            number, rest = divmod(number, len(_LETTERS))
            letters.append(_LETTERS[rest])
        return "".join(letters)

    @cached_property
    def _ids_are_short(self) -> bool:
        long = "call_0123456789abcdef0123"
        arguments = '{"a": 1}' if self._arguments_are_text else {"a": 1}
        return self._renders_call(arguments) and not self._renders_call(arguments, call_id=long)

    @cached_property
    def _knows_developer(self) -> bool:
        return "developer" in self._source(None)

    @cached_property
    def _arguments_are_text(self) -> bool:
        """DeepSeek's templates join the arguments to text; most others write them as JSON."""
        return not self._renders_call({"a": 1}) and self._renders_call('{"a": 1}')

    def _renders_call(self, arguments: Any, call_id: str = "call00000") -> bool:
        call = {"id": call_id, "type": "function"}
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": "u"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{**call, "function": {"name": "f", "arguments": arguments}}],
            },
        ]
        try:
            self.render(messages, None)
        except UserFault:
            return False
        return True

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


def frozen(source: str) -> str:
    """A template that says the same day for ever, whoever renders it."""
    if "date_string" in source:
        source = _FROZEN_DATE + source
    return _FROZEN_CLOCK + source if "strftime_now" in source else source


SENTINEL = "qZsentinelXk7"
SHAPES_KEPT = 1000


def fresh_sentinel(text: str) -> str:
    """A word that does not occur in the text, and that no template trims or escapes."""
    sentinel, number = SENTINEL, 0
    while sentinel in text:
        number += 1
        sentinel = f"{SENTINEL}{number}Y"
    return sentinel
