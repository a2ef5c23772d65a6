"""Ask a model the held-out questions, several at a time, as a client would."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from openai import OpenAI
from rich.console import Console

from privatune.cli.pace import Clock
from privatune.demo.commands import Command
from privatune.demo.phases import counted

AT_A_TIME = 16
LONGEST_ANSWER = 40  # tokens; the longest right answer has 28


@dataclass(frozen=True)
class Answers:
    """In the order of the questions; `tokens` were written in `seconds`."""

    texts: list[str]
    tokens: int
    seconds: float

    def __add__(self, other: "Answers") -> "Answers":
        return Answers(
            self.texts + other.texts, self.tokens + other.tokens, self.seconds + other.seconds
        )


def ask(
    client: OpenAI,
    model: str,
    commands: Sequence[Command],
    console: Console,
    *,
    who: str,
    examples: Sequence[Command] = (),
    clock: Clock = time.monotonic,
) -> Answers:
    """Greedily decoded answers of `model`, shown as `who`; with `examples`, a few-shot prompt."""

    def one(command: Command) -> tuple[str, int]:
        completion = client.chat.completions.create(
            model=model,
            messages=command.question(examples),  # type: ignore[arg-type]
            temperature=0,
            max_completion_tokens=LONGEST_ANSWER,
        )
        one_more()
        written = completion.usage.completion_tokens if completion.usage else 0
        return completion.choices[0].message.content or "", written

    began = clock()
    with (
        counted(console, f"{who}: questions answered", len(commands), clock=clock) as one_more,
        ThreadPoolExecutor(AT_A_TIME) as pool,
    ):
        answered = list(pool.map(one, commands))
    return Answers(
        [text for text, _ in answered], sum(tokens for _, tokens in answered), clock() - began
    )
