"""A conversation's tool calls in the words of one chat template: OpenAI's wire differs from it in
how arguments and ids are written."""

import hashlib
import json
import re
import string
from collections.abc import Callable
from functools import cached_property
from typing import Any

from faults import UserFault
from faults.nesting import loads
from finetune.records import call_form
from finetune.records.call_form import CallForm

_LETTERS = string.digits + string.ascii_letters
_SHORT_ID = re.compile(r"[0-9A-Za-z]{9}")


class ToolCalls:
    """What the template wants is found out by rendering a call with it, once.

    render: messages to text; a UserFault where the template refuses them.
    """

    def __init__(self, render: Callable[[list[dict[str, Any]], None], str]) -> None:
        self._render = render

    def prepare(self, call: dict[str, Any]) -> dict[str, Any]:
        function = dict(call.get("function") or {})
        arguments = function.get("arguments")
        if self._arguments_are_text:
            if not isinstance(arguments, str):
                function["arguments"] = json.dumps(arguments, ensure_ascii=False)
        elif isinstance(arguments, str):
            # OpenAI sends text; templates do `arguments | tojson`, which would quote it twice
            try:
                function["arguments"] = loads(arguments)
            except ValueError as error:
                raise UserFault(
                    "bad_tool_arguments",
                    f"The arguments of the tool call '{function.get('name')}' are not JSON.",
                    fix="Write the arguments as a JSON object in a string.",
                ) from error
        prepared = {**call, "type": call.get("type", "function"), "function": function}
        if isinstance(call.get("id"), str):
            prepared["id"] = self.short_id(call["id"])
        return prepared

    def short_id(self, call_id: str) -> str:
        """The id, or for templates that take only nine letters or digits (Mistral's) nine that
        follow from it, the same wherever it stands."""
        if not self._ids_are_short or _SHORT_ID.fullmatch(call_id):
            return call_id
        number = int.from_bytes(hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).digest())
        letters = []
        for _ in range(9):
            number, rest = divmod(number, len(_LETTERS))
            letters.append(_LETTERS[rest])
        return "".join(letters)

    @cached_property
    def form(self) -> CallForm | None:
        """How calls are written; None where not as JSON."""
        return call_form.find(
            lambda messages: self._render(messages, None), as_text=self._arguments_are_text
        )

    @cached_property
    def _ids_are_short(self) -> bool:
        long = "call_0123456789abcdef0123"
        arguments = '{"a": 1}' if self._arguments_are_text else {"a": 1}
        return self._renders_call(arguments) and not self._renders_call(arguments, call_id=long)

    @cached_property
    def _arguments_are_text(self) -> bool:
        """DeepSeek's templates join the arguments to text; most others write them as JSON."""
        return not self._renders_call({"a": 1}) and self._renders_call('{"a": 1}')

    def _renders_call(self, arguments: Any, call_id: str = "call00000") -> bool:
        call = {"id": call_id, "type": "function"}
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": "u"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{**call, "function": {"name": "f", "arguments": arguments}}],
            },
        ]
        try:
            self._render(messages, None)
        except UserFault:
            return False
        return True
