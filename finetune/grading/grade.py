"""One answer through one grader: a score, and where there is none, why."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from json import dumps
from typing import Any, Protocol

from faults.nesting import NO_JSON, loads
from finetune.grading import formula, specs
from finetune.grading.conversations import Conversation, conversation
from finetune.grading.places import NoSuchPlace, TooLong, fill, fill_all
from finetune.grading.python_grader import Ran

# What a judging model has to write: its grounds first, as it cannot change its mind afterwards.
LONGEST_GROUNDS = 600


class JudgeFailed(Exception):
    """The judging model gave no score; the message says why."""


@dataclass(frozen=True)
class Judged:
    score: float
    tokens: int
    model: str


class Hands(Protocol):
    """What grading needs of the world around it."""

    def judge(self, spec: specs.ScoreModel, messages: list[dict[str, str]]) -> Judged:
        """Raises JudgeFailed."""
        ...

    def reward(self, spec: specs.RewardModel, conversation: Conversation) -> Judged:
        """A raw score. Raises JudgeFailed."""
        ...

    def python(self, source: str, sample: dict[str, Any], item: Any) -> Ran: ...


@dataclass
class Errors:
    """Which kinds of failure occurred, as OpenAI names them, and what the last said."""

    kinds: set[str] = field(default_factory=set)
    details: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, detail: str) -> None:
        self.kinds.add(kind)
        self.details[kind] = detail


@dataclass
class Graded:
    """`reward` is 0 where it could not be had; `scores` are those of a multi grader's parts."""

    reward: float
    seconds: float
    errors: Errors
    scores: dict[str, float]
    tokens: dict[str, int]  # that judging models took, by model


def sample_of(text: str) -> dict[str, Any]:
    """The `sample` of an answer: its text, and its value where it is JSON."""
    sample: dict[str, Any] = {"output_text": text, "choices": [{"message": {"content": text}}]}
    with suppress(*NO_JSON):
        sample["output_json"] = loads(text)
    return sample


def grade(spec: "specs.Grader", sample: dict[str, Any], item: Any, hands: Hands) -> Graded:
    """Never raises for what the grader or the answer is: `errors` tells it."""
    begun = time.perf_counter()
    work = _Work(sample, item, hands)
    reward = work.multi(spec) if isinstance(spec, specs.Multi) else work.single(spec)
    seconds = time.perf_counter() - begun
    return Graded(reward or 0.0, seconds, work.errors, work.scores, work.tokens)


class _Work:
    def __init__(self, sample: dict[str, Any], item: Any, hands: Hands) -> None:
        self._sample, self._item, self._hands = sample, item, hands
        self._spaces: Mapping[str, Any] = {"sample": sample, "item": item}
        self.errors = Errors()
        self.scores: dict[str, float] = {}
        self.tokens: dict[str, int] = {}

    def multi(self, spec: specs.Multi) -> float | None:
        for name, part in spec.graders.items():
            self.scores[name] = self.single(part) or 0.0
        try:
            return formula.evaluate(spec.calculate_output, self.scores)
        except ValueError as error:
            self.errors.add("formula_parse_error", str(error))
            return None

    def single(self, spec: Any) -> float | None:
        try:
            return self._by_kind()[spec.type](spec)
        except NoSuchPlace as error:
            self.errors.add("invalid_variable_error", f"There is no {error}.")
        except TooLong as error:
            self.errors.add("other_error", str(error))
        except JudgeFailed as error:
            self.errors.add("model_grader_parse_error", str(error))
        return None

    def _by_kind(self) -> dict[str, Callable[[Any], float | None]]:
        return {
            "string_check": self._string_check,
            "json_equal": self._json_equal,
            "text_similarity": self._similarity,
            "python": self._python,
            "score_model": self._judged,
            "reward_model": self._scored,
        }

    def _string_check(self, spec: specs.StringCheck) -> float:
        text, reference = fill(spec.input, self._spaces), fill(spec.reference, self._spaces)
        return float(
            {
                "eq": text == reference,
                "ne": text != reference,
                "like": reference in text,
                "ilike": reference.casefold() in text.casefold(),
            }[spec.operation]
        )

    def _json_equal(self, spec: specs.JsonEqual) -> float:
        try:
            text, reference = (
                loads(fill(each, self._spaces)) for each in (spec.input, spec.reference)
            )
        except NO_JSON:
            return 0.0
        return float(dumps(text, sort_keys=True) == dumps(reference, sort_keys=True))

    def _similarity(self, spec: specs.TextSimilarity) -> float | None:
        from finetune.grading import similarity  # brings libraries that few requests need

        text, reference = fill(spec.input, self._spaces), fill(spec.reference, self._spaces)
        most = similarity.longest(spec.evaluation_metric)
        if max(len(text), len(reference)) > most:
            self.errors.add("other_error", f"A text has more than {most} characters.")
            return None
        return similarity.METRICS[spec.evaluation_metric](text, reference)

    def _python(self, spec: specs.Python) -> float | None:
        ran = self._hands.python(spec.source, self._sample, self._item)
        if ran.error is None:
            return ran.score
        kind = "python_grader_server_error" if ran.ours else "python_grader_runtime_error"
        self.errors.add(kind, ran.error)
        return None

    def _judged(self, spec: specs.ScoreModel) -> float:
        texts = fill_all([each.text for each in spec.input], self._spaces)
        messages = [
            {"role": each.role, "content": text}
            for each, text in zip(spec.input, texts, strict=True)
        ]
        judged = self._hands.judge(spec, messages)
        self.tokens[judged.model] = self.tokens.get(judged.model, 0) + judged.tokens
        low, high = spec.range
        return min(max(judged.score, low), high)

    def _scored(self, spec: specs.RewardModel) -> float:
        judged = self._hands.reward(spec, conversation(spec, self._sample, self._item))
        self.tokens[judged.model] = self.tokens.get(judged.model, 0) + judged.tokens
        return spec.scaled(judged.score)


def judgement_schema(spec: specs.ScoreModel) -> dict[str, Any]:
    """What a judging model's answer is held to."""
    low, high = spec.range
    return {
        "type": "object",
        "properties": {
            "grounds": {"type": "string", "maxLength": LONGEST_GROUNDS},
            "score": {"type": "number", "minimum": low, "maximum": high},
        },
        "required": ["grounds", "score"],
        "additionalProperties": False,
    }
