"""The one thread that runs models: a lane for each base with work, and one more for what it has to
score; a step of each in turn."""

import logging
import threading
from collections import Counter
from typing import Any

import torch

from faults import Fault, OurFault, UserFault
from finetune.discretion import told
from finetune.serving.bases import AnyBase, TextBase
from finetune.serving.embedding import EmbeddingLane
from finetune.serving.lane import Lane, Limits
from finetune.serving.scoring import ScoringLane, ScoringTicket
from finetune.serving.texts import TextLane, TextTicket
from finetune.serving.ticket import Ticket

log = logging.getLogger(__name__)

AnyLane = Lane | TextLane
AnyTicket = Ticket | TextTicket


class Scheduler:
    """`submit` from any thread; answers come through each ticket's `emit`."""

    def __init__(
        self,
        limits: Limits,
        *,
        max_waiting: int = 1024,
        tenant_waiting: int = 256,
        threads: int | None = None,
    ) -> None:
        self.turns = 0  # steps taken, of all bases
        self._limits = limits
        self._max_waiting = max_waiting
        self._tenant_waiting = tenant_waiting
        self._threads = threads
        self._lanes: dict[tuple[AnyBase, bool], AnyLane] = {}  # by base, and whether it scores
        self._inbox: list[AnyTicket] = []
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, ticket: AnyTicket) -> None:
        """Raises UserFault `too_many_waiting` when the tenant has too many choices waiting, or
        OurFault: `overloaded` when all have, `shutting_down` at the end."""
        with self._wake:
            if self._stopping:
                raise _shutting_down()
            waiting = self._waiting(list(self._lanes.values()), self._inbox)
            if waiting[ticket.request.tenant] >= self._tenant_waiting:
                raise _too_many_waiting(self._tenant_waiting)
            # Of the room for all none takes more than its own bound, whatever its last one holds
            held = sum(min(places, self._tenant_waiting) for places in waiting.values())
            if held >= self._max_waiting:
                raise OurFault(
                    "overloaded",
                    f"{self._max_waiting} answers are waiting to be begun already.",
                    fix="Try again in a moment.",
                )
            self._inbox.append(ticket)
            self._wake.notify()

    def load(self, base: AnyBase) -> tuple[int, int]:
        """(running, waiting) choices of a base; of texts to embed, the steps that wait."""
        with self._wake:
            lanes = [lane for (its, _), lane in self._lanes.items() if its is base]
            arriving = [ticket for ticket in self._inbox if ticket.base is base]
        waiting = self._waiting(lanes, arriving)
        return sum(len(lane.running) for lane in lanes), waiting.total()

    def _waiting(self, lanes: list[AnyLane], arriving: list[AnyTicket]) -> Counter[str]:
        """Places of what waits to be begun, by tenant."""
        waiting: Counter[str] = Counter()
        for lane in lanes:
            waiting.update(lane.waiting.places)
        for ticket in arriving:
            waiting[ticket.request.tenant] += ticket.places
        return waiting

    def stop(self) -> None:
        """End after the current step; what was under way fails with `shutting_down`."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        if self._threads is not None:
            torch.set_num_threads(self._threads)  # OpenMP keeps it for each thread apart
        while self._take_in():
            for lane in list(self._lanes.values()):
                self._step(lane)
        for lane in self._lanes.values():
            lane.abandon(_shutting_down())
        for ticket in self._inbox:
            ticket.fail(_shutting_down())

    def _take_in(self) -> bool:
        """Hand new tickets to their lanes and forget idle lanes; sleep while there is no work."""
        with self._wake:
            self._lanes = {key: lane for key, lane in self._lanes.items() if not lane.idle}
            self._wake.wait_for(lambda: self._stopping or self._inbox or self._lanes)
            if self._stopping:
                return False
            for ticket in self._inbox:
                self._lane_of(ticket).add(ticket)
            self._inbox = []
            return True

    def _lane_of(self, ticket: AnyTicket) -> Any:
        """Its base's own, which takes such tickets."""
        base, scores = ticket.base, isinstance(ticket, ScoringTicket)
        if (base, scores) not in self._lanes:
            if isinstance(base, TextBase):
                lane: AnyLane = EmbeddingLane(base)
            else:
                lane = ScoringLane(base) if scores else Lane(base, self._limits)
            self._lanes[base, scores] = lane
        return self._lanes[base, scores]

    def _step(self, lane: AnyLane) -> None:
        self.turns += 1
        try:
            lane.step()
        except Fault as error:
            lane.abandon(error)
        except Exception as error:  # whatever broke, the other bases' answers go on
            log.exception("a step of base %s failed", lane.base.digest)
            lane.abandon(OurFault("generation_failed", f"The model failed: {told(error)}."))


def _too_many_waiting(most: int) -> UserFault:
    return UserFault(
        "too_many_waiting",
        f"You have {most} answers (requests x n) waiting to be begun already.",
        fix="Wait for some of them, or ask for fewer at a time.",
    )


def _shutting_down() -> OurFault:
    return OurFault("shutting_down", "The model server is stopping.", fix="Try again in a moment.")
