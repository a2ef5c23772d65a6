"""A base in memory, adapters made with peft, and a real server process on a real socket."""

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from faults import Fault
from finetune.families.adapters.assignment import Adapter
from finetune.serving.bases import Base, load_base
from finetune.serving.client import ServingClient
from finetune.serving.lane import Limits
from finetune.serving.protocol import Delta, GenerateRequest
from finetune.serving.scheduler import Scheduler
from finetune.serving.structured.asked import constraint_of
from finetune.serving.ticket import Ticket, encode_prompt
from tests.fixtures.serving import until_serving


def make_adapter(base: Path, out: Path, seed: int, **settings: Any) -> Path:
    """A peft adapter whose random weights are strong enough to change every answer."""
    model = AutoModelForCausalLM.from_pretrained(base)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", **settings)
    with torch.random.fork_rng(devices=[]):  # peft draws lora_A from the process's own
        torch.manual_seed(seed)
        adapted = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(seed)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data = torch.randn(weight.shape, generator=generator) * 0.3
        if "lora_magnitude" in name:
            weight.data *= 1 + 0.3 * torch.rand(weight.shape, generator=generator)
    adapted.save_pretrained(out)
    return out


def read_files(folder: Path) -> tuple[bytes, dict[str, Any]]:
    import json

    config = json.loads((folder / "adapter_config.json").read_text())
    return (folder / "adapter_model.safetensors").read_bytes(), config


@pytest.fixture(scope="session")
def base(tiny_base: Path) -> Base:
    return load_base(tiny_base, "tiny", "fp32")


@pytest.fixture(scope="session")
def adapter_folders(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("adapters")
    kinds: dict[str, dict[str, Any]] = {
        "lora": {},
        "other": {},
        "rslora": {"use_rslora": True},
        "dora": {"use_dora": True},
        "pattern": {"alpha_pattern": {"q_proj": 32}, "rank_pattern": {"v_proj": 2}},
    }
    return {
        name: make_adapter(tiny_base, root / name, seed, **settings)
        for seed, (name, settings) in enumerate(kinds.items())
    }


@pytest.fixture(scope="session")
def adapters(base: Base, adapter_folders: dict[str, Path]) -> dict[str, Adapter]:
    return {
        name: base.model.read_adapter(*read_files(folder))
        for name, folder in adapter_folders.items()
    }


def ask(**fields: Any) -> GenerateRequest:
    """A greedy request to the tiny base unless said otherwise."""
    given = {"tenant": "t", "base_path": "-", "base_digest": "tiny", "temperature": 0.0}
    given["max_tokens"] = 16
    if "prompt" not in fields and "messages" not in fields:
        given["messages"] = [{"role": "user", "content": "turn on the light"}]
    return GenerateRequest.model_validate(given | fields)


@dataclass
class Answer:
    """What a request got: every delta, and each choice's tokens as the model wrote them."""

    ticket: Ticket
    deltas: list[Delta]
    error: Fault | None

    def text(self, index: int = 0) -> str:
        return "".join(d.text for d in self.deltas if d.index == index)

    def ids(self, index: int = 0) -> list[int]:
        return self.ticket.choices[index].ids[len(self.ticket.prompt) :]

    def reason(self, index: int = 0) -> str | None:
        reasons = [d.finish_reason for d in self.deltas if d.index == index and d.finish_reason]
        assert len(reasons) == 1
        return reasons[0]


Batch = Callable[..., list[Answer]]


@pytest.fixture
def batch(base: Base) -> Iterator[Batch]:
    """Submit requests together to one scheduler and wait for every answer."""
    schedulers = []

    def run(
        *requests: GenerateRequest | tuple[GenerateRequest, Adapter],
        limits: Limits | None = None,
        on: Base = base,
    ) -> list[Answer]:
        scheduler = Scheduler(limits or Limits(), threads=1)
        schedulers.append(scheduler)
        answers, waits = [], []
        for item in requests:
            request, adapter = item if isinstance(item, tuple) else (item, None)
            answer, wait = _submit(scheduler, on, request, adapter)
            answers.append(answer)
            waits.append(wait)
        scheduler.start()
        for wait in waits:
            wait.wait()
        return answers

    yield run
    for scheduler in schedulers:
        scheduler.stop()


def _submit(
    scheduler: Scheduler, base: Base, request: GenerateRequest, adapter: Adapter | None
) -> tuple[Answer, threading.Event]:
    done = threading.Event()
    deltas: list[Delta] = []

    def emit(item: Delta | Fault) -> None:
        if isinstance(item, Fault):
            answer.error = item
            done.set()
            return
        deltas.append(item)
        if item.usage is not None:
            done.set()

    prompt = encode_prompt(base, request)
    ticket = Ticket(request, base, adapter, prompt, emit, constraint_of(base, request))
    answer = Answer(ticket, deltas, None)
    scheduler.submit(ticket)
    return answer, done


# --- the process


WAITING = ("--max-waiting", "300", "--tenant-waiting", "200")


class Process:
    """A real `python -m finetune.serving`."""

    def __init__(self, socket: Path, *arguments: str) -> None:
        self.socket = socket
        command = [sys.executable, "-m", "finetune.serving", "--socket", str(socket)]
        command += ["--threads", "1", "--precision", "fp32", *arguments]
        self.popen = subprocess.Popen(command)
        self.client = ServingClient(socket)

    def until_ready(self) -> "Process":
        until_serving(self.client, self.popen)
        return self

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    @contextmanager
    def held(self) -> Iterator[None]:
        """It does not run meanwhile: what is sent to it then, it finds all at once."""
        self.popen.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.popen.send_signal(signal.SIGCONT)


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start servers that are gone by the end of the test."""
    running: list[Process] = []

    def begin(*arguments: str) -> Process:
        running.append(Process(tmp_path / "s.sock", *arguments))
        return running[-1].until_ready()

    yield begin
    for process in running:
        process.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One server for the tests that leave it as they found it."""
    process = Process(tmp_path_factory.mktemp("s") / "s.sock", *WAITING)
    yield process.until_ready()
    process.kill()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)
