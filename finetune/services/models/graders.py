"""Runs one grader on one answer for a caller: judging models are asked as the caller's own, and a
customer's Python waits for its turn."""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, aclosing
from functools import partial
from typing import Any, NamedTuple, cast
from uuid import UUID

from faults import UserFault
from faults.nesting import NO_JSON
from finetune.grading import specs
from finetune.grading.conversations import Conversation
from finetune.grading.grade import (
    Graded,
    Judged,
    JudgeFailed,
    grade,
    judgement_schema,
)
from finetune.grading.judges import judges_in
from finetune.grading.python_grader import SECONDS, Ran, run_python
from finetune.services.models import gateway
from finetune.services.models.gateway import Still, Target
from finetune.work.isolation import isolation
from tenants.access import Principal
from tenants.roles import Scope

PYTHON_AT_ONCE = 2  # of all tenants, and one of each
LONGEST_JUDGEMENT = 512  # tokens
LOOK_SECONDS = 1.0  # between two looks at whether the caller's loop is still there

GRADERS_AT_ONCE = 16  # of all tenants, and so many of each:
OF_A_TENANT = 4


class GraderBusy(UserFault):
    status = 429
    retry_after = 2  # seconds


async def run_grader(
    *,
    spec: "specs.Grader",
    sample: dict[str, Any],
    item: Any,
    targets: dict[str, Target],
    by: Principal,
    still: Still,
) -> Graded:
    """Outside any scope. `sample`: the answer, as graders see it. `targets`: the judging models by
    name, resolved in the caller's scope.

    Raises Refused without the scope to ask models, GraderBusy (429), and what asking a model does.
    """
    by.require(Scope.INFER)
    hands = _Hands(asyncio.get_running_loop(), targets, by, still)
    work = partial(grade, spec, sample, item, hands)
    turns = [_GRADERS]
    if _has_python(spec):
        isolation()  # raises where no stranger's code can be run here
        turns.append(_PYTHONS)
    with ExitStack() as taken:
        for each in turns:
            each.take(by.tenant_id)
            taken.callback(each.give, by.tenant_id)
        running = _THREADS.submit(work)
        # Not when the caller leaves, nor by the caller's loop, which a worker ends with the work:
        # the thread and what it started are there until it ends itself
        ended = taken.pop_all().close
        running.add_done_callback(lambda _: ended())
    try:
        return await asyncio.shield(asyncio.wrap_future(running))
    finally:
        hands.gone = True


class Judge(NamedTuple):
    """A model that a grader asks: one that writes what it thinks, or a reward model (`scores`)."""

    model: str
    scores: bool


def judges_of(spec: "specs.Grader") -> set[Judge]:
    return {Judge(each.model, isinstance(each, specs.RewardModel)) for each in judges_in(spec)}


def targets_of(*judges: Iterable[Judge]) -> dict[str, Target]:
    """By name. In the open scope. Raises NotFound, Refused and UserFault for one that may not be
    asked, or is of the other kind."""
    asked = sorted(set().union(*judges))
    return {each.model: gateway.resolve(name=each.model, scores=each.scores) for each in asked}


def _has_python(spec: "specs.Grader") -> bool:
    return any(isinstance(each, specs.Python) for each in specs.parts_of(spec))


class Places:
    """Taken on the loops of several threads, and given back by the threads that did the work."""

    def __init__(self, total: int, each: int, said: str) -> None:
        self._total, self._each, self._said = total, each, said
        self._held: Counter[UUID] = Counter()
        self._lock = threading.Lock()

    def take(self, tenant_id: UUID) -> None:
        """Raises GraderBusy (429)."""
        with self._lock:
            if self._held[tenant_id] >= self._each or self._held.total() >= self._total:
                raise GraderBusy("too_many_graders", self._said, fix="Try again in a moment.")
            self._held[tenant_id] += 1

    def give(self, tenant_id: UUID) -> None:
        with self._lock:
            self._held[tenant_id] -= 1
            if not self._held[tenant_id]:
                del self._held[tenant_id]


_PYTHONS = Places(PYTHON_AT_ONCE, 1, "Another Python grader is running, of yours or of others.")
_GRADERS = Places(GRADERS_AT_ONCE, OF_A_TENANT, "Too many graders are running.")
# Threads of their own: one that waits for a judge keeps nobody's download waiting
_THREADS = ThreadPoolExecutor(GRADERS_AT_ONCE, thread_name_prefix="grader")


class _Hands:
    """Called in a thread; models are asked on the event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        targets: dict[str, Target],
        by: Principal,
        still: Still,
    ) -> None:
        self.loop, self._targets, self._by, self._still = loop, targets, by, still
        self._until = time.monotonic() + SECONDS  # for the code of all its parts together
        self.gone = False  # nobody waits for the result any more

    def judge(self, spec: specs.ScoreModel, messages: list[dict[str, str]]) -> Judged:
        return self._waited(self._judged(spec, messages))

    def reward(self, spec: specs.RewardModel, conversation: Conversation) -> Judged:
        return self._waited(self._scored(spec, conversation))

    def _waited(self, work: Coroutine[Any, Any, Judged]) -> Judged:
        if self.gone:
            work.close()
            raise JudgeFailed("The request was given up.")
        asked = asyncio.run_coroutine_threadsafe(work, self.loop)
        while not wait([asked], LOOK_SECONDS).done:
            if self.loop.is_closed():  # and will never answer
                raise JudgeFailed("The request was given up.")
        return asked.result()

    def python(self, source: str, sample: dict[str, Any], item: Any) -> Ran:
        left = self._until - time.monotonic()
        if self.gone or left <= 0:
            return Ran(error=f"The graders before it took all of the {SECONDS} seconds.")
        return run_python(source, sample, item, level=isolation(), seconds=left)

    async def _judged(self, spec: specs.ScoreModel, messages: list[dict[str, str]]) -> Judged:
        target, by = self._targets[spec.model], self._by
        generation = _generation(spec, messages)
        reserved = await gateway.reserve(target=target, generations=[generation], by=by)
        text, tokens = "", 0
        answers = gateway.generate(
            target=target, generation=generation, reserved=reserved, by=by, still=self._still
        )
        async with aclosing(answers) as deltas:
            async for delta in deltas:
                text += delta.text
                if delta.usage is not None:
                    tokens = delta.usage.prompt_tokens + delta.usage.completion_tokens
        return Judged(_score(text), tokens, spec.model)

    async def _scored(self, spec: specs.RewardModel, conversation: Conversation) -> Judged:
        found = await gateway.score(
            target=self._targets[spec.model],
            conversations=[conversation],
            by=self._by,
            still=self._still,
        )
        return Judged(found.scores[0], found.prompt_tokens, spec.model)


def _generation(spec: specs.ScoreModel, messages: list[dict[str, str]]) -> dict[str, Any]:
    sampling = spec.sampling_params
    return {
        "messages": messages,
        "max_tokens": sampling.max_completions_tokens or LONGEST_JUDGEMENT,
        "temperature": 0.0 if sampling.temperature is None else sampling.temperature,
        "top_p": 1.0 if sampling.top_p is None else sampling.top_p,
        "seed": sampling.seed,
        "form": {"json_schema": judgement_schema(spec), "place": "grader.range"},
    }


def _score(text: str) -> float:
    try:
        return float(cast(dict[str, Any], json.loads(text))["score"])
    except (*NO_JSON, KeyError, TypeError):
        raise JudgeFailed("The judging model's answer was cut off before its score.") from None
