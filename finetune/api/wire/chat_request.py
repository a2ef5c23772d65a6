"""The body of `POST /v1/chat/completions`."""

from typing import Any

from pydantic import Field

from faults import UserFault
from finetune.api.wire.sampling import Sampling
from finetune.records.thinking import SWITCH

ROLES = ("system", "developer", "user", "assistant", "tool")

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "function_call": ("auto", "none"),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "moderation": (),
    "parallel_tool_calls": (True,),
    "prediction": (),
    "presence_penalty": (0,),
    "prompt_cache_options": (),
    "prompt_cache_retention": (),
    "reasoning_effort": (),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "verbosity": (),
    "web_search_options": (),
}


class ChatRequest(Sampling):
    messages: list[dict[str, Any]] = Field(min_length=1, max_length=4096)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    metadata: dict[str, str] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    def check(self) -> None:
        """Raises UserFault for what cannot be honoured."""
        self.refuse_unoffered(NEUTRAL)
        self._check_template()
        if self.top_logprobs and not self.logprobs:
            raise UserFault(
                "invalid_value", "`top_logprobs` needs `logprobs: true`.", param="top_logprobs"
            )
        if self.tool_choice not in (None, "auto", "none"):
            raise UserFault(
                "unsupported_parameter",
                "A model cannot be forced to call a tool here.",
                fix="Leave `tool_choice` out, or use `auto` or `none`.",
                param="tool_choice",
            )
        if self.max_tokens and self.max_completion_tokens:
            raise UserFault(
                "invalid_value",
                "Give `max_completion_tokens` or the older `max_tokens`, not both.",
                param="max_tokens",
            )

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

    def generation(self) -> dict[str, Any]:
        """Raises UserFault for a message that the model cannot be shown."""
        offered = self.tools if self.tool_choice != "none" else None
        return self.drawing() | {
            "messages": [_message(each, place) for place, each in enumerate(self.messages)],
            "tools": offered or None,
            "thinking": (self.chat_template_kwargs or {}).get(SWITCH),
            "max_tokens": self.max_completion_tokens or self.max_tokens,
            "logprobs": bool(self.logprobs),
            "top_logprobs": self.top_logprobs or 0,
        }


def _message(message: dict[str, Any], place: int) -> dict[str, Any]:
    """The message with its content as plain text; parts of text are joined."""
    where = f"messages.{place}"
    role = message.get("role")
    if role not in ROLES:
        raise UserFault(
            "invalid_value",
            f"`{where}.role` must be one of {', '.join(ROLES)}.",
            param=f"{where}.role",
        )
    _check_calls(message.get("tool_calls"), f"{where}.tool_calls")
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(_part(part, f"{where}.content.{i}") for i, part in enumerate(content))
    if not isinstance(content, str) and not (role == "assistant" and message.get("tool_calls")):
        raise UserFault(
            "invalid_value", f"`{where}.content` must be a text.", param=f"{where}.content"
        )
    return {**message, "content": content, "reasoning_content": _reasoning(message, where)}


def _reasoning(message: dict[str, Any], where: str) -> str | None:
    """What an earlier answer thought, by either name that clients have for it."""
    found: str | None = None
    for name in ("reasoning_content", "reasoning"):
        value = message.get(name)
        if value is not None and not isinstance(value, str):
            raise UserFault(
                "invalid_value", f"`{where}.{name}` must be a text.", param=f"{where}.{name}"
            )
        found = found or value
    return found


def _check_calls(calls: Any, where: str) -> None:
    """Raises UserFault unless each is {"function": {"name": str, ...}, ...}."""
    for place, call in enumerate(calls if isinstance(calls, list) else [calls] if calls else []):
        function = call.get("function") if isinstance(call, dict) else None
        named = isinstance(function, dict) and isinstance(function.get("name"), str)
        if not (isinstance(calls, list) and named):
            raise UserFault(
                "invalid_value",
                f"`{where}` must be a list of calls, each with a `function` that has a `name`.",
                param=f"{where}.{place}" if isinstance(calls, list) else where,
            )


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
