"""What somebody asks for when they ask for an evaluation, whichever face it came by."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from finetune.grading.gate import Gate
from finetune.grading.places import require_places

LONGEST_ANSWER = 4096  # tokens
MOST_EXAMPLES = 16
MOST_SAMPLES = 32

Side = Literal["base", "base_with_examples", "model"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sampling(_Part):
    """Greedy unless asked otherwise, so that the same question has the same answer."""

    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=LONGEST_ANSWER)] = 256
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class TemplateMessage(_Part):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, Field(max_length=1 << 16)]

    @model_validator(mode="after")
    def _places(self) -> "TemplateMessage":
        require_places(self.content)
        return self


Template = Annotated[list[TemplateMessage], Field(min_length=1, max_length=64)]
Reference = Annotated[str, Field(pattern=r"^item(\.\w+)+$", max_length=256)]


class EvaluationRequest(_Part):
    """`model`: a name, or the id of a job whose result is meant, once it has ended. `beside`: the
    base as well, and the base with `examples` rows of the training data in its prompt, where the
    model is a tuned one. `samples`: answers to each question. `template`: None, the rows' own
    messages. `gate`: what the model has to reach before it is given out."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    template: Template | Reference | None = None
    sampling: Sampling = Sampling()
    beside: bool = False
    examples: Annotated[int, Field(ge=0, le=MOST_EXAMPLES)] = 0
    samples: Annotated[int, Field(ge=1, le=MOST_SAMPLES)] = 1
    gate: Gate | None = None
    name: Annotated[str, Field(max_length=200)] = ""
    metadata: dict[str, str] = {}

    @property
    def messages(self) -> list[dict[str, str]] | str | None:
        if self.template is None or isinstance(self.template, str):
            return self.template
        return [each.model_dump() for each in self.template]


def digest_of(*, sha256: str, criteria: Any, request: EvaluationRequest) -> str:
    """Of all that two evaluations must share for their scores to be compared row by row."""
    asked = {
        "rows": sha256,
        "criteria": criteria,
        "messages": request.messages,
        "max_tokens": request.sampling.max_tokens,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
