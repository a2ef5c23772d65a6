"""What is asked to be ranked and what is answered, as Cohere, Jina and vLLM have it: OpenAI's API
has no such door."""

import base64
import json
import uuid
from array import array
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PositiveInt,
    field_validator,
    model_validator,
)

from faults import UserFault
from finetune.serving.protocol import MOST_INPUTS, Embedded

RERANK = "/v1/rerank"
# Where clients ask: Cohere's ClientV2; vLLM's by LiteLLM; Cohere's, given an address with /v1
ALIASES = dict.fromkeys(("/v2/rerank", "/rerank", "/v1/v2/rerank", "/v1/v1/rerank"), RERANK)
Document = dict[str, JsonValue]


class RerankRequest(BaseModel):
    """`top_n`: how many results there are at most; 0 for all, as vLLM has it. `rank_fields`: of an
    object, the fields that are read, in this order; its `text` if none are named. A document's
    first `max_tokens_per_doc` tokens are read; a pair longer than the model reads is cut, the
    longer of its texts first, or refused where `truncation` is false. A document is one chunk,
    which is within any `max_chunks_per_doc`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    query: Annotated[str, Field(min_length=1)]
    documents: Annotated[list[str | Document], Field(min_length=1, max_length=MOST_INPUTS)]
    top_n: int | None = Field(None, ge=0)
    return_documents: bool = False
    rank_fields: Annotated[list[str], Field(min_length=1, max_length=64)] | None = None
    max_tokens_per_doc: PositiveInt | None = None
    max_chunks_per_doc: PositiveInt | None = None
    truncation: bool = True
    priority: Literal[0] | None = None
    user: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        """Clients write out what they were not given."""
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value is not None}

    @field_validator("rank_fields")
    @classmethod
    def _once(cls, names: list[str] | None) -> list[str] | None:
        """Or a body of megabytes would be read as hundreds of them."""
        if names is not None and len(set(names)) < len(names):
            raise ValueError("names a field twice")
        return names

    def texts(self) -> list[str]:
        """What is read of each document. Raises UserFault for an object that has none of the
        fields."""
        return [
            each if isinstance(each, str) else self._read(each, number)
            for number, each in enumerate(self.documents)
        ]

    def _read(self, document: Document, number: int) -> str:
        names = self.rank_fields or ["text"]
        found = [document[name] for name in names if document.get(name) is not None]
        if not found:
            raise _unreadable(
                f"Document {number} has none of the fields {', '.join(names)[:200]}.", number
            )
        if any(isinstance(each, dict | list) for each in found):
            raise _unreadable(f"A field of document {number} is no text.", number)
        return "\n".join(each if isinstance(each, str) else json.dumps(each) for each in found)


def _unreadable(message: str, number: int) -> UserFault:
    return UserFault(
        "invalid_value",
        message,
        fix="Give each document as a text, as an object with a `text`, or name the fields to read "
        "in `rank_fields`.",
        param=f"documents.{number}",
    )


def body_of(asked: RerankRequest, found: Embedded) -> bytes:
    """The answer as JSON: the highest score first; of equal ones, what was named first."""
    scores = [array("f", base64.b64decode(written))[0] for written in found.vectors]
    order = sorted(range(len(scores)), key=lambda number: -scores[number])
    results = [
        {"index": number, "relevance_score": scores[number]} | _given(asked, number)
        for number in order[: asked.top_n or None]
    ]
    tokens = found.prompt_tokens
    told = {
        "id": f"rerank-{uuid.uuid4().hex}",
        "object": "list",
        "model": asked.model,
        "results": results,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "meta": {"tokens": {"input_tokens": tokens, "output_tokens": 0}},  # Cohere's place for it
    }
    return json.dumps(told, ensure_ascii=False).encode()


def _given(asked: RerankRequest, number: int) -> dict[str, Any]:
    if not asked.return_documents:
        return {}
    document = asked.documents[number]
    return {"document": {"text": document} if isinstance(document, str) else document}
