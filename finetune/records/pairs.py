"""Preferences: a prompt with two answers, of which one is preferred, as two rows to be encoded; or
with one answer that is good or not, as one."""

from typing import Any, Literal, cast

from faults import UserFault
from finetune.records.rows import (
    ChatPairRow,
    ChatRow,
    CompletionRow,
    Message,
    PairRow,
    RatedRow,
    Row,
)

Side = Literal["chosen", "rejected"]
SIDES: tuple[Side, Side] = ("chosen", "rejected")  # in the order of their sequences
Answer = Literal["chosen", "rejected", "completion"]
RATED: Answer = "completion"  # the one answer of a record that says how good it is


def answered(record: PairRow | RatedRow, answer: Answer) -> Row:
    """The conversation that ends in this answer of the record, of which only that is trained."""
    row: Row
    values = cast(dict[str, Any], record)
    if "messages" in record:
        row = ChatRow(messages=[*map(untrained, values["messages"]), *values[answer]])
        if tools := values.get("tools"):
            row["tools"] = tools
    else:
        row = CompletionRow(prompt=values["prompt"], completion=values[answer])
    if "cut_to" in record:
        row["cut_to"] = record["cut_to"]
    return row


def untrained(message: Message) -> Message:
    return {**message, "weight": 0} if message["role"] == "assistant" else message


def place(record: PairRow | RatedRow, answer: Answer, message: int, field: str) -> str:
    """Where a message of an answer's conversation stands in the record."""
    before = len(cast(ChatPairRow, record)["messages"])  # no other has messages to be told of
    if message < before:
        return f"messages[{message}].{field}"
    return f"{answer}[{message - before}].{field}"


def parted(answer: Answer) -> UserFault:
    """Of one that does not stand in one sequence: it has no one likelihood."""
    return UserFault(
        "answers_apart",
        f"The base's chat template shows the answers of {answer} in several sequences.",
        fix="Give it one message of the assistant.",
    )
