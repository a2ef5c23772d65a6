"""Ollama's Modelfile. Ollama lays conversations out by a template of Go's, so the model's own one
is taken apart by what it prints, and what was found is held to it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from faults import UserFault
from finetune.records.encode import RowEncoder

_SYSTEM, _ONE, _TWO, _SAID, _ALSO = "qsystemq", "qoneq", "qtwoq", "qsaidq", "qalsoq"
_LONGEST = 8192  # tokens that Ollama keeps room for, unless it is told of more
_NONE = """\
# The model's chat template cannot be written in Ollama's terms. Send prompts that are laid out
# already (`raw`), or use llama.cpp's server, which takes the template out of the file.
"""
Messages = Sequence[dict[str, str]]


@dataclass(frozen=True)
class Turns:
    """What stands before and after the content of each turn; `begin`: before a conversation without
    instructions; `ask`: before an answer. `system` None: the template takes no instructions."""

    begin: str
    system: tuple[str, str] | None
    user: tuple[str, str]
    assistant: tuple[str, str]
    ask: str

    def laid_out(self, messages: Messages) -> str:
        roles = {"system": self.system, "user": self.user, "assistant": self.assistant}
        text = "" if messages[0]["role"] == "system" else self.begin
        for message in messages:
            before, after = roles[message["role"]] or ("", "")
            text += before + message["content"] + after
        return text + self.ask

    def without_start(self, start: str) -> "Turns":
        """Where llama.cpp puts the start token itself."""
        system = self.system and (self.system[0].removeprefix(start), self.system[1])
        return Turns(self.begin.removeprefix(start), system, self.user, self.assistant, self.ask)

    def template(self) -> str | None:
        """Go's, for Ollama."""
        pieces = [self.begin, self.ask, *self.user, *self.assistant, *(self.system or ())]
        if any("{{" in piece or '"""' in piece for piece in pieces):
            return None
        begin = self.begin and (
            '{{ if ne (index .Messages 0).Role "system" }}' + self.begin + "{{ end }}"
        )
        roles = {"system": self.system, "user": self.user, "assistant": self.assistant}
        branches = [
            f'if eq .Role "{role}" }}}}{each[0]}{{{{ .Content }}}}{each[1]}'
            for role, each in roles.items()
            if each is not None
        ]
        turns = "{{ " + "{{ else ".join(branches) + "{{ end }}"
        return begin + "{{ range .Messages }}" + turns + "{{ end }}" + self.ask


def turns_of(encoder: RowEncoder) -> Turns | None:
    """None where the template does more than to put marks around turns."""
    try:
        before, between, again, after = _around(
            encoder.prompt_text(_chat(_ONE, _SAID, _TWO)), (_ONE, _SAID, _TWO)
        )
        found = _taken_apart(before, between, again, after, _instructed(encoder))
        talks = [_chat(_ONE), _chat(_ONE, _SAID, _TWO, _ALSO, _ONE)]
        if found.system is not None:
            talks += [_told(talk) for talk in talks]
        same = all(found.laid_out(talk) == encoder.prompt_text(_typed(talk)) for talk in talks)
    except (UserFault, ValueError):
        return None
    return found if same else None


def _chat(*said: str) -> list[Any]:
    return [
        {"role": "assistant" if number % 2 else "user", "content": text}
        for number, text in enumerate(said)
    ]


def _typed(talk: Messages) -> list[Any]:
    return list(talk)


def _told(talk: Messages) -> list[dict[str, str]]:
    return [{"role": "system", "content": _SYSTEM}, *talk]


def _instructed(encoder: RowEncoder) -> tuple[str, str] | None:
    """What stands before the instructions, and between them and the question."""
    try:
        text = encoder.prompt_text(_typed(_told(_chat(_ONE))))
        before, between, _ = _around(text, (_SYSTEM, _ONE))
    except (UserFault, ValueError):
        return None
    return before, between


def _around(text: str, contents: Iterable[str]) -> list[str]:
    """Raises ValueError where one of them is not there once."""
    parts = [text]
    for content in contents:
        head, tail = parts.pop().split(content)
        parts += [head, tail]
    return parts


def _taken_apart(
    before: str, between: str, again: str, after: str, told: tuple[str, str] | None
) -> Turns:
    asks = [before, again] + ([told[1]] if told else [])
    user = _common([each[::-1] for each in asks])[::-1]
    end = _common([between, after])
    system = (told[0], told[1].removesuffix(user)) if told else None
    return Turns(
        begin=before.removesuffix(user),
        system=system,
        user=(user, end),
        assistant=(between.removeprefix(end), again.removesuffix(user)),
        ask=after.removeprefix(end),
    )


def _common(texts: Sequence[str]) -> str:
    """What all of them begin with."""
    same = takewhile(lambda each: len(set(each)) == 1, zip(*texts, strict=False))
    return "".join(each[0] for each in same)


def modelfile(
    encoder: RowEncoder, *, file: str, stops: Sequence[str], context: int, starts: bool
) -> str:
    """`starts`: llama.cpp begins every prompt with the start token by itself."""
    turns = turns_of(encoder)
    if turns is not None and starts and encoder.tokenizer.bos_token:
        turns = turns.without_start(encoder.tokenizer.bos_token)
    template = turns.template() if turns else None
    lines = [f"FROM ./{file}"]
    lines += [f'TEMPLATE """{template}"""'] if template else [_NONE.rstrip()]
    lines += [f"PARAMETER stop {_quoted(stop)}" for stop in stops]
    # As a request that names nothing is answered where it was trained
    sampling = {"temperature": 1, "top_p": 1, "top_k": 0, "min_p": 0, "repeat_penalty": 1}
    lines += [f"PARAMETER {name} {value}" for name, value in sampling.items()]
    lines.append(f"PARAMETER num_ctx {min(context, _LONGEST)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Ollama takes the outer marks away and reads nothing inside as an escape."""
    mark = '"""' if '"' in text or "\n" in text else '"'
    return f"{mark}{text}{mark}"
