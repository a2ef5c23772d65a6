"""One base's batch: who waits, whose prompt is being read, who is being answered.

A step reads a piece of the waiting prompts and gives every running choice one token, so a new
request joins at the next token and a long prompt does not hold the others up for long. Rows are
shared between tenants: who has fewer gets some of who has more, who goes on with them later.
"""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from faults import Fault, OurFault, UserFault
from finetune.serving.bases import Base
from finetune.serving.choice import Choice
from finetune.serving.prompt import Prompt, over
from finetune.serving.reading import Reading
from finetune.serving.sampling import Scored, sample, score
from finetune.serving.ticket import Ticket
from finetune.serving.turns import Turns


@dataclass(frozen=True)
class Limits:
    """`rows` answered at once on one base; `kv_bytes` for their keys and values, together;
    `chunk` prompt tokens read between two tokens of the running answers."""

    rows: int = 32
    kv_bytes: int = 1 << 30
    chunk: int = 512
    scored_chunk: int = 64  # where an echoed prompt is scored: logits stand for each position


@dataclass(eq=False)
class Row:
    ticket: Ticket
    choice: Choice


class Lane:
    def __init__(self, base: Base, limits: Limits) -> None:
        self.base = base
        self._limits = limits
        self._clear()

    def _clear(self) -> None:
        self.waiting = Turns()
        self._reading = Reading(self.base, self._limits.chunk, scored=False)
        self._scoring = Reading(self.base, self._limits.scored_chunk, scored=True)
        self.running: list[Row] = []
        self._cache = self.base.model.new_cache()

    @property
    def idle(self) -> bool:
        return not (self.waiting or self._being_read or self.running)

    @property
    def _being_read(self) -> list[Prompt]:
        return self._reading.prompts + self._scoring.prompts

    def add(self, ticket: Ticket) -> None:
        rows = self._limits.rows
        for at in range(0, len(ticket.choices), rows):
            self.waiting.join(Prompt(ticket, ticket.choices[at : at + rows]), self._held())

    @torch.inference_mode()
    def step(self) -> None:
        """A piece of the prompts, then a token for each running choice."""
        self._drop_done()
        self._admit()
        for reading in (self._reading, self._scoring):
            if reading.prompts:
                self._read(reading)
        self._make_room()
        if self.running:
            self._decode()

    def abandon(self, error: Fault) -> None:
        """Fail everything and start afresh; the next request finds a working lane."""
        prompts = [*self.waiting.prompts(), *self._being_read]
        for ticket in [p.ticket for p in prompts] + [row.ticket for row in self.running]:
            ticket.fail(error)
        self._clear()

    # --- who takes part

    def _drop_done(self) -> None:
        """Let go of what was cancelled, or failed in another row of the same ticket."""
        self.waiting.drop_done()
        self._reading.drop_done()
        self._scoring.drop_done()
        for at in reversed(range(len(self.running))):
            if over(self.running[at].ticket):
                self._leave_running(at)

    def _held(self) -> Counter[str]:
        """Rows by tenant: of answers, and of prompts that are being read for them."""
        held = Counter(row.ticket.request.tenant for row in self.running)
        for prompt in self._being_read:
            held[prompt.tenant] += len(prompt.choices)
        return held

    def _admit(self) -> None:
        while self.waiting and self._admit_next():
            pass

    def _admit_next(self) -> bool:
        """Let some choices of one prompt begin, in the order of turns; False when none can."""
        held = self._held()
        for prompt in self.waiting.order(held):
            tenant = prompt.tenant
            if prompt.ticket.scores_prompt and any(
                p.tenant == tenant for p in self._scoring.prompts
            ):
                continue  # slow reading: one at a time of each tenant
            if count := self._make_way(prompt, held):
                taken = self.waiting.take(prompt, count)
                (self._scoring if taken.ticket.scores_prompt else self._reading).join(taken)
                return True
            if not held[tenant]:
                return False  # the next room is its own, not for those that have some
        return False

    def _make_way(self, prompt: Prompt, held: Counter[str]) -> int:
        """How many of the prompt's choices can begin; one alone always can.

        Tenants that would still hold more than the prompt's put rows off for it.
        """
        granted, tenant = 0, prompt.tenant
        while granted < len(prompt.choices):
            if self._fits(held.total() + granted + 1, len(prompt.ids)):
                granted += 1
                continue
            richest = max(held, key=held.__getitem__, default=tenant)
            if held[richest] <= held[tenant] + granted + 1:
                break
            self._put_off(richest)
            held[richest] -= 1
        return granted if held.total() else max(1, granted)

    def _fits(self, rows: int, length: int) -> bool:
        lengths = [len(p.ids) for p in self._being_read] + self._cache.lengths
        return rows <= self._limits.rows and self._bytes(rows, max([length, *lengths]) + 64) <= (
            self._limits.kv_bytes
        )

    def _bytes(self, rows: int, length: int) -> int:
        return rows * length * self.base.model.kv_bytes_per_token

    def _make_room(self) -> None:
        """Put the latest comers of who has most off while the batch outgrows its memory."""
        while len(self.running) > 1 and (
            self._bytes(len(self.running), max(self._cache.lengths) + 1) > self._limits.kv_bytes
        ):
            held = Counter(row.ticket.request.tenant for row in self.running)
            self._put_off_running(max(held, key=held.__getitem__))

    def _put_off(self, tenant: str) -> None:
        """Take the tenant's latest row back into the queue; what is only being read goes first."""
        for reading in (self._reading, self._scoring):
            for at in reversed(range(len(reading.prompts))):
                prompt = reading.prompts[at]
                if prompt.tenant == tenant:
                    kept = prompt.choices[:-1]
                    self.waiting.put_back(Prompt(prompt.ticket, prompt.choices[-1:]))
                    prompt.choices = kept or prompt.choices
                    if not kept:
                        reading.leave(at)
                    return
        self._put_off_running(tenant)

    def _put_off_running(self, tenant: str) -> None:
        at = max(i for i, row in enumerate(self.running) if row.ticket.request.tenant == tenant)
        row = self._leave_running(at)
        self.waiting.put_back(Prompt(row.ticket, [row.choice]))

    def _leave_running(self, at: int) -> Row:
        row = self.running[at]
        self._cache.drop(at)
        self.running[at] = self.running[-1]
        self.running.pop()
        return row

    # --- the model

    def _read(self, reading: Reading) -> None:
        for at, count, logits in reading.read():
            prompt = reading.prompts[at]
            self.waiting.charge(prompt.tenant, count)
            if prompt.read == len(prompt.ids):
                self._start(reading, at, logits)

    def _start(self, reading: Reading, at: int, logits: Tensor) -> None:
        """logits [vocab] after a whole prompt: the first token of each of its choices."""
        prompt = reading.prompts[at]
        if prompt.fresh:
            prompt.ticket.echo(prompt.choices, prompt.scores)
        rows = [Row(prompt.ticket, choice) for choice in prompt.choices]
        if prompt.ticket.request.max_tokens == 0:
            for row in rows:
                row.ticket.deliver(row.choice.refrain())
        else:
            self._advance(rows, logits.expand(len(rows), -1))
        going = [] if over(prompt.ticket) else [row for row in rows if not row.choice.finished]
        if going:
            self._cache.take(reading.cache, at, len(going))
            self.running += going
        reading.leave(at)

    def _decode(self) -> None:
        last = [[row.choice.ids[-1]] for row in self.running]
        adapters = [row.ticket.adapter for row in self.running]
        self._advance(self.running, self.base.model.forward(self._cache, last, adapters))
        for at in reversed(range(len(self.running))):
            row = self.running[at]
            if row.choice.finished or over(row.ticket):
                self._leave_running(at)

    def _advance(self, rows: list[Row], logits: Tensor) -> None:
        """logits [rows, vocab]: sample a token for each row, and tell."""
        sound = logits.max(dim=-1).values.isfinite().tolist()
        ready = logits.nan_to_num()  # a copy, of which each row is its own
        _hold(rows, ready)
        tokens = sample(ready, [row.choice.sampler for row in rows])
        scores = _scores(rows, logits, tokens)
        for row, token, scored, ok in zip(rows, tokens, scores, sound, strict=True):
            self.waiting.charge(row.ticket.request.tenant, 1)
            if not ok:
                row.ticket.fail(_no_number())
            elif not over(row.ticket):
                _take(row, token, scored)


def _hold(rows: list[Row], logits: Tensor) -> None:
    """logits [rows, vocab]: bars what a row's grammar does not allow next."""
    for row, own in zip(rows, logits, strict=True):
        if row.choice.gate is not None:
            try:
                row.choice.gate.mask(own)
            except UserFault as fault:
                row.ticket.fail(fault)


def _take(row: Row, token: int, scored: Scored | None) -> None:
    try:
        row.ticket.deliver(row.choice.accept(token, scored))
    except UserFault as fault:  # of its grammar
        row.ticket.fail(fault)


def _scores(rows: list[Row], logits: Tensor, tokens: list[int]) -> list[Scored | None]:
    wanted = [row.choice.top_logprobs for row in rows if row.choice.top_logprobs is not None]
    if not wanted:
        return [None] * len(rows)
    return list(score(logits, tokens, max(wanted)))


def _no_number() -> OurFault:
    return OurFault(
        "not_a_number",
        "The model's output is not a number; its weights or the adapter's are broken.",
        fix="Train again with a lower learning rate, or in fp32.",
    )
