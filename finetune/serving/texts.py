"""What becomes of whole texts, in turns: a step of the model takes some texts of every tenant that
waits, so that a request of thousands holds up no short one."""

import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from faults import Fault, OurFault
from finetune.families.contract import ReadAdapter

STEP_TEXTS = 64  # of a step
STEP_TOKENS = 8192  # of a step, padding counted, at most
STEP_SECONDS = 0.25  # of a step: between any two of it, every other base has one
LEAST_TOKENS = 256


@dataclass(eq=False)
class TextTicket(ABC):
    """`emit` is called from the model thread with the one reply to all texts or with one error;
    `cancelled` may be set from any thread."""

    request: Any
    base: Any
    adapter: ReadAdapter | None
    texts: Sequence[Any]  # in tokens
    emit: Callable[[Any], None]
    cancelled: bool = False
    done: bool = False
    found: dict[int, Tensor] = field(default_factory=dict)  # by text

    @property
    def places(self) -> int:
        return places_of(len(self.texts))

    def deliver(self, number: int, found: Tensor) -> None:
        if self.done:
            return
        if not bool(torch.isfinite(found).all()):
            return self.fail(OurFault("generation_failed", "The model's answer is no number."))
        self.found[number] = found
        if len(self.found) == len(self.texts):
            self.done = True
            self.emit(self.reply([self.found[n] for n in range(len(self.texts))]))
        return None

    def fail(self, error: Fault) -> None:
        if not self.done:
            self.done = True
            self.emit(error)

    @property
    def tokens(self) -> int:
        return sum(map(len, self.texts))

    @abstractmethod
    def reply(self, found: list[Tensor]) -> Any:
        """Of what was found of each text, in order."""


def places_of(texts: int) -> int:
    """In the queue, where an answer that is written takes one: by the steps that texts need."""
    return -(-texts // STEP_TEXTS)


class Queued:
    """Texts that wait, by tenant; `rows` may be read from any thread."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self._of: dict[str, deque[tuple[TextTicket, int]]] = {}

    def __bool__(self) -> bool:
        return bool(self._of)

    @property
    def places(self) -> Counter[str]:
        return Counter({tenant: places_of(texts) for tenant, texts in self.rows.copy().items()})

    def join(self, ticket: TextTicket) -> None:
        tenant = ticket.request.tenant
        self._of.setdefault(tenant, deque()).extend((ticket, n) for n in range(len(ticket.texts)))
        self.rows[tenant] += len(ticket.texts)

    def take(self, room: int = STEP_TOKENS) -> list[tuple[TextTicket, int]]:
        """What the next step does: one text of each tenant in turn, as long as there is room for
        its tokens; who came last in this step comes first in the next."""
        taken: list[tuple[TextTicket, int]] = []
        longest = 0
        while self._of:
            tenant, queue = next(iter(self._of.items()))
            ticket, number = queue[0]
            if not (ticket.cancelled or ticket.done):
                wider = max(longest, len(ticket.texts[number]))
                full = len(taken) == STEP_TEXTS or wider * (len(taken) + 1) > room
                if taken and full:
                    break
                taken.append((ticket, number))
                longest = wider
            queue.popleft()
            self.rows[tenant] -= 1
            del self._of[tenant]
            if queue:
                self._of[tenant] = queue  # behind the others
            else:
                del self.rows[tenant]
        return taken

    def tickets(self) -> list[TextTicket]:
        return list({ticket: None for queue in self._of.values() for ticket, _ in queue})


class TextLane(ABC):
    """One base's texts; see `Scheduler`."""

    def __init__(self, base: Any) -> None:
        self.base = base
        self.waiting = Queued()
        self.running: list[tuple[TextTicket, int]] = []
        self._room = LEAST_TOKENS

    @abstractmethod
    def found(self, texts: Sequence[Any], adapters: Sequence[ReadAdapter | None]) -> Tensor:
        """[texts, ...] by the base, with each text's adapter."""

    @property
    def idle(self) -> bool:
        return not (self.waiting or self.running)

    def add(self, ticket: TextTicket) -> None:
        self.waiting.join(ticket)

    def step(self) -> None:
        self.running = self.waiting.take(self._room)
        if self.running:
            begun = time.perf_counter()
            # of equal lengths side by side little is padded, and each adapter's rows stand together
            texts = [ticket.texts[number] for ticket, number in self.running]
            adapters = [ticket.adapter for ticket, _ in self.running]
            found = self.found(texts, adapters).float().cpu().clone()
            self._room = room_after(
                max(map(len, texts)) * len(texts), time.perf_counter() - begun, self._room
            )
            for (ticket, number), each in zip(self.running, found, strict=True):
                ticket.deliver(number, each)
        self.running = []

    def abandon(self, error: Fault) -> None:
        """Fail everything; the next request finds a working lane."""
        for ticket in [*self.waiting.tickets(), *(ticket for ticket, _ in self.running)]:
            ticket.fail(error)
        self.waiting, self.running = Queued(), []


def room_after(tokens: int, seconds: float, room: int) -> int:
    """The next step's tokens, by how long so many took: in STEP_SECONDS, at most twice as many as
    there was room for (the first ones after a pause are slow)."""
    fitting = int(tokens * STEP_SECONDS / max(seconds, 1e-6))
    return max(LEAST_TOKENS, min(fitting, 2 * room, STEP_TOKENS))
