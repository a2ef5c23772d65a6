"""The messages of a chat as OpenAI's clients send them: what each may hold, and its plain text."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from faults import UserFault


class CalledFunction(BaseModel):
    """`arguments`: JSON in a string, as OpenAI sends them, or the object itself."""

    model_config = ConfigDict(strict=True)

    name: str = Field(min_length=1)
    arguments: Any = None


class Call(BaseModel):
    """A call that an assistant's message made."""

    model_config = ConfigDict(strict=True)

    id: str | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(BaseModel):
    """Labels that OpenAI's answers carry and a template does not show (`refusal`, `annotations`)
    may be sent back; they change nothing."""

    model_config = ConfigDict(strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Any = None
    name: str | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    audio: None = None
    function_call: None = None

    def shown(self, where: str) -> dict[str, Any]:
        """As a chat template takes it, parts of text joined. Raises UserFault naming `where`."""
        shown: dict[str, Any] = {"role": self.role, "content": self._text(where)}
        if self.name is not None:
            shown["name"] = self.name
        if self.tool_call_id is not None:
            shown["tool_call_id"] = self.tool_call_id
        if self.tool_calls:
            shown["tool_calls"] = [call.model_dump(exclude_none=True) for call in self.tool_calls]
        shown["reasoning_content"] = self.reasoning_content or self.reasoning
        return shown

    def _text(self, where: str) -> str | None:
        content = self.content
        if isinstance(content, list):
            return "".join(_part(part, f"{where}.content.{i}") for i, part in enumerate(content))
        if not isinstance(content, str) and not (
            content is None and self.role == "assistant" and self.tool_calls
        ):
            raise UserFault(
                "invalid_value", f"`{where}.content` must be a text.", param=f"{where}.content"
            )
        return content


def _part(part: Any, where: str) -> str:
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
        text: str = part["text"]
        return text
    raise UserFault(
        "unsupported_content",
        "Only parts of the type `text` can be shown to this model.",
        fix="Leave images, audio and files out.",
        param=where,
    )
