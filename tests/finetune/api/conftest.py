"""A live server over the tests' own database and data folder, for the unmodified openai client."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from privatune.stack.processes import CONNECTIONS
from tests.finetune.api.customers import Customer, new_customer
from tests.fixtures.ports import own_port
from tests.fixtures.waiting import stop, until

ROOT = Path(__file__).resolve().parents[3]
PLAIN = "privatune.asgi:application"
PATIENT = "tests.fixtures.patient:application"
STILL = "tests.fixtures.still:application"
MAX_FILE_MB = 96
TINY = "tiny"
RANKS = "ranks"
UNLIMITED = resource.RLIM_INFINITY


@contextmanager
def serving_http(
    application: str, workers: int = 1, *, largest_file: int = UNLIMITED, **extra: str
) -> Iterator[tuple[str, int]]:
    """Runs the ASGI application; gives its address and the id of its process. Nothing that it
    writes grows beyond `largest_file` bytes: its disk is then full."""
    port = own_port()
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}",
        "PRIVATUNE_MAX_FILE_MB": str(MAX_FILE_MB),
        "PRIVATUNE_LOG_LEVEL": "WARNING",
        **extra,
    }
    command = [
        *(sys.executable, "-m", "granian", application, "--interface", "asgi"),
        *("--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"),
        *("--workers", str(workers)),
        *CONNECTIONS,
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, UNLIMITED)),
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _answers(url), "the server did not start", of=process, pause=0.1)
        yield url, process.pid
    finally:
        stop(process)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def server(django_db_setup: None) -> Iterator[tuple[str, int]]:
    with serving_http(PATIENT) as running:
        yield running


@pytest.fixture
def base_url(server: tuple[str, int], committed: None) -> str:
    return server[0]


@pytest.fixture(scope="session")
def tiny_model(django_db_setup: None, django_db_blocker: object, tiny_base: Path) -> str:
    """The tiny base in the store and in the catalogue."""
    from finetune.services.models.catalog import import_model

    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        import_model(source=str(tiny_base), name=TINY, licence="Apache-2.0", actor="test")
    return TINY


@pytest.fixture(scope="session")
def coder(
    django_db_setup: None, django_db_blocker: object, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """A base with Qwen2.5-Coder's control tokens, in the store and in the catalogue."""
    from finetune.services.models.catalog import import_model
    from tests.tiny import build_tiny_base

    names = ["<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|file_sep|>", "<|repo_name|>"]
    folder = build_tiny_base(tmp_path_factory.mktemp("coder") / "base", seed=3, control=names)
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        import_model(source=str(folder), name="coder", licence="Apache-2.0", actor="test")
    return "coder"


@pytest.fixture(scope="session")
def ranks(
    django_db_setup: None, django_db_blocker: object, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a base that ranks, which is in the store and in the catalogue, too."""
    from finetune.services.models.catalog import import_model
    from tests.rerankers import build_reranker

    folder = build_reranker(tmp_path_factory.mktemp("ranks") / "base", spread=8)
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        import_model(source=str(folder), name=RANKS, licence="Apache-2.0", actor="test")
    return folder


@pytest.fixture
def customer(base_url: str, tiny_model: str) -> Customer:
    return new_customer(base_url, models=[tiny_model])


@pytest.fixture
def training_file(customer: Customer) -> str:
    """A checked training file of the customer."""
    from tests.finetune.api.customers import chat_rows

    sent = customer.client().files.create(file=("rows.jsonl", chat_rows()), purpose="fine-tune")
    customer.check_files()
    return sent.id
