"""What a grader is asked to do, in OpenAI's shapes, checked as far as it can be without an answer.

https://platform.openai.com/docs/guides/graders
"""

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

Metric = Literal[
    "fuzzy_match", "bleu", "gleu", "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l"
]  # fmt: skip
NOT_OFFERED = {
    "cosine": "needs a model that makes embeddings, which there is none of here yet",
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


Single = Annotated[
    StringCheck | JsonEqual | TextSimilarity | Python | ScoreModel, Field(discriminator="type")
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
    StringCheck | JsonEqual | TextSimilarity | Python | ScoreModel | Multi,
    Field(discriminator="type"),
]
GRADER: TypeAdapter[Grader] = TypeAdapter(Grader)


def parts_of(grader: Grader) -> list[Single]:
    """Of one that has several; any other is its only part."""
    return list(grader.graders.values()) if isinstance(grader, Multi) else [grader]
