"""What is asked for vectors and what is answered, in OpenAI's shapes."""

import base64
import json
from array import array
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from faults import UserFault
from finetune.records.recipe import Side
from finetune.serving.protocol import MOST_INPUTS, Embedded

SIDES: dict[str | None, Side] = {None: "text", "query": "query", "document": "document"}


class EmbeddingRequest(BaseModel):
    """OpenAI's, and `input_type`: what the inputs are, by which the base puts its prompt before
    them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    user: str | None = None
    input_type: Literal["query", "document"] | None = None

    def inputs(self) -> list[str | list[int]]:
        """Raises UserFault for none or too many."""
        given: list[Any] = self.input if isinstance(self.input, list) else [self.input]
        if given and all(isinstance(each, int) for each in given):
            given = [given]
        if not 1 <= len(given) <= MOST_INPUTS or not all(given):
            raise UserFault(
                "invalid_value",
                f"`input` must be 1 to {MOST_INPUTS} texts or lists of token ids, none empty.",
                param="input",
            )
        return given


def body_of(asked: EmbeddingRequest, found: Embedded) -> bytes:
    """The answer as JSON."""
    vectors = []
    for index, written in enumerate(found.vectors):
        shown = written if asked.encoding_format == "base64" else _numbers(written)
        vectors.append(
            json.dumps({"object": "embedding", "index": index, "embedding": shown}).encode()
        )
    usage = {"prompt_tokens": found.prompt_tokens, "total_tokens": found.prompt_tokens}
    rest = json.dumps({"model": asked.model, "usage": usage}, ensure_ascii=False).encode()
    return b'{"object": "list", "data": [' + b", ".join(vectors) + b"], " + rest[1:]


def _numbers(written: str) -> list[float]:
    return array("f", base64.b64decode(written)).tolist()
