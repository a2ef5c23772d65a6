"""Rows of the training data as turns in a prompt: what a base does with a few of them shows whether
training on all of them was worth it."""

import random
from collections.abc import Sequence
from itertools import islice
from typing import Any

import orjson

from finetune.grading.questions import Message
from finetune.models import Artifact
from tenants.vault.vault import Vault

ROWS_READ = 2_000  # that the examples are drawn from
LONGEST = 8_000  # characters of an example


def examples_of(artifact: Artifact, vault: Vault, count: int) -> tuple[list[Message], ...]:
    """Drawn by a fixed seed; none where the rows are no plain chats, or gone with their file."""
    reading = artifact.job.training_data
    if not count or reading is None or not reading.rows_object:
        return ()
    with vault.open(reading.rows_object) as rows:
        found = [turns for row in islice(rows, ROWS_READ) if (turns := _turns(orjson.loads(row)))]
    drawn = random.Random(f"privatune {artifact.id}")  # noqa: S311
    return tuple(drawn.sample(found, min(count, len(found))))


def _turns(row: dict[str, Any]) -> list[Message] | None:
    messages: Sequence[Any] = row.get("messages") or ()
    if "prompt" in row and "completion" in row:
        messages = [
            {"role": "user", "content": row["prompt"]},
            {"role": "assistant", "content": row["completion"]},
        ]
    turns = [each for each in messages if each.get("role") not in ("system", "developer")]
    if [each.get("role") for each in turns] != ["user", "assistant"] * (len(turns) // 2):
        return None
    if not turns or not all(isinstance(each.get("content"), str) for each in turns):
        return None
    if any(each.get("tool_calls") for each in turns):
        return None
    if sum(len(each["content"]) for each in turns) > LONGEST:
        return None
    return [{"role": each["role"], "content": each["content"]} for each in turns]
