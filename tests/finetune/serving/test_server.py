"""The server as a process: adapters over the socket, hanging up, stopping, being killed."""

import asyncio
import json
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest

from faults import Fault, OurFault, UserFault
from finetune.serving.client import ServingClient
from finetune.serving.protocol import GenerateRequest
from tests.fixtures.serving import until_serving
from tests.fixtures.waiting import is_alive, until, until_async

from .conftest import Process, Start, ask, read_files, run


@pytest.fixture
def request_for(tiny_base: Path) -> Any:
    def make(**fields: Any) -> GenerateRequest:
        return ask(base_path=str(tiny_base), **fields)

    return make


async def text_of(client: ServingClient, request: GenerateRequest) -> str:
    return (await client.collect(request))[0].text


def failing(work: Any) -> Fault:
    with pytest.raises(Fault) as caught:
        run(work)
    return caught.value


def test_only_its_owner_may_open_the_socket(server: Process) -> None:
    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o600


def test_an_adapter_that_was_not_sent_is_never_the_base(
    server: Process, request_for: Any, tiny_base: Path, adapter_folders: dict[str, Path]
) -> None:
    client = server.client
    error = failing(client.collect(request_for(adapter_digest="a1")))
    assert isinstance(error, OurFault)
    assert error.code == "adapter_not_loaded"
    weights, config = read_files(adapter_folders["lora"])

    async def send_and_ask() -> tuple[bool, bool, str, str]:
        before = await client.has_adapter("t", "tiny", "a1")
        await client.load_adapter(tiny_base, "a1", weights, config, tenant="t", base_digest="tiny")
        after = await client.has_adapter("t", "tiny", "a1")
        adapted = await text_of(client, request_for(adapter_digest="a1"))
        return before, after, adapted, await text_of(client, request_for())

    before, after, adapted, plain = run(send_and_ask())
    assert (before, after) == (False, True)
    assert adapted != plain


def test_an_adapter_belongs_to_the_base_it_was_sent_for(
    server: Process, tiny_base: Path, adapter_folders: dict[str, Path]
) -> None:
    sent = server.client.load_adapter(
        tiny_base, "a2", *read_files(adapter_folders["other"]), tenant="t", base_digest="tiny"
    )
    run(sent)
    request = ask(base_path=str(tiny_base), base_digest="another", adapter_digest="a2")
    assert failing(server.client.collect(request)).code == "adapter_not_loaded"


def test_many_callers_at_once_get_what_each_would_get_alone(
    server: Process, request_for: Any
) -> None:
    requests = [request_for(prompt=f"light {i}", max_tokens=10 + i) for i in range(6)]

    async def together() -> list[str]:
        return list(await asyncio.gather(*(text_of(server.client, r) for r in requests)))

    alone = [run(text_of(server.client, request)) for request in requests]
    assert run(together()) == alone


def test_an_answer_streams(server: Process, request_for: Any) -> None:
    async def moments() -> list[float]:
        return [time.monotonic() async for _ in server.client.generate(request_for(max_tokens=60))]

    times = run(moments())
    assert len(times) > 10
    assert times[-1] > times[0]


def test_hanging_up_stops_the_work(server: Process, request_for: Any) -> None:
    """128 answers on 32 rows take some 1,900 turns. Once of five a few, because turns go on while
    this process does not run."""
    request = request_for(prompt="turn", n=128, max_tokens=None, temperature=1.0)

    async def idle() -> bool:
        return all(not base.running + base.waiting for base in (await server.client.status()).bases)

    async def turns_after_hanging_up() -> int:
        before = (await server.client.status()).turns
        async with aclosing(server.client.generate(request)) as deltas:
            async for _ in deltas:
                break
        await until_async(idle, "who hung up is still answered")
        return (await server.client.status()).turns - before

    assert any(run(turns_after_hanging_up()) < 500 for _ in range(5))


def test_full_queues_are_said_by_name(server: Process, request_for: Any) -> None:
    def crowd(tenants: list[str]) -> list[str | None]:
        """What each is told, in the order in which all of them have been sent at once."""
        # 40 choices a request: 32 rows are answered at once, so that the rest must wait
        with ExitStack() as lines:
            with server.held():
                asked = [lines.enter_context(socket.socket(socket.AF_UNIX)) for _ in tenants]
                for line, tenant in zip(asked, tenants, strict=True):
                    line.connect(str(server.socket))
                    request = request_for(tenant=tenant, n=40, max_tokens=60, temperature=1.0)
                    line.sendall(request.model_dump_json().encode() + b"\n")
            frames = [json.loads(line.makefile("rb").readline()) for line in asked]
        run(until_async(idle, "who hung up is still answered"))
        return [frame["error"]["code"] if "error" in frame else None for frame in frames]

    async def idle() -> bool:
        return all(not base.running + base.waiting for base in (await server.client.status()).bases)

    alone = crowd(["a"] * 16)
    assert set(alone) == {None, "too_many_waiting"}
    assert alone.count(None) >= 4
    all_of_them = crowd(list("abcdefghijklmnop"))
    assert set(all_of_them) == {None, "overloaded"}
    assert all_of_them.count(None) >= 6


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"prompt": [5] * 600}, "context_length_exceeded", "prompt"),
        ({"prompt": "a", "suffix": "b"}, "cannot_infill", "suffix"),
    ],
)
def test_the_callers_faults_arrive_as_such(
    server: Process, request_for: Any, fields: dict[str, Any], code: str, param: str
) -> None:
    error = failing(server.client.collect(request_for(**fields)))
    assert isinstance(error, UserFault)
    assert (error.code, error.param) == (code, param)


def raw(server: Process, data: bytes) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(server.socket))
        connection.sendall(data)
        reply: dict[str, Any] = json.loads(connection.makefile("rb").readline())
        return reply


def test_what_is_no_call_is_refused_with_the_field(server: Process) -> None:
    assert raw(server, b"{not json\n")["error"]["code"] == "invalid_request"
    assert raw(server, b'{"op": "has_adapter", "tenant": "t"}\n')["error"]["param"].endswith(
        "base_digest"
    )
    error = raw(server, b'{"op": "reboot"}\n')["error"]
    assert (error["family"], error["code"]) == ("user", "invalid_request")


def test_an_adapter_beyond_the_servers_memory_is_refused_before_it_is_read(
    server: Process,
) -> None:
    call = {
        "op": "load_adapter",
        "tenant": "t",
        "base_path": "-",
        "base_digest": "b",
        "digest": "d",
    }
    line = json.dumps(call | {"config": {}, "bytes": 1 << 40}).encode() + b"\n"
    assert raw(server, line)["error"]["code"] == "adapter_too_large"


def test_a_missing_base_is_our_fault_and_the_server_lives_on(server: Process) -> None:
    error = failing(server.client.collect(ask(base_path="/nowhere", base_digest="none")))
    assert (type(error), error.code) == (OurFault, "base_missing")
    assert run(server.client.status()).pid == server.popen.pid


def test_a_base_with_another_digest_in_its_record_is_refused(
    server: Process, tiny_base: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "b"
    folder.mkdir()
    for file in tiny_base.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "base.json").write_text('{"digest": "sha256:other"}')
    error = failing(server.client.collect(ask(base_path=str(folder), base_digest="sha256:mine")))
    assert error.code == "base_mismatch"


def test_sigterm_ends_it_and_names_the_reason_to_who_waits(start: Start, request_for: Any) -> None:
    process = start("--tenant-waiting", "1000", "--max-rows", "1")

    async def interrupted() -> Fault | None:
        # 128 answers one after the other: minutes, however long this process may not run
        request = request_for(n=128, max_tokens=None, temperature=1.0)
        try:
            async for _ in process.client.generate(request):
                process.popen.send_signal(signal.SIGTERM)
        except Fault as error:
            return error
        return None

    error = run(interrupted())
    assert error is not None
    assert error.code == "shutting_down"
    assert process.popen.wait() == 0
    assert not process.socket.exists()


def test_killed_it_can_start_again_on_the_same_socket(start: Start, request_for: Any) -> None:
    first = start()
    before = run(text_of(first.client, request_for()))
    first.kill()
    assert failing(first.client.status()).code == "serving_unavailable"
    second = start()
    assert run(text_of(second.client, request_for())) == before


def test_a_second_server_on_the_same_socket_ends_with_one_clear_line(server: Process) -> None:
    command = [sys.executable, "-m", "finetune.serving", "--socket", str(server.socket)]
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 64
    assert second.stderr.strip().splitlines()[-1].startswith("serving: Another model server")
    assert run(server.client.status()).pid == server.popen.pid


def test_it_ends_when_its_parent_does(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    program = (
        "import subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'finetune.serving', '--socket', sys.argv[1]]\n"
        "p = subprocess.Popen(command)\n"
        "print(p.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    until_serving(ServingClient(path), parent)
    parent.kill()
    parent.wait()
    until(lambda: not is_alive(child), "it runs on")
    assert not path.exists()


def test_bases_and_adapters_unused_for_longest_make_room(
    start: Start, tiny_base: Path, adapter_folders: dict[str, Path]
) -> None:
    process = start("--max-bases", "1")
    client = process.client
    weights, config = read_files(adapter_folders["lora"])

    async def change() -> tuple[list[str], bool]:
        await client.load_adapter(tiny_base, "a", weights, config, tenant="t", base_digest="one")
        await client.collect(ask(base_path=str(tiny_base), base_digest="two"))
        status = await client.status()
        return [base.digest for base in status.bases], await client.has_adapter("t", "one", "a")

    assert run(change()) == (["two"], False)
