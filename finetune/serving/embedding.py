"""Vectors of texts, or scores of pairs of them, in turns: a step of the model takes some texts of
every tenant that waits, so that a request of thousands holds up no short one."""

import base64
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from faults import Fault, OurFault, UserFault
from finetune.families.contract import ReadAdapter
from finetune.records.ranking import Pair
from finetune.serving.bases import AnyBase, EmbeddingBase, RankingBase, TextBase, embedding, ranking
from finetune.serving.protocol import MAX_LINE, Embedded, EmbedRequest

STEP_TEXTS = 64  # of a step
STEP_TOKENS = 8192  # of a step, padding counted, at most
STEP_SECONDS = 0.25  # of a step: between any two of it, every other base has one
LEAST_TOKENS = 256
_CHARACTERS = 6  # of a reply, for each number of a vector


Tokens = list[int] | Pair


@dataclass(eq=False)
class EmbeddingTicket:
    """`emit` is called from the model thread with all vectors or with one error; `cancelled` may be
    set from any thread."""

    request: EmbedRequest
    base: TextBase
    adapter: ReadAdapter | None
    texts: Sequence[Tokens]
    emit: Callable[[Embedded | Fault], None]
    cancelled: bool = False
    done: bool = False
    vectors: dict[int, Tensor] = field(default_factory=dict)  # by text

    @property
    def places(self) -> int:
        return places_of(len(self.texts))

    def deliver(self, number: int, vector: Tensor) -> None:
        if self.done:
            return
        if not bool(torch.isfinite(vector).all()):
            return self.fail(OurFault("generation_failed", "The model's vector is no number."))
        self.vectors[number] = vector
        if len(self.vectors) == len(self.texts):
            self.done = True
            written = [_written(self.vectors[n], self.request) for n in range(len(self.texts))]
            tokens = sum(map(len, self.texts))
            self.emit(Embedded(vectors=written, prompt_tokens=tokens))
        return None

    def fail(self, error: Fault) -> None:
        if not self.done:
            self.done = True
            self.emit(error)


def _written(vector: Tensor, request: EmbedRequest) -> str:
    if request.dimensions is not None and request.dimensions < len(vector):
        vector = torch.nn.functional.normalize(vector[: request.dimensions], dim=0)
    return base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode()


def places_of(texts: int) -> int:
    """In the queue, where an answer that is written takes one: by the steps that texts need."""
    return -(-texts // STEP_TEXTS)


class Queued:
    """Texts that wait, by tenant; `rows` may be read from any thread."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self._of: dict[str, deque[tuple[EmbeddingTicket, int]]] = {}

    def __bool__(self) -> bool:
        return bool(self._of)

    @property
    def places(self) -> Counter[str]:
        return Counter({tenant: places_of(texts) for tenant, texts in self.rows.copy().items()})

    def join(self, ticket: EmbeddingTicket) -> None:
        tenant = ticket.request.tenant
        self._of.setdefault(tenant, deque()).extend((ticket, n) for n in range(len(ticket.texts)))
        self.rows[tenant] += len(ticket.texts)

    def take(self, room: int = STEP_TOKENS) -> list[tuple[EmbeddingTicket, int]]:
        """What the next step does: one text of each tenant in turn, as long as there is room for
        its tokens; who came last in this step comes first in the next."""
        taken: list[tuple[EmbeddingTicket, int]] = []
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

    def tickets(self) -> list[EmbeddingTicket]:
        return list({ticket: None for queue in self._of.values() for ticket, _ in queue})


class EmbeddingLane:
    """One base's texts; see `Scheduler`."""

    def __init__(self, base: TextBase) -> None:
        self.base = base
        self.waiting = Queued()
        self.running: list[tuple[EmbeddingTicket, int]] = []
        self._room = LEAST_TOKENS

    @property
    def idle(self) -> bool:
        return not (self.waiting or self.running)

    def add(self, ticket: EmbeddingTicket) -> None:
        self.waiting.join(ticket)

    def step(self) -> None:
        self.running = self.waiting.take(self._room)
        if self.running:
            begun = time.perf_counter()
            # of equal lengths side by side little is padded, and each adapter's rows stand together
            texts = [ticket.texts[number] for ticket, number in self.running]
            adapters = [ticket.adapter for ticket, _ in self.running]
            vectors = self.base.model.embed(texts, adapters).float().cpu().clone()
            self._room = room_after(
                max(map(len, texts)) * len(texts), time.perf_counter() - begun, self._room
            )
            for (ticket, number), vector in zip(self.running, vectors, strict=True):
                ticket.deliver(number, vector)
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


def base_for(base: AnyBase, request: EmbedRequest) -> TextBase:
    """Raises UserFault where it is of another kind than is asked."""
    return embedding(base) if request.query is None else ranking(base)


def texts_of(base: TextBase, request: EmbedRequest) -> Sequence[Tokens]:
    """The inputs in tokens. Raises UserFault `invalid_value`, `context_length_exceeded`."""
    if isinstance(base, RankingBase):
        return [_pair(base, request, number) for number in range(len(request.inputs))]
    most = base.model.dimensions
    if request.dimensions is not None and request.dimensions > most:
        raise UserFault(
            "invalid_value",
            f"This model's vectors have {most} dimensions.",
            fix=f"Ask for at most {most}.",
            param="dimensions",
        )
    size = len(request.inputs) * min(request.dimensions or most, most) * _CHARACTERS
    if size > MAX_LINE:
        raise UserFault(
            "request_too_costly",
            "The vectors would be larger than one answer can be.",
            fix="Send fewer inputs in one request.",
            param="input",
        )
    return [_tokens(base, request, number) for number in range(len(request.inputs))]


def _pair(base: RankingBase, request: EmbedRequest, number: int) -> Pair:
    """What is longer than the base reads is cut, as in training."""
    document = request.inputs[number]
    if not isinstance(document, str) or request.query is None:
        raise UserFault("invalid_value", "A document is a text beside a query.", param="documents")
    ids, labels, _ = base.encoder.measured(request.query, document)
    return Pair(ids, labels.index(True))


def _tokens(base: EmbeddingBase, request: EmbedRequest, number: int) -> list[int]:
    given = request.inputs[number]
    where = f"input {number + 1} of {len(request.inputs)}"
    if not given:
        raise UserFault("invalid_value", f"`input` is empty ({where}).", param="input")
    if isinstance(given, str):
        ids, length = base.encoder.measured(given, request.side)
    else:
        ids, length = given, len(given)
        size = base.model.vocabulary_size
        if not all(0 <= token < size for token in ids):
            raise UserFault(
                "invalid_value",
                f"`input` names tokens outside 0 to {size - 1} ({where}).",
                fix="Name tokens of this model's own tokenizer, or send text.",
                param="input",
            )
    if length > base.context_length:
        raise UserFault(
            "context_length_exceeded",
            f"This model's maximum context length is {base.context_length} tokens, and the text "
            f"has {length} ({where}).",
            fix="Cut the text into parts, each with a vector of its own.",
            param="input",
        )
    return ids
