"""Rows of prompts: a conversation that the model is to answer, and what graders are told of it."""

from typing import Any

from finetune.records.check.chat import (
    CHAT_FIELDS,
    check_tool_answers,
    read_message,
    read_tools,
)
from finetune.records.check.fields import Fields
from finetune.records.check.problems import Finding
from finetune.records.rows import PromptRow


def is_prompt(values: dict[str, Any]) -> bool:
    """Whether a row with messages waits to be answered: it ends with its user's, and has fields
    that a chat has not. A chat that lacks its answer is a mistake in a file of chats."""
    messages = values["messages"]
    last = messages[-1] if isinstance(messages, list) and messages else None
    return (
        isinstance(last, dict) and last.get("role") == "user" and not values.keys() <= CHAT_FIELDS
    )


def read_prompt(values: dict[str, Any], findings: list[Finding]) -> PromptRow:
    """OpenAI's form: whatever stands beside the messages and tools is the graders' `item`."""
    fields = Fields(values, findings)
    if values.get("functions") is not None:
        fields.find("unsupported_field", "functions")
    items = fields.required("messages", list) or []
    messages = [read_message(message) for message in fields.objects("messages", items)]
    if isinstance(values.get("messages"), list) and not messages:
        fields.find("empty_messages", "messages")
    elif messages and messages[-1]["role"] not in ("user", ""):
        fields.find("last_not_user", f"messages[{len(messages) - 1}].role")
    check_tool_answers(messages, findings, "messages")
    beside = {name: value for name, value in values.items() if name not in CHAT_FIELDS}
    row = PromptRow(messages=messages, item=beside)
    if tools := read_tools(fields):
        row["tools"] = tools
    return row
