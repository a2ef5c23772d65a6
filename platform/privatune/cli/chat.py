"""`privatune chat`: talk to a model, your own or a base."""

import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import typer

from privatune.cli.client import Client
from privatune.cli.exits import Exit, Stop
from privatune.cli.output import AsJson, notes, print_json
from privatune.cli.visible import visible

COMPLETIONS = "/v1/chat/completions"


def chat(
    model: Annotated[str, typer.Argument(help="A base model, or a fine-tuned one: ft:...")],
    message: Annotated[
        str | None, typer.Option("--message", "-m", help="Ask this once instead of talking.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="The system message.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1)] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2)] = None,
    as_json: AsJson = False,
) -> None:
    """Talk to a model; the answer streams. Ctrl-D or an empty line ends the talk.

    With --json, which needs -m, the answer is the whole completion as the API returns it.
    """
    wish = {"model": model, "max_completion_tokens": max_tokens, "temperature": temperature}
    wish = {key: value for key, value in wish.items() if value is not None}
    so_far = [{"role": "system", "content": system}] if system else []
    if as_json and message is None:
        raise typer.BadParameter("--json needs -m", param_hint="--json")
    client = Client.from_environment()
    if as_json:
        so_far.append({"role": "user", "content": message or ""})
        return print_json(client.post(COMPLETIONS, wish | {"messages": so_far}))
    if message is not None:
        _answer(client, wish, [*so_far, {"role": "user", "content": message}])
        return None
    return _talk(client, wish, so_far)


def _talk(client: Client, wish: dict[str, Any], so_far: list[dict[str, str]]) -> None:
    while question := _question():
        so_far.append({"role": "user", "content": question})
        so_far.append({"role": "assistant", "content": _answer(client, wish, so_far)})


def _question() -> str:
    try:
        return notes().input("[bold]> [/]").strip()
    except EOFError:
        return ""


def _answer(client: Client, wish: dict[str, Any], messages: list[dict[str, str]]) -> str:
    """Streams the answer to standard output as it comes, and returns it."""
    said = []
    body = wish | {"messages": messages, "stream": True}
    with client.stream("POST", COMPLETIONS, json=body) as response:
        for chunk in _chunks(response):
            for choice in chunk.get("choices", []):
                text = choice.get("delta", {}).get("content") or ""
                said.append(text)
                sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
                sys.stdout.flush()
    sys.stdout.write("\n")
    return "".join(said)


def _chunks(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The JSON of a server-sent event stream. Raises Stop for an error sent midway."""
    for line in response.iter_lines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        chunk = json.loads(data)
        if error := chunk.get("error"):
            raise Stop(Exit.UNAVAILABLE, error["message"], code=error.get("code") or "stream_broke")
        yield chunk
    raise Stop(
        Exit.UNAVAILABLE,
        "The answer broke off.",
        code="stream_broke",
        fix="ask again; the server's log says why.",
    )
