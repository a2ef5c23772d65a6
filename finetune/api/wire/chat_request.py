"""The body of `POST /v1/chat/completions`."""

from typing import Any, Literal

from pydantic import Field

from faults import UserFault
from finetune.api.wire.messages import Message
from finetune.api.wire.response_format import ResponseFormat
from finetune.api.wire.sampling import Metadata, Sampling
from finetune.api.wire.tools import MAX_TOOLS, AllowedTools, NamedTool, Tool, ToolChoice
from finetune.records.thinking import SWITCH

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "function_call": ("auto", "none"),
    "functions": ([],),
    "modalities": (["text"],),
    "moderation": (),
    "prediction": (),
    "prompt_cache_options": (),
    "prompt_cache_retention": (),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "verbosity": (),
    "web_search_options": (),
}


# What a template knows is to think or not to: how much is the model's own.
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class ChatRequest(Sampling):
    messages: list[Message] = Field(min_length=1, max_length=4096)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: list[Tool] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: ToolChoice = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    metadata: Metadata | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: Effort | None = None

    def check(self) -> None:
        """Raises UserFault for what cannot be honoured."""
        self.refuse_unoffered(NEUTRAL)
        self._check_template()
        if self.top_logprobs and not self.logprobs:
            raise UserFault(
                "invalid_value", "`top_logprobs` needs `logprobs: true`.", param="top_logprobs"
            )
        self._check_choice()
        if self.max_tokens and self.max_completion_tokens:
            raise UserFault(
                "invalid_value",
                "Give `max_completion_tokens` or the older `max_tokens`, not both.",
                param="max_tokens",
            )

    def _check_choice(self) -> None:
        names = [tool.function.name for tool in self.tools or ()]
        if (self._must_call or self._allowed) and not names:
            raise UserFault(
                "invalid_value", "This `tool_choice` needs `tools`.", param="tool_choice"
            )
        if (name := self._named) is not None and name not in names:
            raise _no_such_tool(name, "tool_choice.function.name")
        for at, name in enumerate(self._allowed or ()):
            if name not in names:
                raise _no_such_tool(name, f"tool_choice.allowed_tools.tools.{at}.function.name")

    @property
    def _named(self) -> str | None:
        """The tool that has to be called."""
        choice = self.tool_choice
        return choice.function.name if isinstance(choice, NamedTool) else None

    @property
    def _allowed(self) -> list[str] | None:
        """The tools that may be called; None: all."""
        return self.tool_choice.names if isinstance(self.tool_choice, AllowedTools) else None

    @property
    def _must_call(self) -> bool:
        choice = self.tool_choice
        if isinstance(choice, AllowedTools):
            return choice.allowed_tools.mode == "required"
        return choice == "required" or self._named is not None

    def _check_template(self) -> None:
        for name, value in (self.chat_template_kwargs or {}).items():
            param = f"chat_template_kwargs.{name}"
            if name != SWITCH:
                raise UserFault(
                    "unsupported_parameter",
                    f"`{param}` is not offered.",
                    fix=f"Of the chat template only `{SWITCH}` can be set.",
                    param=param,
                )
            if not isinstance(value, bool):
                raise UserFault("invalid_value", f"`{param}` must be a boolean.", param=param)
            if self.reasoning_effort is not None:
                raise UserFault(
                    "invalid_value",
                    f"Give `reasoning_effort` or `{param}`, not both.",
                    param="reasoning_effort",
                )

    def _thinking(self) -> dict[str, Any]:
        if self.reasoning_effort is not None:
            thinking = self.reasoning_effort != "none"
            return {"thinking": thinking, "thinking_place": "reasoning_effort"}
        return {"thinking": (self.chat_template_kwargs or {}).get(SWITCH)}

    def generation(self) -> dict[str, Any]:
        """Raises UserFault for a message that the model cannot be shown."""
        offered = [tool.given for tool in self.tools or ()] if self.tool_choice != "none" else None
        return self.drawing() | {
            "messages": [each.shown(f"messages.{i}") for i, each in enumerate(self.messages)],
            "tools": offered or None,
            "must_call": self._must_call,
            "must_call_tool": self._named,
            "parallel_calls": self.parallel_tool_calls is not False,
            "callable_tools": self._allowed,
            "form": self.response_format.form() if self.response_format else None,
            "max_tokens": self.max_completion_tokens or self.max_tokens,
            "logprobs": bool(self.logprobs),
            "top_logprobs": self.top_logprobs or 0,
            **self._thinking(),
        }


def _no_such_tool(name: str, param: str) -> UserFault:
    return UserFault(
        "invalid_value", f"`tools` has no function `{name}`.", fix="Name one of them.", param=param
    )
