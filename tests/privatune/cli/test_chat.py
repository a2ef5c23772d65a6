"""Chat: streamed to people, whole to machines, and honest when an answer breaks off."""

import json

from privatune.cli.exits import Exit
from tests.privatune.cli.conftest import Run, Scripted

CHAT = "POST /v1/chat/completions"


def stream(*parts: str, end: bool = True) -> bytes:
    chunks = [{"choices": [{"delta": {"content": part}}]} for part in parts]
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return "".join([*lines, "data: [DONE]\n\n" if end else ""]).encode()


def test_one_question_streams_its_answer(run: Run, server: Scripted) -> None:
    server.on(CHAT, (200, stream("It is ", "on.")))
    done = run("chat", "ft:tiny:acme::1", "-m", "lamp on", "--system", "Be brief.")
    assert (done.exit_code, done.stdout) == (0, "It is on.\n")
    assert server.bodies(CHAT)[0] == {
        "model": "ft:tiny:acme::1",
        "stream": True,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "lamp on"},
        ],
    }


def test_a_talk_remembers_what_was_said(run: Run, server: Scripted) -> None:
    server.on(CHAT, (200, stream("Hello.")), (200, stream("Bye.")))
    done = run("chat", "tiny", input="hi\nbye\n")
    assert done.exit_code == 0
    assert server.bodies(CHAT)[1]["messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "bye"},
    ]


def test_json_gives_the_whole_completion(run: Run, server: Scripted) -> None:
    completion = {"choices": [{"message": {"content": "Hello."}}], "usage": {"total_tokens": 3}}
    server.on(CHAT, (200, completion))
    done = run("chat", "tiny", "-m", "hi", "--max-tokens", "5", "--json")
    assert json.loads(done.stdout) == completion
    assert server.bodies(CHAT)[0]["max_completion_tokens"] == 5


def test_json_without_a_message_is_a_usage_error(run: Run, server: Scripted) -> None:
    assert run("chat", "tiny", "--json").exit_code == Exit.USAGE


def test_an_answer_that_breaks_off_is_not_taken_for_whole(run: Run, server: Scripted) -> None:
    server.on(CHAT, (200, stream("It is ", end=False)))
    done = run("chat", "tiny", "-m", "hi")
    assert done.exit_code == Exit.UNAVAILABLE
    assert "broke off" in done.stderr


def test_an_error_midway_is_shown(run: Run, server: Scripted) -> None:
    broken = b'data: {"error": {"message": "The worker died.", "code": "worker_gone"}}\n\n'
    server.on(CHAT, (200, broken))
    done = run("chat", "tiny", "-m", "hi")
    assert (done.exit_code, "The worker died." in done.stderr) == (Exit.UNAVAILABLE, True)


def test_an_unknown_model_is_not_found(run: Run, server: Scripted) -> None:
    server.on(CHAT, (404, {"error": {"message": "There is no model x.", "code": "no_model"}}))
    assert run("chat", "x", "-m", "hi").exit_code == Exit.NOT_FOUND
