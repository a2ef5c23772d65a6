"""What the openai client sends for the demo's questions, and what is made of the answers."""

import io
from pathlib import Path

import pytest
from openai import OpenAI
from rich.console import Console

from privatune.demo import choosing
from privatune.demo.asking import ask
from privatune.demo.commands import Command
from privatune.demo.grammar import Template
from privatune.demo.opening import Rows
from privatune.demo.plans import PLANS
from privatune.demo.probe import TrainingSpeed
from tests.privatune.cli.conftest import Scripted, server

__all__ = ["server"]  # the fixture

CHAT = "POST /v1/chat/completions"
TEMPLATE = Template("HassTurnOn", "turn on {name}", (), ("switch",), ("name",))
EXAMPLES = [Command(f"turn on {name}", f'{{"name":"{name}"}}', TEMPLATE) for name in "abc"]
QUESTION = Command("turn on the safe", '{"name":"safe"}', TEMPLATE)
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": QUESTION.call},
        }
    ],
    "usage": {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50},
}


@pytest.fixture
def client(server: Scripted) -> OpenAI:
    server.on(CHAT, (200, ANSWER))
    return OpenAI(base_url=f"{server.url}/v1", api_key="key", max_retries=0)


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=120)


def test_examples_are_sent_as_turns_of_the_chat(
    client: OpenAI,
    server: Scripted,
    console: Console,
) -> None:
    answers = ask(client, "m", [QUESTION], console, who="few-shot", examples=EXAMPLES)
    [body] = server.bodies(CHAT)
    said = [(message["role"], message["content"]) for message in body["messages"]]
    assert said == [
        ("system", "Reply with one JSON call."),
        ("user", "turn on a"), ("assistant", '{"name":"a"}'),
        ("user", "turn on b"), ("assistant", '{"name":"b"}'),
        ("user", "turn on c"), ("assistant", '{"name":"c"}'),
        ("user", "turn on the safe"),
    ]  # fmt: skip
    assert (body["model"], body["temperature"]) == ("m", 0)
    assert (answers.texts, answers.tokens) == ([QUESTION.call], 20)


def test_the_trial_keeps_its_answers_and_says_the_plan(
    client: OpenAI, console: Console, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PRIVATUNE_DEMO_PLAN", raising=False)
    trained = TrainingSpeed(tokens_per_second=1.0, start=5.0, precision="fp32")
    monkeypatch.setattr(choosing, "training_speed", lambda *_: trained)
    rows = Rows(train=EXAMPLES, heldout=[QUESTION] * 30)
    plan, answers = choosing.make_plan(
        client, tmp_path, rows, tmp_path, console, spent=lambda: 100.0
    )
    assert plan is PLANS[-1]
    assert answers.texts == [QUESTION.call] * 17
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert "training 1 tokens/s in fp32" in said
    assert "the short plan, 500 rows once, 50 questions" in said
    assert "longer than the 5 min 0 s the demo aims at" in said


def test_a_forced_plan_is_not_tried(
    client: OpenAI,
    server: Scripted,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("PRIVATUNE_DEMO_PLAN", "medium")
    rows = Rows(train=EXAMPLES, heldout=[QUESTION] * 30)
    plan, answers = choosing.make_plan(client, tmp_path, rows, tmp_path, console, spent=lambda: 0.0)
    assert (plan.name, answers.texts, server.seen) == ("medium", [], [])
