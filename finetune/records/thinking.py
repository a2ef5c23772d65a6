"""Whether a model thinks before it answers: what rows, prompts and answers say about it.

One rule for rendering, training and serving. An answer with reasoning is trained behind the prompt
that asks for thinking, one without behind the prompt that asks for none ("each"); "on" and "off"
ask the same of all. A template has a switch (`enable_thinking`, as Qwen3's; `thinking`, as
DeepSeek-V3.1's), or opens a thought in every prompt (DeepSeek's distills), or knows nothing of it.
"""

import re
from typing import Literal

from faults import UserFault

Thinking = Literal["each", "on", "off"]
Asked = Literal["auto", "on", "off"]
SWITCH = "enable_thinking"  # as requests call it, whatever the template does
SWITCHES = (SWITCH, "thinking")  # as templates call it
OPEN, CLOSE = "<think>", "</think>"
CLOSED_AT_ONCE = f"\n{CLOSE}\n\n"  # what ends a thought, where a template does not show its own way

# At the end of a prompt: a thought that is open, or (group `ended`) ended again, or never begun
PROMPTED = re.compile(rf"(?:{OPEN}\s*)?(?P<ended>{CLOSE})\s*$|{OPEN}\s*$")
# At the beginning of an answer
PRINTED = re.compile(rf"{OPEN}(.*?)({CLOSE}\s*)", re.DOTALL)


def setting_of(asked: Asked) -> Thinking:
    """What a request's word means for its rows."""
    return "each" if asked == "auto" else asked


def split(content: str) -> tuple[str, str]:
    """(reasoning, the rest) of an answer as models write it, <think>reasoning</think> in front."""
    before, closed, rest = content.partition(CLOSE)  # no pattern: strangers write megabytes of it
    thought = before.lstrip().removeprefix(OPEN)
    if not closed or OPEN in thought or CLOSE in rest:
        return "", content
    return thought.strip("\n"), rest.lstrip("\n")


def unsupported(why: str) -> UserFault:
    return UserFault(
        "thinking_unsupported",
        f"The base's chat template {why}.",
        fix="Leave thinking as it is (auto), or choose another base.",
    )
