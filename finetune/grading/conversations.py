"""What a reward model is shown of an answer: the whole conversation that it ends."""

from typing import Any

from finetune.grading import specs
from finetune.grading.places import NoSuchPlace, fill_all

Conversation = dict[str, Any]
"""`messages`, the last one the assistant's, and `tools` where there are some."""

ASKED = ("prompt", "question", "input")  # of an item without messages, the first that there is
ROLES = ("system", "developer", "user", "assistant", "tool")


def conversation(spec: specs.RewardModel, sample: dict[str, Any], item: Any) -> Conversation:
    """By the grader's `input`, or what was asked (`sample.input`, or else the item's) and answered.
    Raises NoSuchPlace and TooLong."""
    if spec.input is not None:
        texts = fill_all([each.text for each in spec.input], {"sample": sample, "item": item})
        return {
            "messages": [
                {"role": each.role, "content": text}
                for each, text in zip(spec.input, texts, strict=True)
            ]
        }
    answer: dict[str, Any] = {"role": "assistant", "content": sample["output_text"]}
    if calls := sample.get("output_tools"):
        answer["tool_calls"] = calls
    tools = item.get("tools") if isinstance(item, dict) else None
    known = isinstance(tools, list) and all(isinstance(each, dict) for each in tools)
    told = {"tools": tools} if known and tools else {}
    return {"messages": [*_asked(sample, item), answer], **told}


def _asked(sample: dict[str, Any], item: Any) -> list[dict[str, Any]]:
    if "input" in sample:
        found: list[dict[str, Any]] = sample["input"]
        return found
    if not isinstance(item, dict):
        raise NoSuchPlace("item.messages")
    if "messages" in item:
        messages = item["messages"]
        if not _are_messages(messages):
            raise NoSuchPlace("item.messages of role and text")
        while messages and messages[-1]["role"] == "assistant":
            messages = messages[:-1]  # how a training row would have it answered
        if messages:
            return list(messages)
    text = next((item[name] for name in ASKED if isinstance(item.get(name), str)), None)
    if text is None:
        raise NoSuchPlace("item.messages")
    return [{"role": "user", "content": text}]


def _are_messages(found: Any) -> bool:
    return isinstance(found, list) and all(
        isinstance(each, dict) and each.get("role") in ROLES for each in found
    )
