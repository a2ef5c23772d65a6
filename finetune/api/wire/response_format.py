"""A chat's `response_format`: text, any JSON object, or JSON that a schema accepts."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

PLACE = "response_format.json_schema.schema"


class NamedSchema(BaseModel):
    """The schema is kept to, whether `strict` or not; without one it is any JSON object."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    json_schema: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormat(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("`json_schema` goes with the type `json_schema`, and only with it")
        return self

    def form(self) -> dict[str, Any] | None:
        """As the serving process wants it; None for text."""
        if self.json_schema is not None and self.json_schema.json_schema is not None:
            return {"json_schema": self.json_schema.json_schema, "place": PLACE}
        if self.type != "text":
            return {"json_schema": {"type": "object"}, "place": "response_format"}
        return None
