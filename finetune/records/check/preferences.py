"""Rows of preferences: a prompt, the answer that is preferred, and one that is not."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from finetune.records.check.chat import check_turns, read_message, read_tools
from finetune.records.check.fields import Fields
from finetune.records.check.problems import Finding
from finetune.records.pairs import SIDES, untrained
from finetune.records.rows import ChatPairRow, CompletionPairRow, Message, PairRow

PREFERENCE_FIELDS = frozenset({"input", "preferred_output", "non_preferred_output", "margin"})
CHOSEN_FIELDS = frozenset({"prompt", "chosen", "rejected", "tools", "margin"})
LARGEST_MARGIN = 100.0
_INPUT_FIELDS = frozenset({"messages", "tools", "parallel_tool_calls"})


def read_preference(values: dict[str, Any], findings: list[Finding]) -> ChatPairRow:
    """OpenAI's form."""
    fields = Fields(values, findings)
    fields.only(PREFERENCE_FIELDS)
    given: dict[str, Any] = fields.required("input", dict) or {}
    asked = Fields(given, findings, "input")
    asked.only(_INPUT_FIELDS)
    items = asked.required("messages", list) if "input" in values else []
    prompt = [read_message(message) for message in asked.objects("messages", items or [])]
    if items == []:
        asked.find("empty_messages", "messages")
    chosen, rejected = (
        read_answer(fields, name) for name in ("preferred_output", "non_preferred_output")
    )
    row = ChatPairRow(messages=prompt, chosen=chosen, rejected=rejected)
    if tools := read_tools(asked):
        row["tools"] = tools
    _read_margin(fields, row)
    names = ("input.messages", "preferred_output", "non_preferred_output")
    _check(row, findings, names, only_answers=True)
    return row


def read_chosen(values: dict[str, Any], findings: list[Finding]) -> PairRow:
    """`chosen` and `rejected`: texts, messages, or whole conversations that begin alike."""
    fields = Fields(values, findings)
    fields.only(CHOSEN_FIELDS)
    row: PairRow
    if all(isinstance(values.get(side), list) for side in SIDES):
        row = _read_conversations(fields)
    elif isinstance(values.get("prompt"), list):
        for side in SIDES:
            fields.required(side, list)
        row = ChatPairRow(messages=[], chosen=[], rejected=[])
    else:
        row = _read_texts(fields)
    _read_margin(fields, row)
    return row


def _read_margin(fields: Fields, row: PairRow) -> None:
    """By how much the better answer is better, where the row says so."""
    value = fields.values.get("margin")
    if value is None or value == "":
        return
    margin = fields.number("margin")
    if margin is None or not 0 <= margin <= LARGEST_MARGIN:
        fields.find("bad_margin", "margin")
    elif margin:
        row["margin"] = margin


def _read_texts(fields: Fields) -> CompletionPairRow:
    chosen, rejected = (fields.text(side) for side in SIDES)
    prompt: str | None = fields.optional("prompt", str)
    if prompt is None:
        alike = _common_text(chosen, rejected)
        prompt, chosen, rejected = chosen[:alike], chosen[alike:], rejected[alike:]
        _require_rest(fields, chosen, rejected)
    elif chosen == rejected and chosen:
        fields.find("same_answers", "rejected")
    return CompletionPairRow(prompt=prompt, chosen=chosen, rejected=rejected)


def _common_text(one: str, other: str) -> int:
    """Characters that both begin with; a space before the first difference goes with what follows,
    as tokenizers have it."""
    alike = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))
    return alike - 1 if alike and one[alike - 1] == " " else alike


def _read_conversations(fields: Fields) -> ChatPairRow:
    chosen, rejected = (read_answer(fields, side) for side in SIDES)
    given = fields.values.get("prompt")
    only_answers = True
    if isinstance(given, list):
        prompt = [read_message(message) for message in fields.objects("prompt", given)]
        if not given:
            fields.find("empty_messages", "prompt")
    elif isinstance(given, str) and _is_answer(chosen) and _is_answer(rejected):
        prompt = [Message(role="user", content=fields.text("prompt"))]
    else:  # whole conversations; a prompt beside them says again what they begin with
        alike = len(
            list(takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False)))
        )
        prompt, chosen, rejected = chosen[:alike], chosen[alike:], rejected[alike:]
        only_answers = False
        if not prompt and chosen and rejected:
            fields.find("no_shared_prompt", "chosen")
        else:
            _require_rest(fields, chosen, rejected)
    row = ChatPairRow(messages=prompt, chosen=chosen, rejected=rejected)
    if tools := read_tools(fields):
        row["tools"] = tools
    _check(row, fields.findings, ("prompt", *SIDES), only_answers=only_answers)
    return row


def _require_rest(fields: Fields, chosen: Sequence[Any], rejected: Sequence[Any]) -> None:
    """Of whole conversations something must be left behind what both begin with."""
    if not chosen and not rejected:
        return  # which is told as the same answers, or as empty
    for side, rest in zip(SIDES, (chosen, rejected), strict=True):
        if not rest:
            fields.find("missing_answer", side)


def _is_answer(messages: Sequence[Message]) -> bool:
    return bool(messages) and messages[0]["role"] == "assistant"


def read_answer(fields: Fields, name: str) -> list[Message]:
    items = fields.required(name, list)
    if items == []:
        fields.find("missing_answer", name)
    return [read_message(message) for message in fields.objects(name, items or [])]


def _check(
    row: ChatPairRow, findings: list[Finding], names: tuple[str, ...], *, only_answers: bool
) -> None:
    for side, name in zip(SIDES, names[1:], strict=True):
        check_answer(row["messages"], row[side], findings, (names[0], name), only=only_answers)
    errors = any(finding.is_error for finding in findings)
    if not errors and row["chosen"] == row["rejected"]:
        findings.append(Finding("same_answers", names[2]))


def check_answer(
    prompt: list[Message],
    answer: list[Message],
    findings: list[Finding],
    names: tuple[str, str],
    *,
    only: bool = True,
) -> None:
    """`names` of both in the file; `only`: that the answer is to be the assistant's and tools'."""
    if not answer or any(finding.is_error for finding in findings):
        return
    if only:
        for index, message in enumerate(answer):
            if message["role"] not in ("assistant", "tool"):
                findings.append(Finding("not_an_answer", f"{names[1]}[{index}].role"))
    found: list[Finding] = []
    check_turns([*map(untrained, prompt), *answer], found, "messages")
    findings.extend(
        placed for each in found if (placed := _placed(each, len(prompt), *names)) not in findings
    )


def _placed(finding: Finding, before: int, prompt: str, side: str) -> Finding:
    """A finding about a side's whole conversation, where the file has it."""
    field = finding.field or ""
    if not field.startswith("messages["):
        return replace(finding, field=side)
    number, bracket, rest = field.removeprefix("messages[").partition("]")
    index = int(number)
    if index < before:
        return replace(finding, field=f"{prompt}[{index}{bracket}{rest}")
    return replace(finding, field=f"{side}[{index - before}{bracket}{rest}")
