"""What an evaluation holds an answer to: a grader and the score from which an answer passes."""

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from finetune.grading import specs

LARGEST_SCORE = 1e6  # as of a judge's range: means of larger ones may have no finite value
Threshold = Annotated[float, Field(ge=-LARGEST_SCORE, le=LARGEST_SCORE)]


class Similarity(specs.TextSimilarity):
    pass_threshold: Threshold = 0.5


class Python(specs.Python):
    pass_threshold: Threshold = 0.5


class ScoreModel(specs.ScoreModel):
    pass_threshold: Threshold | None = None  # the middle of its range


class RewardModel(specs.RewardModel):
    pass_threshold: Threshold | None = None  # the middle of its range


class Multi(specs.Multi):
    pass_threshold: Threshold = 0.5


Criterion = Annotated[
    specs.StringCheck | specs.JsonEqual | Similarity | Python | ScoreModel | RewardModel | Multi,
    Field(discriminator="type"),
]
CRITERIA: TypeAdapter[list[Any]] = TypeAdapter(Annotated[list[Criterion], Field(min_length=1)])

EXACT = specs.StringCheck(
    name="exact",
    type="string_check",
    input="{{ sample.output_text }}",
    reference="{{ item.reference }}",
    operation="eq",
)
# Runs what was answered, and then the row's own tests. An endless answer is a wrong one
_TESTS = """
import re
import signal

SECONDS = 10


def program(text, item):
    if isinstance(item.get("suffix"), str):
        return item.get("prompt", "") + text + item["suffix"]
    fenced = re.findall(r"```[^\\n]*\\n(.*?)```", text, re.DOTALL)
    return "\\n".join(fenced) if fenced else text


def too_long(*_):
    raise TimeoutError


def grade(sample, item):
    tests = compile(item["tests"], "tests.py", "exec")
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    space = {"__name__": "answer"}
    try:
        exec(compile(program(sample["output_text"], item), "answer.py", "exec"), space)
        exec(tests, space)
    except BaseException:
        return 0.0
    finally:
        signal.alarm(0)
    return 1.0
"""

_PLACES = {"input": EXACT.input, "reference": EXACT.reference}
# What most people ask for, by a short name, as criteria in JSON.
NAMED: dict[str, dict[str, Any]] = {
    "exact": EXACT.model_dump(mode="json"),
    "contains": _PLACES | {"name": "contains", "type": "string_check", "operation": "ilike"},
    "json": _PLACES | {"name": "json", "type": "json_equal"},
    "similar": _PLACES
    | {"name": "similar", "type": "text_similarity", "evaluation_metric": "rouge_l"},
    "edits": _PLACES
    | {"name": "edits", "type": "text_similarity", "evaluation_metric": "fuzzy_match"},
    "tests": {"name": "tests", "type": "python", "source": _TESTS},
}


def rewarding(model: str) -> dict[str, Any]:
    """A reward model's score of the whole conversation, as a criterion or a reward, in JSON."""
    return {"type": "reward_model", "name": "reward", "model": model}


def judging(model: str, question: str) -> dict[str, Any]:
    """What a model that writes says of an answer, 0 to 1, as a reward in JSON."""
    asked = [{"role": "user", "content": question}]
    return {"type": "score_model", "name": "judge", "model": model, "input": asked}


def passes(criterion: Any, score: float) -> bool:
    threshold = getattr(criterion, "pass_threshold", 1.0)
    if threshold is None:
        low, high = criterion.range
        threshold = (low + high) / 2
    return bool(score >= threshold)


def share(criterion: Any, score: float) -> float:
    """The score from 0 to 1, so that those of several criteria can be averaged."""
    low, high = getattr(criterion, "range", (0.0, 1.0))
    return min(1.0, max(0.0, (score - low) / (high - low)))


def shown(criterion: Any) -> dict[str, Any]:
    told: dict[str, Any] = criterion.model_dump(mode="json", exclude_none=True)
    return told
