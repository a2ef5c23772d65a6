"""OpenAI chat rows: messages with roles, weights, tools and tool calls."""

import json
from collections.abc import Collection
from itertools import pairwise
from typing import Any

from faults.nesting import loads
from finetune.records.check.fields import Fields, json_type
from finetune.records.check.problems import Finding
from finetune.records.printing import printable
from finetune.records.rows import ChatRow, Message
from finetune.records.thinking import CLOSE, OPEN, split

ROLES = ("system", "developer", "user", "assistant", "tool")
CHAT_FIELDS = frozenset({"messages", "tools", "parallel_tool_calls", "functions"})
_MESSAGE_FIELDS = frozenset(
    {
        *("role", "content", "name", "weight", "tool_calls", "tool_call_id"),
        *("function_call", "refusal", "reasoning_content", "reasoning"),
    }
)


def read_chat(values: dict[str, Any], findings: list[Finding]) -> ChatRow:
    """The canonical row; whatever is wrong goes to findings."""
    fields = Fields(values, findings)
    fields.only(CHAT_FIELDS)
    if values.get("functions") is not None:
        fields.find("unsupported_field", "functions")
    items = fields.required("messages", list) or []
    messages = [read_message(message) for message in fields.objects("messages", items)]
    if isinstance(values.get("messages"), list):
        check_turns(messages, findings, "messages")
    row = ChatRow(messages=messages)
    if tools := read_tools(fields):
        row["tools"] = tools
    return row


def read_tools(fields: Fields) -> list[dict[str, Any]]:
    tools = fields.optional("tools", list) or []
    return [_read_tool(tool) for tool in fields.objects("tools", tools)]


def check_turns(messages: list[Message], findings: list[Finding], field: str) -> None:
    """What must hold for a whole conversation, whichever format it came in."""
    roles = [message["role"] for message in messages]
    if not messages:
        findings.append(Finding("empty_messages", field))
    elif not all(role in ROLES for role in roles):
        pass  # which is a finding of its own: whose turn it is cannot be told
    elif "assistant" not in roles:
        findings.append(Finding("no_assistant", field))
    elif roles[-1] != "assistant":
        findings.append(Finding("last_not_assistant", f"{field}[{len(roles) - 1}]"))
    elif not any(m.get("weight", 1) for m in messages if m["role"] == "assistant"):
        message = "Every assistant message has weight 0, so nothing would be trained."
        findings.append(Finding("nothing_trained", field, message))
    check_tool_answers(messages, findings, field)
    for index, (before, role) in enumerate(pairwise(roles), 1):
        if role == "assistant" and before not in ("user", "tool", ""):
            findings.append(Finding("unusual_turn", f"{field}[{index}].role"))


def check_tool_answers(messages: list[Message], findings: list[Finding], field: str) -> None:
    called: set[Any] = set()
    for index, message in enumerate(messages):
        called.update(call.get("id") for call in message.get("tool_calls", ()))
        if message["role"] == "tool" and message.get("tool_call_id") not in called:
            findings.append(Finding("orphan_tool_message", f"{field}[{index}].tool_call_id"))


def read_role(fields: Fields, name: str, known: Collection[str]) -> str:
    """Capitals and spaces around a known role are forgiven, with a finding."""
    role: str = fields.required(name, str) or ""
    meant = role.strip().lower()
    if role in known or meant not in known:
        return role
    shown = printable(role)
    text = f"The role '{shown}' was read as '{meant}'."
    fields.find("role_spelling", name, text, role=shown, meant=meant)
    return meant


def read_message(fields: Fields) -> Message:
    fields.only(_MESSAGE_FIELDS)
    role = read_role(fields, "role", ROLES)
    if role and role not in ROLES:
        shown = printable(role)
        fields.find("unknown_role", "role", f"The role '{shown}' is not known.", role=shown)
    message = Message(role=role, content=None)
    if fields.values.get("function_call") is not None:
        fields.find("unsupported_field", "function_call")
    if calls := fields.optional("tool_calls", list):
        if role != "assistant":
            fields.find("bad_tool_call", "tool_calls", "Only the assistant can call tools.")
        message["tool_calls"] = [_read_call(call) for call in fields.objects("tool_calls", calls)]
    message["content"] = _read_content(fields, role, needed=not calls)
    _read_reasoning(fields, role, message)
    if (name := fields.optional("name", str)) is not None:
        message["name"] = name
    if role == "tool":
        message["tool_call_id"] = fields.required("tool_call_id", str) or ""
    if "weight" in fields.values:
        _read_weight(fields, role, message)
    return message


def _read_reasoning(fields: Fields, role: str, message: Message) -> None:
    """Under either name that runtimes have for it; twice only if it is the same."""
    for name in ("reasoning_content", "reasoning"):
        reasoning: str = fields.optional(name, str) or ""
        if not reasoning.strip():
            continue
        if role != "assistant":
            fields.find("misplaced_reasoning", name)
        elif (
            OPEN in reasoning
            or CLOSE in reasoning
            or message.setdefault("reasoning_content", reasoning) != reasoning
        ):
            fields.find("unclear_reasoning", name)
    if role == "assistant":
        _check_thought(fields, message)


def _check_thought(fields: Fields, message: Message) -> None:
    """Of a content: one thought that is closed, and none beside reasoning of its own."""
    thought, rest = split(message["content"] or "")
    if rest.lstrip().startswith(OPEN) or (thought and "reasoning_content" in message):
        fields.find("unclear_reasoning", "content")


def _read_content(fields: Fields, role: str, *, needed: bool) -> str | None:
    content = fields.values.get("content")
    if isinstance(content, list):
        content = _join_parts(fields, content)
    if content is None or content == "":
        if role == "tool" and content == "":
            return ""  # a tool may well answer nothing
        if needed and "content" not in fields.values:
            fields.find("missing_field", "content", "The field 'content' is missing.")
        elif needed:
            fields.find("empty_content", "content")
        return None
    if not isinstance(content, str):
        fields.find(
            "wrong_type",
            "content",
            f"The field 'content' must be a string or a list of text parts, "
            f"not {json_type(content)}.",
            wanted="a string or a list of text parts",
            found=json_type(content),
        )
        return None
    if needed and role != "tool" and not content.strip():
        fields.find("empty_content", "content", "The content is only white space.")
    return content


def _join_parts(fields: Fields, parts: list[Any]) -> str:
    texts = []
    for part in fields.objects("content", parts):
        if part.values.get("type") == "text":
            texts.append(part.required("text", str) or "")
        else:
            kind = printable(str(part.values.get("type")))
            part.find("unsupported_content", "type", f"A content part of type '{kind}'.", kind=kind)
    return "".join(texts)


def _read_weight(fields: Fields, role: str, message: Message) -> None:
    weight = fields.values["weight"]
    if role != "assistant":
        fields.find("misplaced_weight", "weight")
    elif isinstance(weight, bool) or weight not in (0, 1):
        shown = printable(str(weight))
        fields.find("bad_weight", "weight", f"The weight is {shown}, not 0 or 1.", weight=shown)
    else:
        message["weight"] = int(weight)  # 1.0, as Parquet files from pandas have it


def _read_call(fields: Fields) -> dict[str, Any]:
    call_id, function = fields.values.get("id"), fields.values.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(call_id, str) or not isinstance(name, str) or not name:
        fields.find("bad_tool_call", "function" if call_id else "id")
        return {"id": call_id, "type": "function", "function": {"name": "", "arguments": "{}"}}
    arguments = function.get("arguments", "{}") if isinstance(function, dict) else "{}"
    if not _is_json_object(arguments):
        fields.find("bad_tool_arguments", "function.arguments")
    elif isinstance(arguments, dict):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _is_json_object(arguments: Any) -> bool:
    if isinstance(arguments, dict):
        return True
    try:
        return isinstance(arguments, str) and isinstance(loads(arguments), dict)
    except ValueError:
        return False


def _read_tool(fields: Fields) -> dict[str, Any]:
    function = fields.values.get("function")
    named = isinstance(function, dict) and isinstance(function.get("name"), str)
    if fields.values.get("type") != "function" or not named:
        fields.find("bad_tool", "function")
    return fields.values
