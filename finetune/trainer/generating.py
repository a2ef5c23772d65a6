"""Completions of the model that is being trained, drawn by the engine that serves models: batched,
with a cache, on the very weights in memory.

Each completion draws from numbers of its own, a function of its seed; what else stands in the batch
is a function of the step. So the same weights answer the same step with the same tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults import Fault, UserFault
from finetune.families.contract import Device, ResidentBase, Writes
from finetune.records.encode import RowEncoder, load_tokenizer
from finetune.serving.bases import Base
from finetune.serving.lane import Lane, Limits
from finetune.serving.protocol import Delta, GenerateRequest
from finetune.serving.ticket import Ticket
from finetune.trainer.lifeline import Stop

# Completions at once, bytes of their keys and values, prompt tokens between two of their tokens
LIMITS: dict[Device, Limits] = {
    "cpu": Limits(rows=64, kv_bytes=2 << 30, chunk=2048),
    "cuda": Limits(rows=256, kv_bytes=8 << 30, chunk=8192),
}
# Of nobody else: there is one tenant here, one base and one adapter
_REQUEST = GenerateRequest.model_validate(
    {"tenant": "run", "base_path": "", "base_digest": "", "messages": []}
)


@dataclass(frozen=True)
class Asked:
    """A prompt (canonical, and in tokens) to be answered `count` times."""

    row: dict[str, Any]
    tokens: list[int]
    seed: int
    count: int


@dataclass
class Answer:
    """`ids`: the tokens that were drawn, the one that ended it included."""

    ids: list[int] = field(default_factory=list)
    text: str = ""
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    truncated: bool = False

    def take(self, delta: Delta) -> None:
        self.text += delta.text
        self.reasoning += delta.reasoning
        for call in delta.tool_calls:
            function = {"name": call.name, "arguments": call.arguments}
            self.tool_calls.append({"id": call.id, "type": "function", "function": function})
        if delta.finish_reason is not None:
            self.truncated = delta.finish_reason == "length"


class Generator:
    """`base_dir`: whose tokenizer and template it is."""

    def __init__(self, model: Writes, base_dir: Path, device: Device, stop: Stop) -> None:
        self._model, self._stop = model, stop
        self._encoder = RowEncoder(load_tokenizer(base_dir))
        self._limits = LIMITS[device]
        self._base: Base | None = None

    def answers(
        self, asked: Sequence[Asked], *, temperature: float, top_p: float, max_tokens: int
    ) -> list[list[Answer]]:
        """Of each prompt. Yielded may come. Raises UserFault `context_length_exceeded`, or what the
        engine says of a model whose output is no number."""
        found = [[Answer() for _ in range(each.count)] for each in asked]
        with self._model.answering() as (resident, adapter):
            base = self._base = self._base or self._based_on(resident)
            lane, tickets = Lane(base, self._limits), []
            for each, answers in zip(asked, found, strict=True):
                _require_room(base, each)
                request = _REQUEST.model_copy(
                    update={
                        "messages": each.row["messages"],
                        "tools": each.row.get("tools"),
                        "n": each.count,
                        "seed": each.seed,
                        "temperature": temperature,
                        "top_p": top_p,
                        "max_tokens": max_tokens,
                    }
                )
                ticket = Ticket(request, base, adapter, each.tokens, _taker(answers))
                tickets.append(ticket)
                lane.add(ticket)
            while not lane.idle:
                self._stop.check()
                lane.step()
        for each, ticket, answers in zip(asked, tickets, found, strict=True):
            for choice, answer in zip(ticket.choices, answers, strict=True):
                answer.ids = choice.ids[len(each.tokens) :]
        return found

    def _based_on(self, resident: ResidentBase) -> Base:
        stops = self._encoder.stop_ids | resident.stop_ids
        return Base("", resident, self._encoder, stops)


def _taker(answers: list[Answer]) -> Any:
    def take(told: Delta | Fault) -> None:
        if isinstance(told, Fault):
            raise told
        if told.usage is None:
            answers[told.index].take(told)

    return take


def _require_room(base: Base, asked: Asked) -> None:
    if len(asked.tokens) >= base.context_length:
        raise UserFault(
            "context_length_exceeded",
            f"A prompt has {len(asked.tokens)} tokens, and the base's context "
            f"{base.context_length}: nothing is left for an answer.",
            fix="Lower max_length, or shorten the prompt.",
            param="max_length",
        )
