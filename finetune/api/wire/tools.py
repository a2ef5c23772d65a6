"""The tools of a chat as OpenAI's clients send them."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, model_validator

MAX_TOOLS = 128  # as in OpenAI's API

# Wider than OpenAI's letters, digits, `_` and `-`: tuned models know `light.turn_on` and 开灯
NAME = r"^[\w.:/-]{1,64}$"


class Function(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(pattern=NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(BaseModel):
    """Checked by its fields; the model is shown it as it was `given`, as it was in training: the
    order of keys is part of the prompt."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["function"]
    function: Function
    _given: dict[str, Any]

    @model_validator(mode="wrap")
    @classmethod
    def _keep(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        tool = handler(value)
        tool._given = value
        return tool

    @property
    def given(self) -> dict[str, Any]:
        return self._given


class _Named(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str


class NamedTool(BaseModel):
    """The tool that has to be called."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["function"]
    function: _Named


class _Allowed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    mode: Literal["auto", "required"]
    tools: list[NamedTool] = Field(min_length=1, max_length=MAX_TOOLS)


class AllowedTools(BaseModel):
    """The tools that may be called; the model is shown the others all the same."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["allowed_tools"]
    allowed_tools: _Allowed

    @property
    def names(self) -> list[str]:
        return [tool.function.name for tool in self.allowed_tools.tools]


ToolChoice = Literal["none", "auto", "required"] | NamedTool | AllowedTools | None
