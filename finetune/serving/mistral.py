"""Tool calls of Mistral's models: behind the control token `[TOOL_CALLS]`, and nothing ends them
but their own JSON.

Tokenizers up to v7 write one list of objects, in most with an id; those from v11 on write the token
before each call, its name, `[ARGS]` and its arguments, and some `[CALL_ID]` and an id between.
"""

from dataclasses import dataclass
from typing import Any

from faults.nesting import loads
from finetune.records.call_form import CallForm
from finetune.serving.finite import finite

BEGIN, CALL_ID, ARGS = "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"
LONGEST_HEAD = 300  # characters between the token and the arguments
# Where a template does not show how it writes a list
LISTED = CallForm(f'{BEGIN}[{{"name": "', '", "arguments": ', '}, {"name": "', "}]")


@dataclass(frozen=True)
class Marks:
    """Their ids. `args` None: calls are a list, `form`; `call_id` None: they are named without."""

    begin: int
    call_id: int | None
    args: int | None
    form: CallForm

    @property
    def read(self) -> frozenset[int]:
        """Those that tell calls from text."""
        return frozenset(each for each in (self.begin, self.call_id, self.args) if each is not None)


def find(tokenizer: Any, form: CallForm | None) -> Marks | None:
    """None where the chat template writes no such calls. `form`: how it shows a list of them."""
    template = tokenizer.chat_template or ""
    known = tokenizer.get_vocab()

    def mark(word: str) -> int | None:
        found: int | None = known.get(word)
        return found if word in template else None

    begin = mark(BEGIN)
    if begin is None:
        return None
    listed = form if form is not None and form.opening == BEGIN else LISTED
    return Marks(begin, mark(CALL_ID), mark(ARGS), listed)


def begin_of_json(body: str) -> int | None:
    """Where behind `[TOOL_CALLS]` the list or the arguments begin; None: not yet."""
    start = body.lstrip()
    found = len(body) - len(start) if start.startswith("[") else body.find("{")
    return None if found < 0 else found


def named(body: str, tools: list[dict[str, Any]]) -> tuple[str, dict[str, Any]] | None:
    """What stands behind the token as a call of one of `tools`; None where it is something else."""
    head, brace, rest = body.partition("{")
    name = head.partition(ARGS)[0].partition(CALL_ID)[0].strip()
    try:
        arguments = finite(loads(brace + rest))
    except ValueError:
        return None
    known = name in {tool.get("function", tool)["name"] for tool in tools}
    return (name, arguments) if known and isinstance(arguments, dict) else None
