"""`privatune serve`: a bundle answers by itself, or says why it does not."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from faults import OurFault, UserFault
from finetune.packaging import merged, reloaded
from finetune.packaging.base import import_base
from finetune.packaging.bundle import build, tar
from finetune.packaging.forms import FORMS
from finetune.packaging.merged import build_merged
from finetune.packaging.passport import Passport
from finetune.packaging.signing import Signer, generate_key, load_signer
from privatune.alone import door as door_module
from privatune.alone.callers import Callers, require_json
from privatune.alone.clock import HighWater
from privatune.alone.door import Door
from privatune.alone.engine import running
from privatune.alone.opened import Opened, opened, require_merged, unpacked
from privatune.alone.serving import _require_free
from privatune.alone.terms import Terms
from privatune.cli.serve import _key_in
from tests.finetune.packaging.conftest import adapter, passport, signer  # noqa: F401  fixtures
from tests.fixtures.ports import own_port

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)  # as the passport says
ENDS = datetime(2100, 1, 1, tzinfo=UTC)
SECRET = "a-key-of-the-tests"
QUESTION: list[Any] = [{"role": "user", "content": "turn on the light in the kitchen please"}]


class Taken:
    """What a customer has taken away, and the base beside it."""

    def __init__(self, root: Path, base: Path, result: Path, told: Passport, by: Signer) -> None:
        self.root, self.base, self.signer = root, base, by
        info = import_base(base, root / "store", name="tiny", licence="MIT", source_label="here")
        self.stored, self.digest = root / "store" / info.path, info.digest
        self.passport = told.model_copy(
            update={"base": told.base.model_copy(update={"digest": info.digest})}
        )
        self.bundle = root / "bundle"
        build(
            self.bundle,
            adapter_dir=result,
            passport=self.passport,
            license_terms={
                "granted": {"valid_from": "2026-01-01T00:00:00Z", "valid_until": ENDS.isoformat()}
            },
            signer=by,
            base_dir=base,
        )

    def opened(self, folder: Path | None = None, **more: Any) -> Opened:
        asked: dict[str, Any] = {
            "base": self.stored, "store": self.root / "bases", "fingerprint": None,
            "key": self.signer.public_pem,
        }  # fmt: skip
        return opened(folder or self.bundle, **(asked | more))


@pytest.fixture(scope="module")
def taken(
    tiny_base: Path,
    adapter: Path,  # noqa: F811
    passport: Passport,  # noqa: F811
    signer: Signer,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Taken:
    return Taken(tmp_path_factory.mktemp("taken"), tiny_base, adapter, passport, signer)


def greedy(taken: Taken) -> str:
    """By stock peft."""
    base = AutoModelForCausalLM.from_pretrained(taken.base)
    model = PeftModel.from_pretrained(base, taken.bundle / "adapter")
    tokenizer = AutoTokenizer.from_pretrained(taken.bundle / "tokenizer")
    ids = tokenizer.apply_chat_template(
        QUESTION, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        found = model.generate(**ids, do_sample=False, max_new_tokens=12)
    answer = found[0, ids["input_ids"].shape[1] :]
    return str(tokenizer.decode(answer, skip_special_tokens=True))


# Says at its end whether a framework or a database's client was loaded.
PROGRAM = """
import sys
from privatune.cli.app import app
try:
    app(sys.argv[1:])
finally:
    print("loaded:", [name for name in ("django", "celery", "psycopg") if name in sys.modules])
"""


@pytest.fixture
def server(taken: Taken, tmp_path: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Of the .tar, on the folder of a base that was never imported."""
    tar(taken.bundle, tmp_path / "model.tar")
    (tmp_path / "operator.pem").write_text(taken.signer.public_pem)
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    words = [
        "serve", "model.tar", "--base", str(taken.base), "--key", "operator.pem", "--json",
        "--port", str(own_port()), "--api-key-file", "secret", "--state", "state",
        "--precision", "fp32", "--threads", "1",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        ready = json.loads(process.stdout.readline())
        assert ready["model"] == taken.passport.name
        yield ready["base_url"], process
    finally:
        process.kill()
        process.wait()


def test_the_openai_client_asks_a_bundle_where_no_server_and_no_framework_is(
    taken: Taken, server: tuple[str, "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    url, process = server
    client = openai.OpenAI(base_url=url, api_key=SECRET, max_retries=0)
    name = taken.passport.name
    assert [model.id for model in client.models.list()] == [name]
    assert client.models.retrieve(name).id == name
    asked: dict[str, Any] = {"model": name, "messages": QUESTION, "temperature": 0}
    whole = client.chat.completions.create(**asked, max_tokens=12)
    assert whole.choices[0].message.content == greedy(taken)
    assert whole.usage is not None
    chunks = list(
        client.chat.completions.create(
            **asked, max_tokens=12, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    several = client.completions.create(
        model=name, prompt=["turn on", "switch off"], max_tokens=3, temperature=0, n=2, logprobs=1
    )
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
    streamed = client.completions.create(
        model=name, prompt="turn on", max_tokens=3, temperature=0, stream=True
    )
    assert "".join(each.choices[0].text for each in streamed) == several.choices[0].text
    with pytest.raises(openai.NotFoundError, match="is not served here"):
        client.chat.completions.create(**(asked | {"model": "tiny"}))
    with pytest.raises(openai.BadRequestError, match="There is no parameter `temprature`"):
        client.chat.completions.create(**asked, extra_body={"temprature": 1})
    with pytest.raises(openai.BadRequestError, match="for filling in the middle") as cannot:
        client.completions.create(model=name, prompt="turn", suffix="light")
    assert cannot.value.code == "cannot_infill"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=url, api_key="another", max_retries=0).models.list()
    with ExitStack() as silent:
        for _ in range(300):
            address = ("127.0.0.1", httpx.URL(url).port or 0)
            silent.enter_context(socket.create_connection(address)).sendall(b"GET / HTTP/1.1\r\n")
        assert client.chat.completions.create(**asked, max_tokens=1).choices, "it answers on"
    with pytest.raises(UserFault, match="cannot be listened on") as caught:
        _require_free("127.0.0.1", httpx.URL(url).port or 0)
    assert caught.value.code == "address_in_use"
    assert datetime.fromisoformat((tmp_path / "state" / "clock").read_text()) > CREATED
    process.terminate()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert said.strip() == "loaded: []"


@pytest.mark.parametrize("form", [each for each in FORMS if each != "merged"])
def test_a_form_for_other_programs_is_not_served(form: str) -> None:
    with pytest.raises(UserFault, match="other programs serve") as caught:
        require_merged(form)
    assert caught.value.code == "form_not_served"


def test_a_merged_form_answers_as_the_bundle_without_a_base_beside_it(
    taken: Taken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(command: list[str], **_: Any) -> "subprocess.CompletedProcess[bytes]":
        reloaded.main(Path(command[-1]))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(merged.subprocess, "run", here)
    form = tmp_path / "form"
    terms = json.loads((taken.bundle / "license.json").read_text())
    build_merged(
        form, bundle=taken.bundle, artifact="sha256:0", license_terms=terms, signer=taken.signer,
        base_dir=taken.base,
    )  # fmt: skip
    made = taken.opened(form, base=None)
    assert made.adapter is None

    clock = HighWater(tmp_path / "clock", least=made.signed_at)

    async def answer() -> str:
        socket = tmp_path / "s"
        async with running(made, socket, precision="fp32", threads=1) as engine:
            asked = {"messages": QUESTION, "temperature": 0.0, "max_tokens": 12}
            await hung_up_on(Door(engine, clock, Callers(None)), taken.passport.name)
            while (await engine._client.status()).bases[0].requests:
                await asyncio.sleep(0.01)  # the engine hears of it from the socket
            return "".join([delta.text async for delta in await engine.begun(asked)])

    assert asyncio.run(answer()) == greedy(taken)
    with pytest.raises(UserFault, match="has its base in it"):
        taken.opened(form)


async def hung_up_on(door: Door, model: str) -> None:
    """A caller who reads the beginning of a long answer and goes."""
    body = json.dumps({"model": model, "messages": QUESTION, "stream": True, "n": 8})
    read = asyncio.Event()
    left = [{"type": "http.request", "body": body.encode(), "more_body": False}]
    got: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if left:
            return left.pop()
        await read.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        got.append(message)
        if len(got) == 12:
            read.set()

    headers = [(b"host", b"localhost:8001"), (b"content-type", b"application/json")]
    scope = {"type": "http", "path": "/v1/chat/completions", "method": "POST", "headers": headers}
    await door(scope, receive, send)
    assert got[0]["status"] == 200
    assert all(message["more_body"] for message in got[1:]), "it was not written to its end"


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({b"host": b"evil.example:8001"}, "wrong_host"),
        ({b"host": b"127.0.0.1.evil.example"}, "wrong_host"),
        ({b"host": b"localhost@evil.example"}, "wrong_host"),
        ({b"host": "löcalhost".encode()}, "wrong_host"),
        ({b"host": b"[::1"}, "wrong_host"),
        ({}, "wrong_host"),
        ({b"host": b"localhost:8001", b"origin": b"http://evil.example"}, "foreign_origin"),
        ({b"host": b"localhost:8001", b"origin": b"null"}, "foreign_origin"),
        ({b"host": b"127.0.0.1:8001", b"origin": b"http://localhost:3000"}, None),
        ({b"host": b"LOCALHOST"}, None),
        ({b"host": b"[::1]:8001"}, None),
    ],
)
def test_a_web_page_and_a_name_bent_to_this_machine_are_not_answered_where_no_key_is(
    sent: dict[bytes, bytes], code: str | None
) -> None:
    callers = Callers(None)
    if code is None:
        callers.require(sent)
    else:
        assert code_of(lambda: callers.require(sent)) == code
    with_key = Callers("k")
    for none in ({}, {b"authorization": b"Bearer "}, {b"authorization": b"Bearer l"}):
        assert code_of(lambda none=none: with_key.require(sent | none)) == "invalid_api_key"
    assert code_of(lambda: Callers("").require(sent)) == "invalid_api_key"
    with_key.require(sent | {b"authorization": b"Bearer k"})


@pytest.mark.parametrize("held", ["", " \n \n", "short", "two words, one key"])
def test_a_file_without_a_key_lets_nobody_in(held: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(held)
    assert code_of(lambda: _key_in(tmp_path / "key")) == "api_key_malformed"


def test_one_that_is_stopped_while_it_starts_leaves_nothing(taken: Taken, tmp_path: Path) -> None:
    tar(taken.bundle, tmp_path / "model.tar")
    words = ["serve", "model.tar", "--base", str(taken.base), "--fingerprint", "x"]
    words[-1] = taken.signer.fingerprint
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words, "--state", "state", "--port", str(own_port())],
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp")},
    )
    while process.poll() is None and not any((tmp_path / "tmp").iterdir()):
        time.sleep(0.01)
    process.terminate()
    assert process.wait() == 128 + signal.SIGTERM
    assert not any((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize("kind", [b"", b"text/plain", b"application/x-www-form-urlencoded"])
def test_a_body_that_a_page_can_send_unasked_is_not_read(kind: bytes) -> None:
    assert code_of(lambda: require_json({b"content-type": kind})) == "unsupported_media_type"
    require_json({b"content-type": b"Application/JSON; charset=utf-8"})


def test_a_body_that_stays_half_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "BODY_SECONDS", 0.05)
    half = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> dict[str, Any]:
        if not half:
            await asyncio.Event().wait()
        return half.pop()

    assert code_of(lambda: asyncio.run(door_module._body(receive))) == "request_timeout"


def code_of(call: Any) -> str:
    with pytest.raises(UserFault) as caught:
        call()
    return caught.value.code


def test_nothing_is_served_that_was_changed_or_stands_on_another_base(
    taken: Taken, tmp_path: Path
) -> None:
    other = load_signer(generate_key())
    assert code_of(lambda: taken.opened(key=other.public_pem)) == "not_verified"
    changed = Path(shutil.copytree(taken.bundle, tmp_path / "changed"))
    terms = (changed / "license.json").read_text()
    (changed / "license.json").write_text(terms.replace("2100", "2200"))
    assert code_of(lambda: taken.opened(changed)) == "not_verified"
    (tmp_path / "cut.tar").write_bytes(b"no tar")
    assert code_of(lambda: unpacked(tmp_path / "cut.tar", tmp_path)) == "not_verified"
    assert code_of(lambda: taken.opened(base=None)) == "base_needed"
    base = Path(shutil.copytree(taken.base, tmp_path / "base"))
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"rope_theta": 5000.0}))
    assert code_of(lambda: taken.opened(base=base)) == "other_base"
    assert taken.opened().base_digest == taken.digest


def test_a_licence_ends_on_its_day_whatever_the_clock_says_later(tmp_path: Path) -> None:
    at = {"now": CREATED}

    def clock() -> HighWater:
        return HighWater(tmp_path / "clock", least=CREATED, now=lambda: at["now"])

    end = CREATED + timedelta(days=2)
    terms = Terms.of({"granted": {"valid_until": end.isoformat()}})
    terms.require(clock())
    at["now"] = CREATED - timedelta(hours=2)  # before it was signed
    assert code_of(lambda: terms.require(clock())) == "clock_behind"
    at["now"] = end - timedelta(minutes=1)
    running_one = clock()
    terms.require(running_one)
    at["now"] = end
    assert code_of(lambda: terms.require(running_one)) == "license_expired"
    at["now"] = end - timedelta(minutes=30)  # within the tolerance: the latest time counts
    assert code_of(lambda: terms.require(running_one)) == "license_expired"
    assert code_of(lambda: terms.require(clock())) == "license_expired"
    at["now"] = end - timedelta(hours=2)
    assert code_of(lambda: terms.require(clock())) == "clock_behind"
    Terms.of({"granted": {"valid_until": None}}).require(running_one_at(tmp_path, end))
    later = Terms.of({"granted": {"valid_from": f"{end + timedelta(days=1)}", "valid_until": None}})
    assert code_of(lambda: later.require(running_one_at(tmp_path, end))) == "license_not_yet"
    for unreadable in (
        {},
        {"granted": None},
        {"granted": {}},
        {"granted": {"valid_until": "soon"}},
    ):
        assert code_of(lambda told=unreadable: Terms.of(told)) == "license_unreadable"
    for written in ("no time", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        (tmp_path / "clock").write_text(written)
        assert code_of(clock) == "clock_unreadable"
    (tmp_path / "clock").unlink()
    running = clock()
    (tmp_path / "clock").mkdir()
    with pytest.raises(OurFault) as unwritable:
        running.time()
    assert unwritable.value.code == "clock_unwritable"
    (tmp_path / "clock").rmdir()
    (tmp_path / "clock").symlink_to("/dev/zero")
    assert code_of(clock) == "clock_unreadable"
    (tmp_path / "clock").unlink()
    os.mkfifo(tmp_path / "clock")
    assert code_of(clock) == "clock_unreadable"


def running_one_at(folder: Path, moment: datetime) -> HighWater:
    return HighWater(folder / "clock", least=CREATED, now=lambda: moment)
