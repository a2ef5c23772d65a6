"""The README and the tutorial do what they say: their blocks run as they stand, in order, in a
clean folder, against a stack with the samples that `make up` brings (its base a tiny one)."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from privatune.cli.app import app
from privatune.cli.exits import Exit
from tests.fixtures.stack import ROOT, Stack

pytestmark = pytest.mark.slow

# By how a block begins.
NOT_RUN = {
    "make demo ": "takes minutes; CI runs it by itself",
    "make up": "the stack that the other blocks meet is up already",
    "privatune models import /models/Qwen3-0.6B": "weights that only the reader has",
    "PIP_EXTRA_INDEX_URL": "installs from PyTorch's own index",
}

# What `privatune up` runs for the samples, twice, as if it were started again.
ENSURE = """
import json, sys
from pathlib import Path
import django
django.setup()
from privatune.demo.samples import ensure_base, ensure_rows
said = []
for attempt in range(2):
    assert ensure_base(sys.argv[1], Path(sys.argv[2]), said.append)
    files = ensure_rows(Path(sys.argv[3]), said.append)
    if not attempt:
        assert said
        said.clear()
print(json.dumps([said, files]))
"""


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of every block, without the indent of a list that it stands in."""
    text = (ROOT / page).read_text("utf-8")
    found = re.findall(r"^( *)```(sh|python)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [(lang, re.sub(rf"^{indent}", "", body, flags=re.M)) for indent, lang, body in found]


def reason(block: str) -> str | None:
    return next((why for begin, why in NOT_RUN.items() if block.startswith(begin)), None)


def test_what_is_not_run_is_in_the_readme() -> None:
    texts = [text for _, text in blocks("README.md")]
    for begin in NOT_RUN:
        assert any(text.startswith(begin) for text in texts), begin


@pytest.fixture(scope="module")
def folder(stack: Stack, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where somebody has followed the README, then the tutorial."""
    folder = tmp_path_factory.mktemp("newcomer")
    said = stack.run(ENSURE, stack.first["tenant"], str(tiny_base), str(stack.data / "samples"))
    assert '[[], {"train"' in said, "a second start did something again"
    (folder / "var").mkdir()
    (folder / "var" / "data").symlink_to(stack.data)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "PRIVATUNE_BASE_URL": stack.url,
        "PRIVATUNE_API_KEY": stack.first["api_key"],
    }
    for page in ("README.md", "docs/tutorial/first-fine-tune.md"):
        for language, text in blocks(page):
            if not reason(text):
                run(page, language, text, folder, environment)
    return folder


def run(page: str, language: str, text: str, folder: Path, environment: dict[str, str]) -> None:
    shell = {"sh": ["/bin/sh", "-ec"], "python": [sys.executable, "-c"]}[language]
    done = subprocess.run(
        [*shell, text], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{page}:\n{text}\n{done.stdout}\n{done.stderr}"
    assert done.stdout, f"{page} shows nothing:\n{text}"


def command(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def answer(*words: str) -> Any:
    done = command(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


def test_the_pages_blocks_run_as_they_stand(folder: Path) -> None:
    assert (folder / "my-model" / "adapter" / "adapter_config.json").exists()
    assert (folder / "audit.jsonl").exists()


def test_what_the_pages_made_as_json_and_to_a_stranger(
    folder: Path, stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for operators in ("PRIVATUNE_DATA", "DATABASE_URL"):
        monkeypatch.delenv(operators, raising=False)
    monkeypatch.setenv("PRIVATUNE_BASE_URL", stack.url)
    monkeypatch.setenv("PRIVATUNE_API_KEY", stack.first["api_key"])
    listed = answer("files", "list", "--purpose", "fine-tune")["data"]
    file = next(each for each in listed if each["filename"] == "train.jsonl")
    copy = tmp_path / "copy.jsonl"
    assert answer("files", "get", file["id"], "--content", str(copy)) == file
    assert copy.read_bytes() == (stack.data / "samples" / "train.jsonl").read_bytes()

    newest = answer("jobs", "list")["data"][0]
    job = answer("jobs", "watch", newest["id"])
    assert job["status"] == "succeeded"
    artifact = answer("artifacts", "list")["data"][0]
    assert artifact["job"] == job["id"]
    report = answer("artifacts", "pull", artifact["id"], "-o", str(tmp_path / "out"))
    assert (report["ok"], report["trust"], report["digest"]) == (True, "key", artifact["digest"])
    said = answer("chat", job["fine_tuned_model"], "-m", "a", "--max-tokens", "4")
    assert said["model"] == job["fine_tuned_model"]
    assert job["fine_tuned_model"] in [each["id"] for each in answer("models", "list")["data"]]

    monkeypatch.setenv("PRIVATUNE_API_KEY", stack.new_tenant("stranger").api_key)
    assert command("files", "get", file["id"]).exit_code == Exit.NOT_FOUND
    assert command("artifacts", "pull", artifact["id"]).exit_code == Exit.NOT_FOUND
    assert command("chat", job["fine_tuned_model"], "-m", "a").exit_code == Exit.NOT_FOUND
    monkeypatch.setenv("PRIVATUNE_API_KEY", "pt-nobody")
    assert command("files", "list").exit_code == Exit.REFUSED
