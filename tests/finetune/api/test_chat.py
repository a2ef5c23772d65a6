"""/v1/models, /v1/chat/completions and /v1/completions: the openai client against a real model
server with a real adapter."""

import asyncio
import hashlib
import json
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from openai import (
    APIStatusError,
    BadRequestError,
    NotFoundError,
    OpenAI,
    PermissionDeniedError,
)

from faults import UserFault
from finetune.api.json_bodies import fit
from finetune.api.wire import chat
from finetune.api.wire.chat_request import ChatRequest
from finetune.models import Artifact, CatalogModel
from finetune.serving.client import ServingClient
from finetune.serving.protocol import Delta, Status, Usage
from tenants.database.scope import tenant_scope
from tests.finetune.api.conftest import TINY
from tests.finetune.api.customers import Customer, new_customer, strict
from tests.finetune.api.rows import give_result
from tests.fixtures.waiting import until

HELLO: list[Any] = [{"role": "user", "content": "Say 3."}]


@pytest.fixture(scope="session")
def adapter(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter with weights that change every answer."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(tiny_base)
    config = LoraConfig(r=4, lora_alpha=64, target_modules="all-linear", init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapter")
    get_peft_model(base, config).save_pretrained(str(folder))
    return folder


@pytest.fixture
def tuned(customer: Customer, training_file: str, adapter: Path, model_server: None) -> str:
    """The customer's own fine-tuned model."""
    job = customer.client().fine_tuning.jobs.create(model=TINY, training_file=training_file)
    return give_result(customer, job.id, adapter)


def status() -> Status:
    return asyncio.run(ServingClient(settings.SERVING_SOCKET).status())


def running() -> int:
    """Choices that the model server works on now."""
    return sum(base.running + base.waiting for base in status().bases)


def turns() -> int:
    """Steps that the model server has taken: a token for each of up to 32 answers."""
    return status().turns


def ask(client: OpenAI, model: str, **options: Any) -> Any:
    given: dict[str, Any] = {"temperature": 0, "max_tokens": 8, "seed": 1} | options
    return client.chat.completions.create(model=model, messages=HELLO, **given)


def test_a_retired_base_is_gone_and_what_was_made_from_it_answers(
    customer: Customer, tuned: str, training_file: str
) -> None:
    from finetune.services.models.catalog import restore_model, retire_model

    client = customer.client()
    retire_model(TINY, actor="test")
    try:
        assert [model.id for model in client.models.list()] == [tuned]
        for refused in (
            lambda: ask(client, TINY),
            lambda: client.fine_tuning.jobs.create(model=TINY, training_file=training_file),
        ):
            with pytest.raises(NotFoundError):
                refused()
        assert ask(client, tuned).choices[0].finish_reason
    finally:
        restore_model(TINY, actor="test")
    assert ask(client, TINY).choices[0].finish_reason


def test_base_and_tuned_model_answer_and_say_which_bytes_did(
    customer: Customer, tuned: str, adapter: Path
) -> None:
    client = customer.client()
    raw = client.chat.completions.with_raw_response.create(
        model=tuned, messages=HELLO, temperature=0, max_tokens=8
    )
    answer = raw.parse()
    strict(answer)
    weights = (adapter / "adapter_model.safetensors").read_bytes()
    digest = hashlib.sha256(weights).hexdigest()
    assert raw.headers["x-privatune-adapter-digest"] == f"sha256:{digest}"
    assert raw.headers["x-privatune-base-digest"].startswith("sha256:")
    base = client.chat.completions.with_raw_response.create(
        model=TINY, messages=HELLO, temperature=0, max_tokens=8
    )
    assert "x-privatune-adapter-digest" not in base.headers
    plain = base.parse()
    strict(plain)
    assert plain.choices[0].message.content != answer.choices[0].message.content
    assert plain.system_fingerprint != answer.system_fingerprint
    assert (answer.model, plain.model) == (tuned, TINY)
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert ask(client, tuned).choices[0].message.content == answer.choices[0].message.content


def test_a_stream_tells_the_same_as_the_whole(customer: Customer, tuned: str) -> None:
    client = customer.client()
    whole = ask(client, tuned, logprobs=True, top_logprobs=2)
    text, tokens, reason, usage = "", 0, None, None
    stream = ask(
        client,
        tuned,
        logprobs=True,
        top_logprobs=2,
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        strict(chunk)
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            tokens += len(choice.logprobs.content) if choice.logprobs else 0
            reason = choice.finish_reason or reason
    assert text == whole.choices[0].message.content
    assert tokens == len(whole.choices[0].logprobs.content)
    assert reason == whole.choices[0].finish_reason
    assert usage == whole.usage
    strict(whole)
    assert len(whole.choices[0].logprobs.content[0].top_logprobs) == 2


def test_several_choices_seeds_and_stops(customer: Customer, tuned: str) -> None:
    client = customer.client()
    several = ask(client, tuned, n=3, temperature=1, seed=5)
    strict(several)
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    again = ask(client, tuned, n=3, temperature=1, seed=5)
    assert [c.message.content for c in several.choices] == [
        c.message.content for c in again.choices
    ]
    text = ask(client, tuned).choices[0].message.content
    if len(text) > 2:
        cut = ask(client, tuned, stop=[text[2:4]])
        assert cut.choices[0].message.content == text[: text.index(text[2:4])]
        assert cut.choices[0].finish_reason == "stop"
    assert ask(client, tuned, max_tokens=1).choices[0].finish_reason in ("length", "stop")
    assert ask(client, tuned, max_tokens=None, max_completion_tokens=2).usage.completion_tokens <= 2


def test_completions_answer_each_prompt_in_order(customer: Customer, tuned: str) -> None:
    client = customer.client()
    options: dict[str, Any] = {"model": tuned, "temperature": 0, "max_tokens": 4}
    one = client.completions.create(prompt="Say", **options)
    strict(one)
    many = client.completions.create(prompt=["It is", "Say"], **options)
    strict(many)
    assert [choice.index for choice in many.choices] == [0, 1]
    assert many.choices[1].text == one.choices[0].text
    echoed = client.completions.create(prompt="Say", echo=True, logprobs=1, **options)
    assert echoed.choices[0].text == "Say" + one.choices[0].text
    assert echoed.choices[0].logprobs is not None
    assert echoed.choices[0].logprobs.tokens is not None
    assert "".join(echoed.choices[0].logprobs.tokens) == echoed.choices[0].text
    scored = client.completions.create(prompt="Say", logprobs=0, **options)
    strict(scored)
    columns = scored.choices[0].logprobs
    assert columns is not None
    each = zip(columns.tokens or [], columns.token_logprobs or [], strict=True)
    assert columns.top_logprobs == [{token: logprob} for token, logprob in each]
    streamed = client.completions.create(prompt=["It is", "Say"], stream=True, **options)
    texts = ["", ""]
    for chunk in streamed:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in many.choices]


def test_a_suffix_is_filled_in_before_by_a_base_that_can(
    base_url: str, tiny_model: str, coder: str, model_server: None
) -> None:
    client = new_customer(base_url, models=[coder, tiny_model]).client()
    options: dict[str, Any] = {"model": coder, "temperature": 0, "max_tokens": 6}
    filled = client.completions.create(prompt="turn on", suffix=" please", **options)
    strict(filled)
    assert filled.usage is not None
    alone = client.completions.create(prompt="turn on", **options)
    behind = client.completions.create(prompt=" please", **options)
    assert alone.usage is not None
    assert behind.usage is not None
    both = alone.usage.prompt_tokens + behind.usage.prompt_tokens
    assert filled.usage.prompt_tokens == both + 3
    assert filled.choices[0].text != alone.choices[0].text
    chunks = list(
        client.completions.create(
            prompt=["", "turn on"], suffix=" please", stream=True,
            stream_options={"include_usage": True}, **options,
        )
    )  # fmt: skip
    told = "".join(c.text for chunk in chunks for c in chunk.choices if c.index == 1)
    assert told == filled.choices[0].text
    assert chunks[-1].usage is not None
    assert (
        chunks[-1].usage.prompt_tokens
        == filled.usage.prompt_tokens + behind.usage.prompt_tokens + 3
    )

    refused: list[tuple[dict[str, Any], str, str]] = [
        ({"model": tiny_model}, "cannot_infill", "suffix"),
        ({"prompt": [5, 6]}, "invalid_value", "prompt"),
        ({"prompt": []}, "invalid_value", "prompt"),
        ({"echo": True}, "invalid_value", "echo"),
        ({"prompt": "a" * 4000}, "context_length_exceeded", "prompt"),
    ]
    for given, code, param in refused:
        with pytest.raises(BadRequestError) as error:
            client.completions.create(**(options | {"prompt": "a", "suffix": "b"} | given))
        assert (error.value.code, error.value.param) == (code, param)
    with pytest.raises(APIStatusError) as error:
        new_customer(base_url).client().completions.create(prompt="a", suffix="b", **options)
    assert error.value.status_code == 403
    assert CatalogModel.objects.get(name=coder).infilling == "qwen"
    assert CatalogModel.objects.get(name=tiny_model).infilling == ""


UNOFFERED: list[tuple[dict[str, Any], str]] = [
    ({"frequency_penalty": 2.5}, "frequency_penalty"),
    ({"logit_bias": {"five": 3}}, "logit_bias"),
    ({"response_format": {"type": "grammar"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format"),
    ({"tool_choice": "required"}, "tool_choice"),  # without tools
    ({"store": True}, "store"),
    ({"reasoning_effort": "much"}, "reasoning_effort"),
    ({"extra_body": {"top_k": 5}}, "top_k"),
    ({"temperature": 3}, "temperature"),
    ({"n": 0}, "n"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
]


def test_a_parameter_that_cannot_be_honoured_is_refused(customer: Customer) -> None:
    client = customer.client()
    for given, param in UNOFFERED:
        with pytest.raises(BadRequestError) as refused:
            ask(client, TINY, **given)
        assert refused.value.param == param
    with pytest.raises(BadRequestError) as refused:
        client.completions.create(model=TINY, prompt="x", best_of=3)
    assert refused.value.param == "best_of"
    picture = [{"type": "image_url", "image_url": {"url": "data:,"}}]
    with pytest.raises(BadRequestError) as refused:
        client.chat.completions.create(
            model=TINY,
            messages=[{"role": "user", "content": picture}],  # type: ignore[misc,list-item]
        )
    assert refused.value.param == "messages.0.content.0"


def test_what_changes_nothing_is_accepted(customer: Customer, model_server: None) -> None:
    answer = ask(
        customer.client(),
        TINY,
        user="u",
        frequency_penalty=0,
        response_format={"type": "text"},
        metadata={"a": "b"},
        store=False,
        service_tier="auto",
    )
    assert answer.choices


def test_a_prompt_beyond_the_context_is_refused_before_a_stream_begins(
    customer: Customer, model_server: None
) -> None:
    messages: list[Any] = [{"role": "user", "content": "word " * 5000}]
    with pytest.raises(BadRequestError) as refused:
        customer.client().chat.completions.create(model=TINY, messages=messages, stream=True)
    assert refused.value.code == "context_length_exceeded"


def test_models_are_those_of_the_licence_and_ones_own(customer: Customer, tuned: str) -> None:
    client = customer.client()
    listed = client.models.list().data
    for each in listed:
        strict(each)
    assert {each.id for each in listed} == {TINY, tuned}
    assert client.models.retrieve(tuned).owned_by == customer.slug
    with pytest.raises(PermissionDeniedError):
        client.models.delete(TINY)
    gone = client.models.delete(tuned)
    strict(gone)
    assert gone.deleted
    with pytest.raises(NotFoundError):
        ask(client, tuned)
    assert [each.id for each in client.models.list()] == [TINY]


def test_a_foreign_unknown_or_unlicensed_model_is_never_answered_by_the_base(
    customer: Customer, tuned: str, base_url: str
) -> None:
    other = new_customer(base_url, models=[TINY]).client()
    bodies = []
    for name in (tuned, "ft:tiny:nobody::00000000", "no-such-model", tuned + ":ckpt-step-10"):
        with pytest.raises(NotFoundError) as absent:
            ask(other, name)
        bodies.append(absent.value.response.content)
        with pytest.raises(NotFoundError):
            other.models.retrieve(name)
        with pytest.raises(NotFoundError):
            other.models.delete(name)
    assert len(set(bodies)) == 1
    with pytest.raises(PermissionDeniedError, match="hold no licence"):
        ask(new_customer(base_url).client(), TINY)


def test_without_the_model_server_the_answer_is_503(customer: Customer) -> None:
    """In process, with a socket that nobody listens on."""
    response = Client().post(
        "/v1/chat/completions",
        {"model": TINY, "messages": HELLO},
        content_type="application/json",
        headers={"Authorization": f"Bearer {customer.key}"},
    )
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "serving_unavailable"
    assert "x-should-retry" not in response


def test_a_stream_whose_model_is_slow_begins_without_it_and_goes_on(
    customer: Customer, model_server: "subprocess.Popen[bytes]"
) -> None:
    """The model server stands still until the client has its headers, as while a base is loaded:
    what is asked of the database afterwards is asked when the view has returned."""
    model_server.send_signal(signal.SIGSTOP)
    try:
        stream = ask(customer.client(), TINY, max_tokens=3, stream=True)
    finally:
        model_server.send_signal(signal.SIGCONT)
    assert stream.response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert [chunk.choices[0].finish_reason for chunk in stream][-1] in ("length", "stop")


def test_leaving_a_stream_stops_the_work(customer: Customer, model_server: None) -> None:
    def leave() -> None:
        stream = ask(customer.client(), TINY, **LONG, stream=True)
        next(iter(stream))
        stream.close()

    stops_soon(leave)


def test_errors_carry_the_sdks_type(customer: Customer) -> None:
    with pytest.raises(APIStatusError) as refused:
        ask(customer.client(), "nothing")
    assert refused.value.body == {
        "message": refused.value.body["message"],  # type: ignore[index]
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


def test_hanging_up_while_the_whole_answer_is_made_stops_the_work(
    customer: Customer, model_server: None
) -> None:
    body = json.dumps({"model": TINY, "messages": HELLO} | LONG).encode()
    host, port = customer.base_url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {customer.key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )

    def leave() -> None:
        with socket.create_connection((host, int(port))) as line:
            line.sendall(head.encode() + body)
            until(lambda: running() > 0, "the answer did not begin")

    stops_soon(leave)


# Some 1,900 turns: 128 answers that nothing but the context ends, on 32 rows.
LONG: dict[str, Any] = {"n": 128, "max_tokens": None, "temperature": 1}


def stops_soon(leave: Callable[[], None]) -> None:
    """Who has left such an answer is not written for any more. Once of five at the latest, because
    turns go on while this process, or the web's, does not run."""
    taken = []
    for _ in range(5):
        before = turns()
        leave()
        until(lambda: running() == 0, "the work goes on")
        taken.append(turns() - before)
        if taken[-1] < 500:
            return
    pytest.fail(f"turns taken for somebody who had left: {taken}")


@pytest.mark.parametrize(
    ("kwargs", "param"),
    [
        ({"enable_thinking": True}, "chat_template_kwargs.enable_thinking"),
        ({"enable_thinking": "yes"}, "chat_template_kwargs.enable_thinking"),
        ({"add_vision_id": True}, "chat_template_kwargs.add_vision_id"),
    ],
)
def test_what_the_chat_template_cannot_be_told_is_refused_by_its_key(
    customer: Customer, model_server: None, kwargs: dict[str, Any], param: str
) -> None:
    with pytest.raises(BadRequestError) as caught:
        ask(customer.client(), TINY, extra_body={"chat_template_kwargs": kwargs})
    assert caught.value.param == param


def test_a_tuned_model_is_asked_as_it_was_trained_unless_the_caller_says_otherwise(
    customer: Customer, tuned: str
) -> None:
    """The tiny base knows no thinking: that it refuses to shows what it was asked."""
    client = customer.client()
    plain = ask(client, tuned)
    trained_to_think(customer, tuned, "off")
    assert ask(client, tuned).choices[0].message.content == plain.choices[0].message.content
    trained_to_think(customer, tuned, "on")
    with pytest.raises(BadRequestError) as caught:
        ask(client, tuned)
    assert caught.value.code == "thinking_unsupported"
    ask(client, tuned, extra_body={"chat_template_kwargs": {"enable_thinking": False}})
    client.completions.create(model=tuned, prompt="turn on", max_tokens=2)


def trained_to_think(customer: Customer, model: str, thinking: str) -> None:
    with tenant_scope(customer.tenant_id):
        passport = {"hyperparameters": {"thinking": thinking}}
        Artifact.objects.filter(model_name=model).update(passport=passport)


def test_reasoning_is_given_apart_whole_and_streamed() -> None:
    async def deltas() -> AsyncIterator[Delta]:
        yield Delta(reasoning="hm, ")
        yield Delta(reasoning="so")
        yield Delta(text="yes", finish_reason="stop")
        yield Delta(usage=Usage(prompt_tokens=1, completion_tokens=2))

    async def streamed() -> list[dict[str, Any]]:
        return [event async for event in chat.events({}, asked, deltas())]

    asked = ChatRequest(model="m", messages=HELLO)
    body = asyncio.run(chat.whole({}, asked, deltas()))
    message = body["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("hm, so", "yes")
    gained = [event["choices"][0]["delta"] for event in asyncio.run(streamed())]
    assert gained[1:] == [
        {"reasoning_content": "hm, "},
        {"reasoning_content": "so"},
        {"content": "yes"},
    ]


def test_reasoning_of_earlier_answers_is_taken_by_both_of_its_names() -> None:
    messages: list[Any] = [*HELLO, {"role": "assistant", "content": "3", "reasoning": "easy"}]
    shown = ChatRequest(model="m", messages=messages).generation()["messages"]
    assert shown[1]["reasoning_content"] == "easy"
    messages[1]["reasoning"] = 3
    with pytest.raises(UserFault) as caught:
        fit(ChatRequest, {"model": "m", "messages": messages})
    assert caught.value.param == "messages.1.reasoning"
