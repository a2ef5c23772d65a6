"""Asks the sides of an evaluation its questions and grades what they answer: a few questions at
once, each in the tenant's own turn at the model server, like any request of its."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from statistics import fmean as mean
from typing import Any

from faults import UserFault
from finetune.grading import criteria as held
from finetune.grading import specs
from finetune.grading.grade import sample_of
from finetune.grading.questions import Message, Question
from finetune.services.evaluations.request import Sampling, Side
from finetune.services.models import gateway
from finetune.services.models.gateway import Still, Target
from finetune.services.models.graders import run_grader
from finetune.services.models.patience import of_the_row, patiently
from tenants.access import Principal

AT_ONCE = 4  # questions; the tenant's own chats must still find a place
LONGEST_ERROR = 500  # characters: a grader's own words stand beside every answer, in memory too


@dataclass(frozen=True)
class Asked:
    """A model in the way that it is asked: `examples` are turns of the training data."""

    side: Side
    target: Target
    examples: tuple[list[Message], ...] = ()


class Asker:
    def __init__(
        self,
        *,
        sides: Sequence[Asked],
        criteria: Sequence[Any],
        judges: Mapping[str, Target],
        sampling: Sampling,
        samples: int = 1,
        by: Principal,
        still: Still,
    ) -> None:
        """`still` raises when the work is no longer wanted. `samples`: answers to a question."""
        self._sides, self._criteria, self._judges = sides, criteria, dict(judges)
        self._sampling, self._by, self._still = sampling, by, still
        self._samples = samples

    async def items(self, questions: Sequence[Question]) -> list[dict[str, Any]]:
        """What was asked and answered, in the questions' order. Raises what is not the row's fault:
        Refused, NotFound, OurFault, and what `still` does."""
        places, self._python = asyncio.Semaphore(AT_ONCE), asyncio.Lock()

        async def one(question: Question) -> dict[str, Any]:
            async with places:
                return await self._item(question)

        tasks = [asyncio.ensure_future(one(question)) for question in questions]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _item(self, question: Question) -> dict[str, Any]:
        return {
            "row": question.number,
            "tags": list(question.tags),
            "item": question.item,
            "input": question.messages,
            "sides": {each.side: await self._answered(each, question) for each in self._sides},
        }

    async def _answered(self, asked: Asked, question: Question) -> dict[str, Any]:
        told: dict[str, Any] = {"model": asked.target.model, "answer": None, "error": None}
        try:
            answers, rest = await self._answer(asked, question)
        except UserFault as fault:
            if not of_the_row(fault):
                raise
            told["error"] = {"code": fault.code, "message": fault.message}
            return told | {"results": [], "score": 0.0, "passed": False, "errored": True}
        samples = [each | await self._held(each["answer"], question) for each in answers]
        return told | rest | (samples[0] if self._samples == 1 else together(samples))

    async def _held(self, answer: str, question: Question) -> dict[str, Any]:
        """To the criteria."""
        results = [await self._graded(each, answer, question) for each in self._criteria]
        return {
            "results": results,
            "score": sum(each.pop("share") for each in results) / len(results),
            "passed": all(each["passed"] for each in results),
            "errored": any(each["errors"] for each in results),
        }

    async def _answer(
        self, asked: Asked, question: Question
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """(answers, what is told of all of them). With as many of the examples as the model's
        context has room for; none where a hole is filled in."""
        examples = asked.examples if question.suffix is None else ()
        while True:
            generated = partial(self._generated, asked, examples, question)
            try:
                answers, told = await patiently(generated, self._still)
            except UserFault as fault:
                if fault.code != "context_length_exceeded" or not examples:
                    raise
                examples = examples[: len(examples) // 2]
            else:
                return answers, told | ({"examples": len(examples)} if asked.examples else {})

    async def _generated(
        self, asked: Asked, examples: Sequence[list[Message]], question: Question
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        generation = self._sampling.model_dump() | {"n": self._samples}
        if question.suffix is not None:
            prompt = question.messages[0]["content"]
            generation |= {"prompt": prompt, "suffix": question.suffix}
        else:
            generation["messages"] = shown(examples, question.messages)
        reserved = await gateway.reserve(
            target=asked.target, generations=[generation], by=self._by, still=self._still
        )
        answers = gateway.generate(
            target=asked.target,
            generation=generation,
            reserved=reserved,
            by=self._by,
            still=self._still,
        )
        found = [{"answer": "", "finish_reason": "stop"} for _ in range(self._samples)]
        usage: dict[str, int] = {}
        async with aclosing(answers) as deltas:
            async for delta in deltas:
                one = found[delta.index]
                one["answer"] += delta.text
                one["finish_reason"] = delta.finish_reason or one["finish_reason"]
                if delta.usage is not None:
                    usage = delta.usage.model_dump(exclude_none=True)
        return found, {"usage": usage}

    async def _graded(self, criterion: Any, answer: str, question: Question) -> dict[str, Any]:
        asked = {"input": question.messages} if _scores(criterion) else {}

        def grade() -> Awaitable[Any]:
            return run_grader(
                spec=criterion,
                sample=sample_of(answer) | asked,
                item=question.item,
                targets=self._judges,
                by=self._by,
                still=self._still,
            )

        told = {"name": criterion.name, "type": criterion.type}
        nothing = {"score": 0.0, "share": 0.0, "passed": False, "tokens": {}}
        try:
            if _runs_code(criterion):
                async with self._python:  # a tenant's code runs one at a time
                    graded = await patiently(grade, self._still)
            else:
                graded = await patiently(grade, self._still)
        except UserFault as fault:  # of a judging model, which is asked by the row's own words
            if not of_the_row(fault):
                raise
            return told | nothing | {"errors": {fault.code: fault.message}}
        if abs(graded.reward) > held.LARGEST_SCORE:
            graded.errors.add("other_error", f"The score is beyond {held.LARGEST_SCORE:,.0f}.")
        if graded.errors.kinds:
            errors = {kind: said[:LONGEST_ERROR] for kind, said in graded.errors.details.items()}
            return told | nothing | {"errors": errors, "tokens": graded.tokens}
        return told | {
            "score": graded.reward,
            "share": held.share(criterion, graded.reward),
            "passed": held.passes(criterion, graded.reward),
            "errors": {},
            "tokens": graded.tokens,
        }


def together(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Several answers to one question: the first is shown, scores are their mean, and it is passed
    where all of them pass."""
    first = samples[0]
    results = [
        first["results"][at]
        | {
            "score": mean([each["results"][at]["score"] for each in samples]),
            "passed": all(each["results"][at]["passed"] for each in samples),
        }
        for at in range(len(first["results"]))
    ]
    return first | {
        "results": results,
        "score": mean([each["score"] for each in samples]),
        "passed": all(each["passed"] for each in samples),
        "errored": any(each["errored"] for each in samples),
        "samples": samples,
    }


def shown(examples: Sequence[list[Message]], messages: Sequence[Message]) -> list[Message]:
    """The examples' turns stand after the question's own system message."""
    opening = [each for each in messages[:1] if each["role"] in ("system", "developer")]
    turns = [turn for example in examples for turn in example]
    return [*opening, *turns, *messages[len(opening) :]]


def _scores(criterion: Any) -> bool:
    return any(isinstance(part, specs.RewardModel) for part in specs.parts_of(criterion))


def _runs_code(criterion: Any) -> bool:
    return any(isinstance(part, specs.Python) for part in specs.parts_of(criterion))
