"""Runs one grader on one answer for a caller: judging models are asked as the caller's own, and a
customer's Python waits for its turn."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any, cast
from uuid import UUID

from faults import UserFault
from faults.nesting import NO_JSON
from finetune.grading import specs
from finetune.grading.grade import (
    Graded,
    Judged,
    JudgeFailed,
    grade,
    judgement_schema,
    sample_of,
)
from finetune.grading.python_grader import Ran, run_python
from finetune.services.models import gateway
from finetune.services.models.gateway import Still, Target
from finetune.work.isolation import isolation
from tenants.access import Principal
from tenants.roles import Scope

PYTHON_AT_ONCE = 2  # of all tenants, and one of each
LONGEST_JUDGEMENT = 512  # tokens

_running: Counter[UUID] = Counter()


class GraderBusy(UserFault):
    status = 429
    retry_after = 2  # seconds


async def run_grader(
    *,
    spec: "specs.Grader",
    sample: str,
    item: Any,
    targets: dict[str, Target],
    by: Principal,
    still: Still,
) -> Graded:
    """Outside any scope. `targets`: the judging models by name, resolved in the caller's scope.

    Raises Refused without the scope to ask models, GraderBusy (429), and what asking a model does.
    """
    by.require(Scope.INFER)
    hands = _Hands(asyncio.get_running_loop(), targets, by, still)
    work = partial(grade, spec, sample_of(sample), item, hands)
    if not _has_python(spec):
        return await asyncio.to_thread(work)
    isolation()  # raises where no stranger's code can be run here
    with _turn(by.tenant_id):
        return await asyncio.to_thread(work)


def judges_of(spec: "specs.Grader") -> set[str]:
    """Names of the models that it asks."""
    return {each.model for each in _parts(spec) if isinstance(each, specs.ScoreModel)}


def _parts(spec: "specs.Grader") -> list[Any]:
    return list(spec.graders.values()) if isinstance(spec, specs.Multi) else [spec]


def _has_python(spec: "specs.Grader") -> bool:
    return any(isinstance(each, specs.Python) for each in _parts(spec))


@contextmanager
def _turn(tenant_id: UUID) -> Iterator[None]:
    """On the event loop alone, so that nothing comes between looking and taking."""
    if _running[tenant_id] or _running.total() >= PYTHON_AT_ONCE:
        raise GraderBusy(
            "too_many_graders",
            "Another Python grader is running, of yours or of others.",
            fix="Try again in a moment.",
        )
    _running[tenant_id] += 1
    try:
        yield
    finally:
        del _running[tenant_id]


class _Hands:
    """Called in a thread; models are asked on the event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        targets: dict[str, Target],
        by: Principal,
        still: Still,
    ) -> None:
        self._loop, self._targets, self._by, self._still = loop, targets, by, still

    def judge(self, spec: specs.ScoreModel, messages: list[dict[str, str]]) -> Judged:
        asked = asyncio.run_coroutine_threadsafe(self._judged(spec, messages), self._loop)
        return asked.result()

    def python(self, source: str, sample: dict[str, Any], item: Any) -> Ran:
        return run_python(source, sample, item, level=isolation())

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
