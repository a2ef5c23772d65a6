"""Preferences: a prompt with two answers, of which one is preferred, as two rows to be encoded."""

from typing import Literal, cast

from faults import UserFault
from finetune.records.rows import (
    ChatPairRow,
    ChatRow,
    CompletionRow,
    Message,
    PairRow,
    Row,
)

Side = Literal["chosen", "rejected"]
SIDES: tuple[Side, Side] = ("chosen", "rejected")  # in the order of their sequences


def side_of(record: PairRow, side: Side) -> Row:
    """The conversation that ends in this side's answer, of which only the answer is trained."""
    row: Row
    if "messages" in record:
        chat = cast(ChatPairRow, record)
        row = ChatRow(messages=[*map(untrained, chat["messages"]), *chat[side]])
        if tools := chat.get("tools"):
            row["tools"] = tools
    else:
        texts = record
        row = CompletionRow(prompt=texts["prompt"], completion=texts[side])
    if "cut_to" in record:
        row["cut_to"] = record["cut_to"]
    return row


def untrained(message: Message) -> Message:
    return {**message, "weight": 0} if message["role"] == "assistant" else message


def place(record: PairRow, side: Side, message: int, field: str) -> str:
    """Where a message of a side's conversation stands in the record."""
    before = len(cast(ChatPairRow, record)["messages"])  # no other has messages to be told of
    if message < before:
        return f"messages[{message}].{field}"
    return f"{side}[{message - before}].{field}"


def parted(side: Side) -> UserFault:
    """Of a side whose answers do not stand in one sequence: it has no one likelihood."""
    return UserFault(
        "answers_apart",
        f"The base's chat template shows the answers of {side} in several sequences.",
        fix="Give each side one answer of the assistant.",
    )
