"""The body of `POST /v1/responses`, told as the chat that it is: nothing is kept between two calls,
so that an input carries the whole conversation."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from faults import UserFault
from finetune.api.json_bodies import fit
from finetune.api.wire.chat_request import ChatRequest, Effort
from finetune.api.wire.sampling import Metadata, refuse_unoffered

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "access_programs": (),
    "background": (False,),
    "background_options": (),
    "context_management": ([],),
    "image": (),
    "max_tool_calls": (),
    "moderation": (),
    "prompt": (),
    "prompt_cache_options": (),
    "prompt_cache_retention": (),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "truncation": ("disabled",),
}
# What would be looked up among kept answers.
KEPT = ("previous_response_id", "conversation")
LOGPROBS = "message.output_text.logprobs"
TEXTS = ("input_text", "output_text", "text")
# The chat's name of a field, and the request's.
NAMES: tuple[tuple[str, str], ...] = (
    (r"^max_completion_tokens", "max_output_tokens"),
    (r"^response_format\.json_schema", "text.format"),
    (r"^response_format", "text.format"),
    (r"^tools\.(\d+)\.function", r"tools.\1"),
    (r"^tool_choice\.function", "tool_choice"),
    (r"^tool_choice\.allowed_tools\.tools\.(\d+)\.function", r"tool_choice.tools.\1"),
    (r"^tool_choice\.allowed_tools", "tool_choice"),
    (r"^reasoning_effort", "reasoning.effort"),
)


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    include_obfuscation: bool = False


class Text(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    format: dict[str, Any] | None = None
    verbosity: None = None


class Reasoning(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    effort: Effort | None = None
    summary: None = None  # thoughts are given as they are


class ResponseRequest(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)

    model: str
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    # Thoughts come in plain words, and go back in them: there is nothing to be encrypted
    include: list[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]] | None = (
        None
    )
    reasoning: Reasoning | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    text: Text | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    metadata: Metadata | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    _places: list[str] = PrivateAttr(default_factory=list)

    def chat(self) -> ChatRequest:
        """The same wish as a chat. Raises UserFault for what cannot be honoured, by this request's
        own names."""
        for name in KEPT:
            if (self.model_extra or {}).get(name) is not None:
                raise _not_kept(name)
        refuse_unoffered(self.model_extra or {}, NEUTRAL)
        messages, self._places = _messages(self.instructions, self.input)
        with self.own_names():
            asked = fit(ChatRequest, self._body(messages))
            asked.check()
            asked.generation()
        return asked

    @contextmanager
    def own_names(self) -> Iterator[None]:
        """What is refused of the chat is told by the names of this request."""
        try:
            yield
        except UserFault as fault:
            if fault.param is not None:
                name, fault.param = fault.param, _own_name(fault.param, self._places)
                fault.message = fault.message.replace(f"`{name}`", f"`{fault.param}`")
                fault.fix = fault.fix and fault.fix.replace(f"`{name}`", f"`{fault.param}`")
            raise

    @property
    def logprobs(self) -> bool:
        return LOGPROBS in (self.include or []) or bool(self.top_logprobs)

    def _body(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        form = self.text.format if self.text is not None else None
        body = {
            "model": self.model,
            "messages": messages,
            "max_completion_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "logprobs": self.logprobs or None,
            "top_logprobs": self.top_logprobs,
            "reasoning_effort": self.reasoning.effort if self.reasoning else None,
            "tools": [_tool(each) for each in self.tools] if self.tools else None,
            "tool_choice": _choice(self.tool_choice),
            "parallel_tool_calls": self.parallel_tool_calls,
            "response_format": _format(form) if form else None,
        }
        return {name: value for name, value in body.items() if value is not None}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    """A function stands flat in this request; any other tool is told as the chat tells it."""
    if tool.get("type") != "function":
        return tool
    # What is null was not said: the model is shown a tool as it stands here.
    given = {k: v for k, v in tool.items() if k != "type" and v is not None}
    return {"type": "function", "function": given}


def _choice(choice: Any) -> Any:
    """A function, and the list of those allowed, stand flat in this request, too."""
    if not isinstance(choice, dict):
        return choice
    if choice.get("type") == "function" and "name" in choice:
        return {"type": "function", "function": {"name": choice["name"]}}
    if choice.get("type") == "allowed_tools" and isinstance(choice.get("tools"), list):
        allowed = {name: value for name, value in choice.items() if name != "type"}
        allowed["tools"] = [_choice(each) for each in choice["tools"]]
        return {"type": "allowed_tools", "allowed_tools": allowed}
    return choice


def _format(form: dict[str, Any]) -> dict[str, Any]:
    if form.get("type") != "json_schema":
        return form
    schema = {name: value for name, value in form.items() if name != "type"}
    return {"type": "json_schema", "json_schema": schema}


def _own_name(name: str, places: list[str]) -> str:
    found = re.match(r"messages\.(\d+)(.*)", name)
    if found:
        return places[int(found[1])] + found[2]
    if name == "messages":
        return "input"
    for theirs, ours in NAMES:
        name, changed = re.subn(theirs, ours, name)
        if changed:
            break
    return name


def _messages(
    instructions: str | None, given: str | list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """A chat's messages, and where each began in the request. Thoughts and calls are items of their
    own here, and belong to the assistant's message beside them."""
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    messages: list[dict[str, Any]] = []
    places: list[str] = []

    def add(message: dict[str, Any], place: str) -> None:
        last = messages[-1] if messages else {}
        if message["role"] == last.get("role") == "assistant" and _joins(last, message):
            last.update({k: v for k, v in message.items() if k not in ("role", "tool_calls")})
            if "tool_calls" in message:
                last["tool_calls"] = last.get("tool_calls", []) + message["tool_calls"]
        else:
            messages.append(message)
            places.append(place)

    if instructions is not None:
        add({"role": "system", "content": instructions}, "instructions")
    for number, item in enumerate(items):
        place = "input" if isinstance(given, str) else f"input.{number}"
        read = ITEMS.get(str(item.get("type", "message")))
        if read is None:
            raise UserFault(
                "unsupported_content",
                f"An item of the type {str(item['type'])[:32]!r} cannot be shown to a model here.",
                fix="Send messages, reasoning, function_call and function_call_output.",
                param=place,
            )
        add(read(item, place), place)
    return messages, places


def _joins(last: dict[str, Any], message: dict[str, Any]) -> bool:
    """Thoughts come first, then what is said, then the calls; another order begins anew."""
    if "content" in message:
        return "content" not in last and "tool_calls" not in last
    return "reasoning_content" not in message


def _said(item: dict[str, Any], place: str) -> dict[str, Any]:
    content = item.get("content")
    if isinstance(content, list):
        content = [_part(part) for part in content]
    return {"role": item.get("role"), "content": content}


def _part(part: Any) -> Any:
    if isinstance(part, dict) and part.get("type") in TEXTS:
        return {"type": "text", "text": part.get("text")}
    return part


def _called(item: dict[str, Any], place: str) -> dict[str, Any]:
    function = {name: item[name] for name in ("name", "arguments") if name in item}
    if not isinstance(function.get("name"), str):
        raise UserFault(
            "missing_required_parameter", f"`{place}.name` is missing.", param=f"{place}.name"
        )
    call = {"type": "function", "id": item.get("call_id"), "function": function}
    return {"role": "assistant", "tool_calls": [call]}


def _answered(item: dict[str, Any], place: str) -> dict[str, Any]:
    output = item.get("output")
    if isinstance(output, list):
        output = [_part(part) for part in output]
    return {"role": "tool", "tool_call_id": item.get("call_id"), "content": output}


def _thought(item: dict[str, Any], place: str) -> dict[str, Any]:
    texts: list[str] = []
    content = item.get("content") or []
    for part in content if isinstance(content, list) else [content]:
        text = part.get("text") if isinstance(part, dict) else None
        if not isinstance(text, str):
            raise UserFault(
                "invalid_value", f"`{place}.content` must hold texts.", param=f"{place}.content"
            )
        texts.append(text)
    return {"role": "assistant", "reasoning_content": "".join(texts)}


def _reference(item: dict[str, Any], place: str) -> dict[str, Any]:
    raise _not_kept(place)


def _not_kept(param: str) -> UserFault:
    return UserFault(
        "unsupported_parameter",
        "Answers are not kept here, so that none can be referred to.",
        fix="Send the whole conversation in `input`, the items of earlier answers included.",
        param=param,
    )


ITEMS: dict[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {
    "message": _said,
    "reasoning": _thought,
    "function_call": _called,
    "function_call_output": _answered,
    "item_reference": _reference,
}
