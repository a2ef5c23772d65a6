"""Where the answer stands in an encoded sequence: from its first label to its last."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

Row = TypeVar("Row", bound=Any)
"""A dataclass of `input_ids` and, of the same length, `labels`."""


def bounds(labels: Sequence[bool] | bytes) -> tuple[int, int]:
    """(first label, behind the last one)."""
    return labels.index(True), len(labels) - labels[::-1].index(True)


def with_prompt(row: Row) -> Row:
    """The same sequence, of which all before the answer's end is to be predicted, too."""
    _, end = bounds(row.labels)
    labels: Row = replace(row, labels=b"\0" + b"\1" * (end - 1) + b"\0" * (len(row) - end))
    return labels


def followed(prompt: Row, answer: Sequence[int]) -> Row:
    """The prompt and an answer to it, of which only the answer has labels."""
    ids = [*prompt.input_ids, *answer]
    labels = bytes(len(prompt)) + b"\1" * len(answer)
    row: Row = replace(prompt, input_ids=ids, labels=labels)
    return row


def behind(prompt_of: Row, answer_of: Row, longest: int) -> Row:
    """The prompt of one sequence with the answer of another, of `longest` tokens at most."""
    first, _ = bounds(prompt_of.labels)
    begin, end = bounds(answer_of.labels)
    ids = [*prompt_of.input_ids[:first], *answer_of.input_ids[begin:end]]
    labels = bytes(first) + bytes(map(bool, answer_of.labels[begin:end]))
    joined: Row = replace(prompt_of, input_ids=ids[:longest], labels=labels[:longest])
    return joined
