"""One base's batch: who waits, whose prompt is being read, who is being answered.

A step reads a piece of the waiting prompts and gives every running choice one token, so a new
request joins at the next token and a long prompt does not hold the others up for long.
"""

from collections import deque
from dataclasses import dataclass, field

import torch
from torch import Tensor

from finetune.errors import FinetuneError, OurFault
from finetune.serving.bases import Base
from finetune.serving.cache import RaggedCache
from finetune.serving.choice import Choice
from finetune.serving.sampling import Scored, sample, score
from finetune.serving.ticket import Ticket


@dataclass(frozen=True)
class Limits:
    """`rows` answered at once on one base; `kv_bytes` for their keys and values, together;
    `chunk` prompt tokens read between two tokens of the running answers."""

    rows: int = 32
    kv_bytes: int = 1 << 30
    chunk: int = 512
    scored_chunk: int = 64  # where an echoed prompt is scored: logits stand for each position


@dataclass(eq=False)
class Prompt:
    """Choices that begin with the same tokens; read once, then continued apart."""

    ticket: Ticket
    choices: list[Choice]
    read: int = 0
    scores: list[Scored] = field(default_factory=list)  # of an echoed prompt's tokens

    @property
    def ids(self) -> list[int]:
        return self.choices[0].ids

    @property
    def fresh(self) -> bool:
        """Not put off before: its prompt has yet to be echoed."""
        return self.choices[0].generated == 0


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
        self.waiting: deque[Prompt] = deque()
        self._reading: list[Prompt] = []
        self._reading_cache = RaggedCache()
        self.running: list[Row] = []
        self._cache = RaggedCache()

    @property
    def idle(self) -> bool:
        return not (self.waiting or self._reading or self.running)

    def add(self, ticket: Ticket) -> None:
        rows = self._limits.rows
        for at in range(0, len(ticket.choices), rows):
            self.waiting.append(Prompt(ticket, ticket.choices[at : at + rows]))

    @torch.inference_mode()
    def step(self) -> None:
        """A piece of the prompts, then a token for each running choice."""
        self._drop_done()
        self._admit()
        if self._reading:
            self._read()
        self._make_room()
        if self.running:
            self._decode()

    def abandon(self, error: FinetuneError) -> None:
        """Fail everything and start afresh; the next request finds a working lane."""
        prompts = [*self.waiting, *self._reading]
        for ticket in [p.ticket for p in prompts] + [row.ticket for row in self.running]:
            ticket.fail(error)
        self._clear()

    # --- who takes part

    def _drop_done(self) -> None:
        """Let go of what was cancelled, or failed in another row of the same ticket."""
        self.waiting = deque(p for p in self.waiting if not _over(p.ticket))
        for at in reversed(range(len(self._reading))):
            if _over(self._reading[at].ticket):
                self._leave_reading(at)
        for at in reversed(range(len(self.running))):
            if _over(self.running[at].ticket):
                self._leave_running(at)

    def _admit(self) -> None:
        """First come, first served, as long as rows and memory last; one alone always goes."""
        scoring = any(p.ticket.scores_prompt for p in self._reading)
        while self.waiting:
            prompt = self.waiting[0]
            rows = len(self.running) + sum(len(p.choices) for p in self._reading)
            if rows and not self._fits(rows + len(prompt.choices), len(prompt.ids)):
                return
            if self._reading and (scoring or prompt.ticket.scores_prompt):
                return  # scored prompts are read by themselves, in smaller pieces
            self._reading.append(self.waiting.popleft())
            self._reading_cache.lengths.append(0)
            scoring = prompt.ticket.scores_prompt

    def _fits(self, rows: int, length: int) -> bool:
        lengths = [len(p.ids) for p in self._reading] + self._cache.lengths
        return rows <= self._limits.rows and self._bytes(rows, max([length, *lengths]) + 64) <= (
            self._limits.kv_bytes
        )

    def _bytes(self, rows: int, length: int) -> int:
        return rows * length * self.base.kv_bytes_per_token

    def _make_room(self) -> None:
        """Put the latest comers off while the batch outgrows its memory; they resume later."""
        while len(self.running) > 1 and (
            self._bytes(len(self.running), max(self._cache.lengths) + 1) > self._limits.kv_bytes
        ):
            row = self._leave_running(len(self.running) - 1)
            self.waiting.appendleft(Prompt(row.ticket, [row.choice]))

    def _leave_reading(self, at: int) -> None:
        self._reading_cache.drop(at)
        self._reading[at] = self._reading[-1]
        self._reading.pop()

    def _leave_running(self, at: int) -> Row:
        row = self.running[at]
        self._cache.drop(at)
        self.running[at] = self.running[-1]
        self.running.pop()
        return row

    # --- the model

    def _read(self) -> None:
        scoring = self._reading[0].ticket.scores_prompt
        budget = self._limits.scored_chunk if scoring else self._limits.chunk
        width = max(1, budget // len(self._reading))
        pieces = [p.ids[p.read : p.read + width] for p in self._reading]
        adapters = [p.ticket.adapter for p in self._reading]
        logits = self.base.forward(self._reading_cache, pieces, adapters, every_position=scoring)
        for at in reversed(range(len(self._reading))):
            prompt = self._reading[at]
            prompt.read += len(pieces[at])
            if scoring:
                self._score_prompt(prompt, logits[at], len(pieces[at]))
            if prompt.read == len(prompt.ids):
                last = logits[at, len(pieces[at]) - 1] if scoring else logits[at]
                self._start(at, last)

    def _score_prompt(self, prompt: Prompt, logits: Tensor, count: int) -> None:
        """logits [width, vocab] of the piece just read, each position predicting the next."""
        if not prompt.fresh:
            return
        following = prompt.ids[prompt.read - count + 1 : prompt.read + 1]
        if following:
            top = prompt.ticket.request.top_logprobs
            prompt.scores += score(logits[: len(following)], following, top)

    def _start(self, at: int, logits: Tensor) -> None:
        """logits [vocab] after a whole prompt: the first token of each of its choices."""
        prompt = self._reading[at]
        if prompt.fresh:
            prompt.ticket.echo(prompt.choices, prompt.scores)
        rows = [Row(prompt.ticket, choice) for choice in prompt.choices]
        self._advance(rows, logits.expand(len(rows), -1))
        going = [] if _over(prompt.ticket) else [row for row in rows if not row.choice.finished]
        if going:
            self._cache.take(self._reading_cache, at, len(going))
            self.running += going
        self._leave_reading(at)

    def _decode(self) -> None:
        last = [[row.choice.ids[-1]] for row in self.running]
        adapters = [row.ticket.adapter for row in self.running]
        self._advance(self.running, self.base.forward(self._cache, last, adapters))
        for at in reversed(range(len(self.running))):
            row = self.running[at]
            if row.choice.finished or _over(row.ticket):
                self._leave_running(at)

    def _advance(self, rows: list[Row], logits: Tensor) -> None:
        """logits [rows, vocab]: sample a token for each row, and tell."""
        sound = logits.max(dim=-1).values.isfinite().tolist()
        tokens = sample(logits.nan_to_num(), [row.choice.sampler for row in rows])
        scores = _scores(rows, logits, tokens)
        for row, token, scored, ok in zip(rows, tokens, scores, sound, strict=True):
            if ok:
                row.ticket.deliver(row.choice.accept(token, scored))
            else:
                row.ticket.fail(_no_number())


def _scores(rows: list[Row], logits: Tensor, tokens: list[int]) -> list[Scored | None]:
    wanted = [row.choice.top_logprobs for row in rows if row.choice.top_logprobs is not None]
    if not wanted:
        return [None] * len(rows)
    return list(score(logits, tokens, max(wanted)))


def _over(ticket: Ticket) -> bool:
    return ticket.cancelled or ticket.done


def _no_number() -> OurFault:
    return OurFault(
        "not_a_number",
        "The model's output is not a number; its weights or the adapter's are broken.",
        fix="Train again with a lower learning rate, or in fp32.",
    )
