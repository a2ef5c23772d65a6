"""Open WebUI in front of this server, where its several gigabytes are installed.

python3.11 -m venv OWN && OWN/bin/pip install open-webui==0.12.4
OPEN_WEBUI=OWN/bin/open-webui python -m pytest tests/finetune/api/test_open_webui.py
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import ROOT
from tests.finetune.api.conftest import TINY
from tests.finetune.api.customers import Customer
from tests.fixtures.ports import own_port
from tests.fixtures.waiting import stop, until

PAGE = (ROOT / "docs" / "how-to" / "clients.md").read_text("utf-8")
FOUND = os.environ.get("OPEN_WEBUI", "")
ALONE = {"HF_HUB_OFFLINE": "1", "OFFLINE_MODE": "true", "RAG_EMBEDDING_ENGINE": "openai"}

pytestmark = pytest.mark.skipif(not FOUND, reason="OPEN_WEBUI names no open-webui to run")


@pytest.fixture
def chat(customer: Customer, model_server: None, tmp_path: Path) -> Iterator[httpx.Client]:
    """Somebody who came in at its door. It was started by the page's block, at a port of its own,
    and with nobody to sign in."""
    (block,) = re.findall(r"## Open WebUI.*?```sh\n(.*?)```", PAGE, re.DOTALL)
    _, _, command = block.partition("\n")
    own = {"PRIVATUNE_URL": f"{customer.base_url}/v1", "PRIVATUNE_API_KEY": customer.key}
    own |= {"PATH": f"{Path(FOUND).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    own |= {"DATA_DIR": str(tmp_path / "data"), "WEBUI_AUTH": "false", "WEBUI_SECRET_KEY": "a" * 32}
    port = own_port()
    assert "--port 3000" in command
    command = command.replace("--port 3000", f"--host 127.0.0.1 --port {port}")
    process = subprocess.Popen(
        ["sh", "-c", command.replace("open-webui serve", "exec open-webui serve")],
        env=own | ALONE,
        cwd=tmp_path,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
            until(lambda: _answers(http), "Open WebUI did not start", of=process, pause=0.5)
            came_in = http.post("/api/v1/auths/signin", json={"email": "", "password": ""})
            http.headers["Authorization"] = f"Bearer {came_in.json()['token']}"
            yield http
    finally:
        stop(process)


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/api/config").status_code == 200
    except httpx.TransportError:
        return False


def test_its_list_has_the_model_and_its_answers_come_as_they_are_written(
    chat: httpx.Client,
) -> None:
    assert TINY in [model["id"] for model in chat.get("/api/models").json()["data"]]
    asked: dict[str, Any] = {"model": TINY, "messages": [{"role": "user", "content": "Say 3."}]}
    whole = chat.post("/api/chat/completions", json=asked | {"stream": False, "max_tokens": 8})
    assert whole.json()["choices"][0]["finish_reason"] in ("stop", "length")
    assert whole.json()["usage"]["prompt_tokens"] > 0
    streamed = chat.post("/api/chat/completions", json=asked | {"stream": True, "max_tokens": 8})
    lines = [line for line in streamed.text.splitlines() if line.startswith("data: ")]
    told = [line.removeprefix("data: ") for line in lines]
    assert told[-1] == "[DONE]"
    pieces = [json.loads(each) for each in told[:-1]]
    assert {each["object"] for each in pieces} == {"chat.completion.chunk"}
    assert any(each["choices"][0]["finish_reason"] for each in pieces if each["choices"])
    unknown = chat.post("/api/chat/completions", json=asked | {"model": "ft:none"})
    assert unknown.status_code >= 400
