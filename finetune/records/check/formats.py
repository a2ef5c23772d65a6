"""The row formats: how each is told by its fields and read into canonical rows."""

import json
from collections.abc import Callable
from typing import Any

from faults.nesting import loads
from finetune.records.check.alike import (
    RETRIEVAL_FIELDS,
    SCORED_FIELDS,
    is_retrieval,
    is_scored,
    read_retrieval,
    read_scored,
)
from finetune.records.check.chat import CHAT_FIELDS, check_turns, read_chat, read_role
from finetune.records.check.fields import Fields, json_type
from finetune.records.check.preferences import (
    CHOSEN_FIELDS,
    PREFERENCE_FIELDS,
    read_chosen,
    read_preference,
)
from finetune.records.check.problems import Finding, RowUnusable
from finetune.records.check.prompts import is_prompt, read_prompt
from finetune.records.check.ratings import RATED_FIELDS, is_verdict, read_rated
from finetune.records.check.sources import look_at
from finetune.records.check.spec import RowFormat
from finetune.records.kinds import PAIR, PROMPT, RATED, RETRIEVAL, ROW, SCORED, RecordKind
from finetune.records.printing import printable, some_of
from finetune.records.rows import ChatRow, CompletionRow, Message, Record, TextRow

Reader = Callable[[dict[str, Any], list[Finding]], Record]

_SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function_call": "assistant",
}


def detect(values: dict[str, Any]) -> RowFormat:
    """The format of the file, told by the fields of its first row; of a table, by the names of its
    columns, each None. Raises RowUnusable."""
    keys = values.keys()
    if {"preferred_output", "non_preferred_output"} & keys:
        return "preference"
    if {"chosen", "rejected"} <= keys:
        return "chosen"
    if {"prompt", "completion", "label"} <= keys and is_verdict(values["label"]):
        return "rated"
    if is_retrieval(keys):
        return "retrieval"
    if is_scored(keys):
        return "scored"
    if "messages" in keys:
        return "prompt" if is_prompt(values) else "chat"
    if "conversations" in keys:
        return "sharegpt"
    if "instruction" in keys:
        return "alpaca"
    if {"prompt", "output"} <= keys:
        return "fengshenbang"
    if {"prompt", "completion"} <= keys:
        return "completion"
    if "text" in keys:
        return "text"
    if {"chosen", "rejected"} & keys:
        return "chosen"
    found = some_of(keys) or "none"
    message = f"The format cannot be told from the row's fields: {found}."
    raise RowUnusable(Finding("unknown_format", message=message, values={"fields": found}))


# Fields without which no row of a format can be read.
REQUIRED: dict[RowFormat, tuple[str, ...]] = {
    "chat": ("messages",),
    "completion": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
    "sharegpt": ("conversations",),
    "fengshenbang": ("prompt", "output"),
    "text": ("text",),
    "preference": ("input", "preferred_output", "non_preferred_output"),
    "chosen": ("chosen", "rejected"),
    "prompt": ("messages",),
    "rated": ("prompt", "completion", "label"),
    "retrieval": (),  # each field has several names, of which a row's own are asked
    "scored": ("sentence1", "sentence2"),
}


# Fields that a format knows; others are ignored, with a warning, but for those of a prompt, which
# its graders are told.
KNOWN: dict[RowFormat, frozenset[str]] = {
    "chat": CHAT_FIELDS,
    "completion": frozenset({"prompt", "completion"}),
    "alpaca": frozenset({"instruction", "input", "output", "system", "history"}),
    "sharegpt": frozenset({"conversations", "system", "tools", "id"}),
    "fengshenbang": frozenset({"task", "prompt", "output"}),
    "text": frozenset({"text", "repo", "path"}),
    "preference": PREFERENCE_FIELDS,
    "chosen": CHOSEN_FIELDS,
    "prompt": CHAT_FIELDS,
    "rated": RATED_FIELDS,
    "retrieval": RETRIEVAL_FIELDS,
    "scored": SCORED_FIELDS,
}


# What one row of a format is for training.
KINDS: dict[RowFormat, RecordKind] = {
    "chat": ROW,
    "completion": ROW,
    "alpaca": ROW,
    "sharegpt": ROW,
    "fengshenbang": ROW,
    "text": ROW,
    "preference": PAIR,
    "chosen": PAIR,
    "prompt": PROMPT,
    "rated": RATED,
    "retrieval": RETRIEVAL,
    "scored": SCORED,
}


def _read_completion(values: dict[str, Any], findings: list[Finding]) -> CompletionRow:
    fields = Fields(values, findings)
    fields.only(KNOWN["completion"])
    # An empty prompt is how OpenAI's older models were trained on plain text
    prompt = fields.required("prompt", str) or ""
    return CompletionRow(prompt=prompt, completion=fields.text("completion"))


def _read_text(values: dict[str, Any], findings: list[Finding]) -> TextRow:
    fields = Fields(values, findings)
    fields.only(KNOWN["text"])
    row = TextRow(text=fields.text("text"))
    for name in ("repo", "path"):
        if named := " ".join((fields.optional(name, str) or "").split()):
            row[name] = named
    if "path" in row:
        look_at(row["text"], fields)
    if "repo" in row:
        row.setdefault("group", row["repo"])
    return row


def _read_alpaca(values: dict[str, Any], findings: list[Finding]) -> ChatRow:
    fields = Fields(values, findings)
    fields.only(KNOWN["alpaca"])
    messages: list[Message] = []
    if system := fields.optional("system", str):
        messages.append({"role": "system", "content": system})
    for index, turn in enumerate(fields.optional("history", list) or []):
        if not (isinstance(turn, list) and len(turn) == 2 and all(_is_text(t) for t in turn)):
            fields.find("wrong_type", f"history[{index}]", "A turn must be two strings.")
            continue
        messages.append({"role": "user", "content": turn[0]})
        messages.append({"role": "assistant", "content": turn[1]})
    instruction, extra = fields.text("instruction"), fields.optional("input", str)
    user = f"{instruction}\n\n{extra}" if extra else instruction
    messages.append({"role": "user", "content": user})
    messages.append({"role": "assistant", "content": fields.text("output")})
    return ChatRow(messages=messages)


def _read_sharegpt(values: dict[str, Any], findings: list[Finding]) -> ChatRow:
    fields = Fields(values, findings)
    fields.only(KNOWN["sharegpt"])
    items = fields.required("conversations", list) or []
    messages: list[Message] = []
    if system := fields.optional("system", str):
        messages.append({"role": "system", "content": system})
    for index, turn in enumerate(fields.objects("conversations", items)):
        messages.append(_read_turn(turn, f"call_{index}", messages))
    if isinstance(values.get("conversations"), list):
        check_turns(messages, findings, "conversations")
    row = ChatRow(messages=messages)
    if tools := values.get("tools"):
        row["tools"] = _read_sharegpt_tools(fields, tools)
    return row


def _read_turn(turn: Fields, call_id: str, before: list[Message]) -> Message:
    speaker = read_role(turn, "from", _SPEAKERS)
    role = _SPEAKERS.get(speaker, "")
    if speaker and not role:
        known, shown = ", ".join(_SPEAKERS), printable(speaker)
        text = f"'{shown}' is not known. Known are: {known}."
        turn.find("unknown_role", "from", text, role=shown)
    value = turn.text("value")
    message = Message(role=role, content=value)
    if speaker == "function_call":
        message["content"] = None
        message["tool_calls"] = [_read_function_call(turn, value, call_id)]
    elif role == "tool":
        calls = before[-1].get("tool_calls") if before else None
        message["tool_call_id"] = calls[0]["id"] if calls else ""
    return message


def _read_function_call(turn: Fields, value: str, call_id: str) -> dict[str, Any]:
    try:
        call = loads(value)
    except ValueError:
        call = None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        turn.find("bad_tool_call", "value", 'A function call is {"name": ..., "arguments": {...}}.')
        call = {"name": ""}
    arguments = call.get("arguments", {})
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    function = {"name": call["name"], "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def _read_sharegpt_tools(fields: Fields, tools: Any) -> list[dict[str, Any]]:
    """ShareGPT files hold the tools as JSON in a string."""
    try:
        tools = loads(tools) if isinstance(tools, str) else tools
    except ValueError:
        tools = None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        fields.find("bad_tool", "tools", "The tools must be a list of objects.")
        return []
    return [
        tool if "function" in tool else {"type": "function", "function": tool} for tool in tools
    ]


def _read_fengshenbang(values: dict[str, Any], findings: list[Finding]) -> ChatRow:
    fields = Fields(values, findings)
    fields.only(KNOWN["fengshenbang"])
    prompts, outputs = (_texts(fields, name) for name in ("prompt", "output"))
    if len(prompts) != len(outputs):
        turns = {"prompts": len(prompts), "outputs": len(outputs)}
        text = "Turns in prompt: {prompts}; in output: {outputs}.".format(**turns)
        fields.find("uneven_turns", "output", text, **turns)
    messages: list[Message] = []
    for prompt, output in zip(prompts, outputs, strict=False):
        messages.append({"role": "user", "content": prompt})
        messages.append({"role": "assistant", "content": output})
    return ChatRow(messages=messages)


def _texts(fields: Fields, name: str) -> list[Any]:
    """A list of strings that are not blank; one string stands for a list of one."""
    value = fields.values.get(name)
    if name not in fields.values:
        fields.find("missing_field", name, f"The field '{name}' is missing.")
        return []
    items = value if isinstance(value, list) else [value]
    if not items:
        fields.find("empty_messages", name)
    for index, item in enumerate(items):
        place = f"{name}[{index}]"
        if not isinstance(item, str):
            found = json_type(item)
            text = f"Must be a string, not {found}."
            fields.find("wrong_type", place, text, wanted="a string", found=found)
        elif not item.strip():
            fields.find("empty_content", place)
    return items


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


READERS: dict[RowFormat, Reader] = {
    "chat": read_chat,
    "completion": _read_completion,
    "alpaca": _read_alpaca,
    "sharegpt": _read_sharegpt,
    "fengshenbang": _read_fengshenbang,
    "text": _read_text,
    "preference": read_preference,
    "chosen": read_chosen,
    "prompt": read_prompt,
    "rated": read_rated,
    "retrieval": read_retrieval,
    "scored": read_scored,
}
