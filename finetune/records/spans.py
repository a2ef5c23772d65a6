"""What the assistant wrote in a rendered conversation, and behind which prompt.

Each trained answer is rendered as serving will see it: the messages before it with the generation
prompt, then the messages up to it. What the second has behind the first is the answer; a template's
own generation marks narrow it. Several answers share one text only where each stands in it exactly
so. A template that prints earlier turns differently once the talk goes on (Qwen3 drops thoughts)
gives each answer a text of its own. Whatever cannot be shown to agree character by character is
refused: a wrong mask trains the wrong text silently.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Any

from faults import UserFault
from finetune.records.conversation import Conversation
from finetune.records.rendering import CharSpan, Tools, fresh_sentinel
from finetune.records.template import ChatTemplate
from finetune.records.thinking import CLOSE, PRINTED, PROMPTED, Thinking

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Rendered:
    """A text to train. `spans`: what is trained in it, end marks included. `seams`: where prompts
    end, `text[:seam]` being what serving sends to be continued. `trimmed`: the messages at whose
    edges the template takes white space away."""

    text: str
    spans: list[CharSpan]
    seams: list[int]
    trimmed: tuple[int, ...]


@dataclass(frozen=True)
class _Turn:
    """The conversation up to the answer in message `index`: the prompt reaches to `start`."""

    index: int
    text: str
    start: int
    spans: list[CharSpan]


class Answers:
    """The answers in the messages `trained` of one conversation, at least one. `asked`: whether
    the prompt of each asks for thinking; None where the template has no switch.

    Raises UserFault `template_refused`, `template_not_derivable`, `template_drops_content`,
    `end_not_trained`, `thinking_unsupported`.
    """

    def __init__(
        self,
        template: ChatTemplate,
        messages: Messages,
        tools: Tools,
        trained: Sequence[int],
        thinking: Thinking = "each",
    ) -> None:
        if thinking == "off":
            messages = [_without_thought(message) for message in messages]
        self._template, self._messages, self._tools = template, messages, tools
        self.asked = [template.asks_to_think(thinking, messages[index]) for index in trained]
        self._talk = Conversation(template, messages, tools)
        self._turns = [
            _turn(template, self._talk, index, tools, think)
            for index, think in zip(trained, self.asked, strict=True)
        ]

    def together(self) -> Rendered | None:
        """All in the one text of the whole conversation; None if that shows one otherwise."""
        turns = self._turns
        if len(turns) == 1 and len(self._messages) == turns[0].index + 1:
            return self._rendered(turns[0].text, turns, [turns[0].spans])
        marks: dict[int, list[CharSpan]] = {}
        if self._template.is_marked(self._tools):
            text, marks = _marked(self._template, self._messages, self._tools, self.asked[-1])
        else:
            text = self._talk.render(len(self._messages), think=self.asked[-1])
        if not all(text.startswith(self._until_end(turn)) for turn in turns):
            return None
        spans = [
            _narrowed(self._template, text, marks[turn.index], turn.start) if marks else turn.spans
            for turn in turns
        ]
        return self._rendered(text, turns, spans)

    def apart(self) -> list[Rendered]:
        """Each in a text that ends with it."""
        return [self._rendered(turn.text, [turn], [turn.spans]) for turn in self._turns]

    def _until_end(self, turn: _Turn) -> str:
        """What stands behind the end mark (a line break, the end of the whole text) may differ."""
        if turn.index == len(self._messages) - 1:
            return turn.text
        end = turn.text.rfind(self._template.end_mark, turn.start)
        # gpt-oss ends a call in a mark of its own
        return turn.text[: turn.spans[-1][1] if end < 0 else end + len(self._template.end_mark)]

    def _rendered(
        self, text: str, turns: Sequence[_Turn], spans: Sequence[list[CharSpan]]
    ) -> Rendered:
        flat = [span for own in spans for span in own]
        if any(end > start for (_, end), (start, _) in pairwise(flat)):
            raise _not_derivable("two answers overlap")
        shown = self._messages[: turns[-1].index + 1] if len(turns) == 1 else self._messages
        _check_nothing_dropped(self._template, text, shown, self._tools)
        trimmed = []
        for turn, own in zip(turns, spans, strict=True):
            message = self._messages[turn.index]
            answer = "".join(text[start:end] for start, end in own)
            _check_answer(answer, message, turn.index)
            if _is_trimmed(answer, message):
                trimmed.append(turn.index)
        return Rendered(text, flat, [turn.start for turn in turns if turn.index], tuple(trimmed))


def _turn(
    template: ChatTemplate, talk: Conversation, index: int, tools: Tools, think: bool | None
) -> _Turn:
    """The answer in message `index`, behind the prompt that inference would give it."""
    messages = talk.messages[: index + 1]
    marks: list[CharSpan] | None = None
    if template.is_marked(tools):
        text, owned = _marked(template, messages, tools, think)
        marks = owned[index]
    else:
        text = talk.render(index + 1, think=think)
    if index == 0:
        start = _start_of_opening(template, messages, tools, text, think)
    else:
        prompt = talk.render(index, prompt=True, think=think)
        if not text.startswith(prompt):
            return _continued(template, prompt, text, marks, messages)
        start = len(prompt)
    if marks is None:
        return _Turn(index, text, start, [(start, _end(template, text, start, index))])
    return _Turn(index, text, start, _narrowed(template, text, marks, start))


def _continued(
    template: ChatTemplate, prompt: str, text: str, marks: list[CharSpan] | None, messages: Messages
) -> _Turn:
    """The answer of a template whose prompt has a thought that it does not print afterwards, as
    DeepSeek's: inference goes on from the prompt, so the answer thinks and ends the thought."""
    index = len(messages) - 1
    opened = PROMPTED.search(prompt)
    header = prompt[: opened.start()] if opened else prompt
    if not (opened and text.startswith(header)):
        raise _not_derivable(f"the prompt before message {index + 1} is not part of the whole")
    said = len(header)
    if printed := PRINTED.match(text, said):
        said = printed.end()
    # DeepSeek-V3.1 prints the end of a thought whose beginning it leaves out
    if closed := text.startswith(CLOSE, said):
        said += len(CLOSE) if opened["ended"] else 0
    if marks is None:
        end = _end(template, text, said, index)
    else:
        end = _narrowed(template, text, marks, said)[-1][1]
    thought = "" if opened["ended"] else messages[index].get("reasoning_content", "").strip("\n")
    thought_end = "" if opened["ended"] or closed else template.thought_end
    whole = prompt + thought + thought_end + text[said:end]
    return _Turn(index, whole + text[end:], len(prompt), [(len(prompt), len(whole))])


def _end(template: ChatTemplate, text: str, start: int, index: int) -> int:
    """Behind the end mark of the answer that the text ends with."""
    end = text.rfind(template.end_mark, start)
    if end < 0:
        raise _not_derivable(f"no '{template.end_mark}' ends the answer in message {index + 1}")
    return end + len(template.end_mark)


def _start_of_opening(
    template: ChatTemplate, messages: Messages, tools: Tools, text: str, think: bool | None
) -> int:
    """An assistant that speaks first has no prompt to render: its header must be known instead."""
    sentinel = fresh_sentinel(text)
    swapped = [{**messages[0], "content": sentinel}]
    head, found, _ = template.render(swapped, tools, think=think).partition(sentinel)
    user = [{"role": "user", "content": sentinel}]
    header = template.render(user, tools, prompt=True, think=think).partition(sentinel)[2]
    shared = 0
    while shared < min(len(head), len(header)) and head[-1 - shared] == header[-1 - shared]:
        shared += 1
    if not (found and text.startswith(head) and head[len(head) - shared :].strip()):
        raise _not_derivable("the first message is the assistant's")
    return len(head)


# --- templates with generation marks


def _marked(
    template: ChatTemplate, messages: Messages, tools: Tools, think: bool | None
) -> tuple[str, dict[int, list[CharSpan]]]:
    """The text, and the marks in it by the index of their message."""
    text, marks = template.render_marked(messages, tools, think=think)
    owned: dict[int, list[CharSpan]] = {index: [] for index in range(len(messages))}
    for mark, owner in zip(marks, _owners(template, messages, tools, marks, think), strict=True):
        owned[owner].append(mark)
    return text, owned


def _narrowed(
    template: ChatTemplate, text: str, marks: list[CharSpan], start: int
) -> list[CharSpan]:
    """An answer's marks with its end, and without what the prompt says already (a header)."""
    ends = [end for _, end in marks]
    if marks:
        ends[-1] = _with_end(template, text, marks[-1])[1]
    spans = [(max(begin, start), end) for (begin, _), end in zip(marks, ends, strict=True)]
    return [(begin, end) for begin, end in spans if begin < end]


def _owners(
    template: ChatTemplate,
    messages: Messages,
    tools: Tools,
    marks: list[CharSpan],
    think: bool | None,
) -> list[int]:
    """For each generation mark, the index of the message that it belongs to."""
    assistants = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    if len(assistants) == len(marks):
        return assistants
    owners: list[int] = []
    for index in assistants:
        _, spans = template.render_marked(messages[: index + 1], tools, think=think)
        # a mark may stand at the very end only (Phi 3's end of text), so places must agree too
        same = takewhile(lambda pair: pair[0] == pair[1], zip(marks, spans, strict=False))
        owners += [index] * (sum(1 for _ in same) - len(owners))
    if len(owners) != len(marks):
        raise _not_derivable("its generation marks cannot be told apart by message")
    return owners


def _with_end(template: ChatTemplate, text: str, span: CharSpan) -> CharSpan:
    """Templates often close the generation mark before the end token; it must be trained too."""
    start, end = span
    if template.ends_in_token(text[start:end]):
        return span
    end_mark, behind = template.end_mark, text[end:]
    if not behind.lstrip().startswith(end_mark):
        raise UserFault(
            "end_not_trained",
            f"After the template's generation mark there is no '{end_mark}', so the model would "
            "never learn to stop.",
            fix="Put the end-of-turn token inside {% generation %} in the chat template.",
        )
    return start, end + behind.index(end_mark) + len(end_mark)


# --- what must hold for both


def _check_nothing_dropped(
    template: ChatTemplate, text: str, messages: Messages, tools: Tools
) -> None:
    """Many templates leave out tools, tool calls or a role; training would not notice."""
    # By place first: a message's words may stand elsewhere, too, and hide that it is left out.
    kept = [{**message, "content": _core(message["content"])} for message in messages]
    unprinted = template.unprinted(kept, tools)
    place = 0
    for index, message in enumerate(kept):
        # Most stand behind the one before; whoever looks from the start each time looks long
        found = text.find(message["content"], place)
        place = max(place, found)
        if index in unprinted or (
            found < 0 and not any(form in text for form in _as_printed(message["content"]))
        ):
            raise _dropped(f"the content of message {index + 1} ({message['role']})")
    for tool in tools or ():
        if str(tool.get("function", tool).get("name")) not in text:
            raise _dropped("the list of tools")


def _check_answer(answer: str, message: dict[str, Any], index: int) -> None:
    for call in message.get("tool_calls", ()):
        if str(call["function"].get("name")) not in answer:
            raise _dropped(f"the tool call in message {index + 1}")
    if _core(message["content"]) not in answer and not message.get("tool_calls"):
        raise _not_derivable(f"the answer in message {index + 1} is not where it should be")


def _without_thought(message: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key != "reasoning_content"}


def _is_trimmed(answer: str, message: dict[str, Any]) -> bool:
    content = message["content"]
    return bool(content.strip()) and "</think>" not in content and content not in answer


def _as_printed(core: str) -> tuple[str, str, str]:
    """As it stands, and as templates print the answers of tools: as a JSON string."""
    return core, json.dumps(core, ensure_ascii=False)[1:-1], json.dumps(core)[1:-1]


def _core(content: str) -> str:
    """The content that every template keeps: reasoning before </think> may be dropped."""
    return content.rpartition("</think>")[2].strip()


def _dropped(what: str) -> UserFault:
    return UserFault(
        "template_drops_content",
        f"The base model's chat template leaves out {what}.",
        fix="Leave it out of the row, write it as text in the system or user message, or choose "
        "a base whose template prints it.",
    )


def _not_derivable(why: str) -> UserFault:
    return UserFault(
        "template_not_derivable",
        "What the assistant wrote cannot be told from the rest in this chat template's output: "
        f"{why}.",
        fix="Import the base with a template that has {% generation %} marks around the "
        "assistant's text (--chat-template FILE), or train the last answer only: weight 0 on the "
        "earlier assistant messages.",
    )
