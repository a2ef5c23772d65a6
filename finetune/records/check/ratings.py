"""Rows of one answer that somebody found good or not."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from finetune.records.check.chat import read_message, read_tools
from finetune.records.check.fields import Fields, json_type
from finetune.records.check.preferences import check_answer, read_answer
from finetune.records.check.problems import Finding
from finetune.records.rows import Message, RatedChatRow, RatedCompletionRow, RatedRow

RATED_FIELDS = frozenset({"prompt", "completion", "label", "tools"})
_WORDS = {"true": True, "1": True, "false": False, "0": False}  # as tables have them


EVEN = 4 / 3  # times as many of one side as of the other, with which both weigh well (KTO, eq. 8)


def is_verdict(value: Any) -> bool:
    """Or nothing, where only a column's name is known."""
    return value is None or value in (True, False)


def read_rated(values: dict[str, Any], findings: list[Finding]) -> RatedRow:
    """`prompt` and `completion`, texts or messages, and `label`."""
    fields = Fields(values, findings)
    fields.only(RATED_FIELDS)
    label = _label(fields)
    if not any(isinstance(values.get(name), list) for name in ("prompt", "completion")):
        prompt = fields.required("prompt", str) or ""
        return RatedCompletionRow(prompt=prompt, completion=fields.text("completion"), label=label)
    messages, completion = _prompt(fields), read_answer(fields, "completion")
    row = RatedChatRow(messages=messages, completion=completion, label=label)
    if tools := read_tools(fields):
        row["tools"] = tools
    check_answer(messages, completion, findings, ("prompt", "completion"))
    return row


def _prompt(fields: Fields) -> list[Message]:
    if isinstance(fields.values.get("prompt"), str):
        return [Message(role="user", content=fields.text("prompt"))]
    given = fields.required("prompt", list)
    if given == []:
        fields.find("empty_messages", "prompt")
    return [read_message(message) for message in fields.objects("prompt", given or [])]


def _label(fields: Fields) -> bool:
    value = fields.values.get("label")
    if isinstance(value, str):
        value = _WORDS.get(value.strip().lower(), value)
    if "label" not in fields.values:
        fields.find("missing_field", "label", "The field 'label' is missing.")
    elif value not in (True, False):
        fields.find(
            "bad_label",
            "label",
            f"A label must be true or false, not {json_type(value)}.",
            found=json_type(value),
        )
    return value is True or value == 1


def balance(labels: Counter[bool]) -> Iterator[Finding]:
    """Of a whole file's labels: whether there are both, and about as many of each."""
    good, bad = labels[True], labels[False]
    if good + bad and not (good and bad):
        yield Finding(
            "one_sided",
            message=f"All {good + bad} answers have the label {'true' if good else 'false'}.",
            values={"rows": good + bad, "label": "true" if good else "false"},
        )
    elif good + bad and max(good, bad) > EVEN * min(good, bad):
        name = "undesirable_weight" if good > bad else "desirable_weight"
        weight = round(max(good, bad) / min(good, bad), 2)
        yield Finding(
            "uneven_labels",
            message=f"Answers with the label true: {good}; false: {bad}.",
            fix=f"With {name} {weight} both sides weigh the same. Or add rows of the rarer label.",
            values={"good": good, "bad": bad, "weight": str(weight), "setting": name},
        )
