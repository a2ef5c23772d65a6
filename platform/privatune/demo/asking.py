"""Ask a model the held-out questions, several at a time, as a client would."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from openai import OpenAI
from rich.console import Console
from rich.progress import Progress

from privatune.demo.commands import Command

AT_A_TIME = 16
LONGEST_ANSWER = 40  # tokens; the longest right answer has 28


def ask(client: OpenAI, model: str, commands: Sequence[Command], console: Console) -> list[str]:
    """The answers, in the order of the questions, greedily decoded."""

    def one(command: Command) -> str:
        completion = client.chat.completions.create(
            model=model,
            messages=command.question(),  # type: ignore[arg-type]
            temperature=0,
            max_completion_tokens=LONGEST_ANSWER,
        )
        bar.advance(task)
        return completion.choices[0].message.content or ""

    with Progress(console=console) as bar, ThreadPoolExecutor(AT_A_TIME) as pool:
        task = bar.add_task(model, total=len(commands))
        return list(pool.map(one, commands))
