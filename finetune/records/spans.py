"""Which characters of a rendered conversation the assistant wrote, end marks included.

The template's own generation marks say it; without them it is derived by rendering beginnings of
the conversation and swapping one message for a sentinel. Whatever cannot be shown to agree with
the full rendering character by character is refused: a wrong mask trains the wrong text silently.
"""

import json
from collections.abc import Sequence
from itertools import pairwise, takewhile
from typing import Any

from faults import UserFault
from finetune.records.template import CharSpan, ChatTemplate, Tools, fresh_sentinel

Messages = list[dict[str, Any]]


def trained_spans(
    template: ChatTemplate, messages: Messages, tools: Tools, trained: Sequence[int]
) -> tuple[str, list[CharSpan], tuple[int, ...]]:
    """The full rendering, in it the spans of the assistant messages with these indices, and those
    of them at whose edges the template takes white space away.

    A span reaches from behind the generation prompt to the end mark, which is part of it.
    Raises UserFault `template_refused`, `template_not_derivable`, `template_drops_content`,
    `end_not_trained`.
    """
    if template.is_marked(tools):
        text, owned = _marked(template, messages, tools, trained)
    else:
        text = template.render(messages, tools)
        owned = [(i, _derived(template, messages, tools, text, i)) for i in trained]
    spans = [span for _, span in owned]
    _check_order(spans)
    _check_nothing_dropped(template, text, messages, tools)
    trimmed = []
    for index in trained:
        answer = "".join(text[start:end] for owner, (start, end) in owned if owner == index)
        _check_answer(answer, messages[index], index)
        if _is_trimmed(answer, messages[index]):
            trimmed.append(index)
    return text, spans, tuple(trimmed)


# --- templates with generation marks


def _marked(
    template: ChatTemplate, messages: Messages, tools: Tools, trained: Sequence[int]
) -> tuple[str, list[tuple[int, CharSpan]]]:
    text, marks = template.render_marked(messages, tools)
    owners = _owners(template, messages, tools, marks)
    last_mark = {owner: number for number, owner in enumerate(owners)}
    spans = []
    for number, (mark, owner) in enumerate(zip(marks, owners, strict=True)):
        if owner in trained:
            is_last = last_mark[owner] == number
            span = _with_end(template, text, mark) if is_last else mark
            spans.append((owner, span))
    return text, spans


def _owners(
    template: ChatTemplate, messages: Messages, tools: Tools, marks: list[CharSpan]
) -> list[int]:
    """For each generation mark, the index of the message that it belongs to."""
    assistants = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    if len(assistants) == len(marks):
        return assistants
    owners: list[int] = []
    for index in assistants:
        _, spans = template.render_marked(messages[: index + 1], tools)
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


# --- templates without


def _derived(
    template: ChatTemplate, messages: Messages, tools: Tools, text: str, index: int
) -> CharSpan:
    start = _start(template, messages, tools, text, index)
    limit = _limit(template, messages, tools, text, index)
    end = text.rfind(template.end_mark, start, limit)
    if end < 0:
        raise _not_derivable(f"no '{template.end_mark}' ends the answer in message {index + 1}")
    return start, end + len(template.end_mark)


def _start(template: ChatTemplate, messages: Messages, tools: Tools, text: str, index: int) -> int:
    """Where the model's own words begin: behind the prompt that inference would give it."""
    if index == 0:
        return _start_of_opening(template, messages, tools, text)
    prompt = template.render(messages[:index], tools, prompt=True)
    if text.startswith(prompt):
        return len(prompt)
    # Qwen3 and others print earlier turns differently once the talk goes on (they drop <think>),
    # so only what follows the message before is compared.
    swapped, sentinel = _swap(messages, index - 1, text)
    after = template.render(swapped, tools).partition(sentinel)[2]
    after_prompt = template.render(swapped[:index], tools, prompt=True).partition(sentinel)[2]
    if not (after and text.endswith(after) and after_prompt and after.startswith(after_prompt)):
        raise _not_derivable(f"the prompt before message {index + 1} is not part of the whole")
    return len(text) - len(after) + len(after_prompt)


def _start_of_opening(template: ChatTemplate, messages: Messages, tools: Tools, text: str) -> int:
    """An assistant that speaks first has no prompt to render: its header must be known instead."""
    swapped, sentinel = _swap(messages, 0, text)
    head, found, _ = template.render(swapped, tools).partition(sentinel)
    user = [{"role": "user", "content": sentinel}]
    header = template.render(user, tools, prompt=True).partition(sentinel)[2]
    shared = 0
    while shared < min(len(head), len(header)) and head[-1 - shared] == header[-1 - shared]:
        shared += 1
    if not (found and text.startswith(head) and head[len(head) - shared :].strip()):
        raise _not_derivable("the first message is the assistant's")
    return len(head)


def _limit(template: ChatTemplate, messages: Messages, tools: Tools, text: str, index: int) -> int:
    """A place behind this message's end mark and before the next message's content."""
    if index == len(messages) - 1:
        return len(text)
    swapped, sentinel = _swap(messages, index + 1, text)
    head, found, _ = template.render(swapped, tools).partition(sentinel)
    if not (found and text.startswith(head)):
        raise _not_derivable(f"message {index + 2} changes what is printed before it")
    return len(head)


def _swap(messages: Messages, index: int, text: str) -> tuple[Messages, str]:
    sentinel = fresh_sentinel(text)
    swapped = list(messages)
    swapped[index] = {**messages[index], "content": sentinel}
    return swapped, sentinel


# --- what must hold for both


def _check_order(spans: list[CharSpan]) -> None:
    for (_, end), (start, _) in pairwise(spans):
        if start < end:
            raise _not_derivable("two answers overlap")


def _check_nothing_dropped(
    template: ChatTemplate, text: str, messages: Messages, tools: Tools
) -> None:
    """Many templates leave out tools, tool calls or a role; training would not notice."""
    # By place first: a message's words may stand elsewhere, too, and hide that it is left out.
    kept = [{**message, "content": _core(message["content"])} for message in messages]
    unprinted = template.unprinted(kept, tools)
    for index, message in enumerate(kept):
        if index in unprinted or not any(form in text for form in _as_printed(message["content"])):
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
