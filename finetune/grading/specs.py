"""What a grader is asked to do, in OpenAI's shapes, checked as far as it can be without an answer.

https://platform.openai.com/docs/guides/graders
"""

import math
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    field_validator,
    model_validator,
)

from faults.unseen import unseen
from finetune.grading import formula
from finetune.grading.places import require_places
from finetune.grading.python_source import require_python

LONGEST_SOURCE = 256 * 1024  # bytes, as OpenAI's
MOST_GRADERS = 16  # of a multi grader
RAW_LIMIT = 10.0  # of a reward model's raw scores, where none is named

Metric = Literal[
    "fuzzy_match", "bleu", "gleu", "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l"
]  # fmt: skip
NOT_OFFERED = {
    "cosine": "needs a model that makes embeddings, and no grader asks one",
    "meteor": "needs WordNet, which is not here",
}


def _visible(name: str) -> str:
    if hidden := unseen(name):
        raise ValueError(f"a name is of visible characters, without {hidden}")
    return name


Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_visible)]
Template = Annotated[str, Field(max_length=1 << 20)]


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name


class StringCheck(_Spec):
    """1 or 0. `like`: the reference stands somewhere in the input; `ilike`: whatever its case."""

    type: Literal["string_check"]
    input: Template
    reference: Template
    operation: Literal["eq", "ne", "like", "ilike"]

    _places = field_validator("input", "reference")(require_places)


class JsonEqual(_Spec):
    """1 where both texts are JSON of the same value, whatever their spaces and the order of keys.
    Not one of OpenAI's."""

    type: Literal["json_equal"]
    input: Template
    reference: Template

    _places = field_validator("input", "reference")(require_places)


class TextSimilarity(_Spec):
    """0 to 1, by `finetune.grading.similarity`."""

    type: Literal["text_similarity"]
    input: Template
    reference: Template
    evaluation_metric: Metric

    _places = field_validator("input", "reference")(require_places)

    @field_validator("evaluation_metric", mode="before")
    @classmethod
    def _offered(cls, metric: Any) -> Any:
        if isinstance(metric, str) and (why := NOT_OFFERED.get(metric)):
            raise ValueError(f"{metric} {why}")
        return metric


class Python(_Spec):
    """`source` defines `grade(sample, item)`, which returns a number. Runs in a sandbox, without a
    network, for a limited time. `image_tag` is taken and means nothing: there is one image."""

    type: Literal["python"]
    source: str
    image_tag: str | None = None

    @field_validator("source")
    @classmethod
    def _defines_grade(cls, source: str) -> str:
        if len(source.encode()) > LONGEST_SOURCE:
            raise ValueError(f"source has more than {LONGEST_SOURCE >> 10} kB")
        require_python(source)
        if "def grade(" not in source:
            raise ValueError("source defines no function grade(sample, item)")
        return source


class Text(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["input_text", "output_text"]
    text: Template


class Question(BaseModel):
    """A message to the judging model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Template | Text | list[Template | Text]

    @property
    def text(self) -> str:
        parts = self.content if isinstance(self.content, list) else [self.content]
        return "".join(each.text if isinstance(each, Text) else each for each in parts)

    @model_validator(mode="after")
    def _places(self) -> "Question":
        require_places(self.text)
        return self


class Sampling(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    max_completions_tokens: Annotated[int, Field(ge=1, le=4096)] | None = None
    seed: int | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None


class ScoreModel(_Spec):
    """A model gives the score, within `range`."""

    type: Literal["score_model"]
    model: Annotated[str, Field(min_length=1, max_length=256)]
    input: Annotated[list[Question], Field(min_length=1, max_length=64)]
    range: tuple[float, float] = (0.0, 1.0)
    sampling_params: Sampling = Sampling()

    @field_validator("range")
    @classmethod
    def _rises(cls, pair: tuple[float, float]) -> tuple[float, float]:
        low, high = pair
        if not -1e6 <= low < high <= 1e6:
            raise ValueError("range is two numbers, the first below the second, within 1e6")
        return pair


class RewardModel(_Spec):
    """A reward model scores the conversation: `input`, of which the last message is the
    assistant's, or without it what was asked and the answer. Not one of OpenAI's.

    A raw score has no bounds and means something beside others of its model alone. `scale`
    `sigmoid`: by the logistic function of its distance from `offset`, 0 to 1, so that the
    difference of two raw scores is the logit of a preference as in training; `none`: that distance
    itself, cut off at `limit` on both sides.
    """

    type: Literal["reward_model"]
    model: Annotated[str, Field(min_length=1, max_length=256)]
    input: Annotated[list[Question], Field(min_length=1, max_length=64)] | None = None
    scale: Literal["sigmoid", "none"] = "sigmoid"
    offset: Annotated[float, Field(ge=-1e6, le=1e6)] = 0.0
    limit: Annotated[float, Field(gt=0, le=1e6)] | None = None

    @field_validator("input")
    @classmethod
    def _answered(cls, messages: list[Question] | None) -> list[Question] | None:
        if messages and messages[-1].role != "assistant":
            raise ValueError("the last message of input is the assistant's, which is scored")
        return messages

    @model_validator(mode="after")
    def _bounds(self) -> "RewardModel":
        if self.limit is not None and self.scale != "none":
            raise ValueError("limit goes with the scale none; a sigmoid's scores are 0 to 1")
        return self

    @property
    def range(self) -> tuple[float, float]:
        if self.scale == "sigmoid":
            return 0.0, 1.0
        limit = RAW_LIMIT if self.limit is None else self.limit
        return -limit, limit

    def scaled(self, raw: float) -> float:
        far = raw - self.offset
        if self.scale == "sigmoid":
            small = math.exp(-abs(far))  # so that nothing overflows, however far
            return (1.0 if far >= 0 else small) / (1 + small)
        low, high = self.range
        return min(max(far, low), high)


Asking = ScoreModel | RewardModel
"""Parts that ask a model."""

Single = Annotated[
    StringCheck | JsonEqual | TextSimilarity | Python | ScoreModel | RewardModel,
    Field(discriminator="type"),
]


class Multi(_Spec):
    """Several graders by name, and a formula of their scores."""

    type: Literal["multi"]
    graders: Annotated[dict[str, Single], Field(min_length=1, max_length=MOST_GRADERS)]
    calculate_output: Annotated[str, Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _formula(self) -> "Multi":
        if bad := [name for name in self.graders if not name.isidentifier()]:
            raise ValueError(f"graders.{bad[0][:64]} is no name that a formula can use")
        formula.parse(self.calculate_output, frozenset(self.graders))
        return self


Grader = Annotated[
    StringCheck | JsonEqual | TextSimilarity | Python | ScoreModel | RewardModel | Multi,
    Field(discriminator="type"),
]
GRADER: TypeAdapter[Grader] = TypeAdapter(Grader)


def parts_of(grader: Grader) -> list[Single]:
    """Of one that has several; any other is its only part."""
    return list(grader.graders.values()) if isinstance(grader, Multi) else [grader]
