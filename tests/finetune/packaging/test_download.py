"""A hub id is fetched as safetensors only; without a network the error says what to do.

The hub is a local server that speaks the few routes of it that a download uses.
"""

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from faults import UserFault
from finetune.packaging.base import download_base, import_base
from finetune.packaging.passport import hub_place

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "acme/tiny"


class Hub(BaseHTTPRequestHandler):
    files: dict[str, bytes]
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        path = self.path.split("?")[0]
        if path.startswith(f"/api/models/{REPO}/tree/"):
            self._send(json.dumps([self._entry(name) for name in self.files]).encode(), body=body)
        elif path.startswith(f"/api/models/{REPO}"):
            siblings = [{"rfilename": name} for name in self.files]
            info = {"id": REPO, "modelId": REPO, "sha": COMMIT, "siblings": siblings}
            self._send(json.dumps(info | {"private": False, "tags": []}).encode(), body=body)
        elif path.startswith(f"/{REPO}/resolve/"):
            name = path.split("/", 5)[5]
            self.asked.append(name)
            self._send(self.files[name], body=body)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _entry(self, name: str) -> dict[str, object]:
        data = self.files[name]
        oid = hashlib.sha1(data).hexdigest()
        return {"type": "file", "path": name, "size": len(data), "oid": oid}

    def _send(self, data: bytes, *, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(data)


@pytest.fixture
def hub(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    files = {path.name: path.read_bytes() for path in tiny_base.iterdir()}
    files |= {"pytorch_model.bin": b"pickle", "modeling_tiny.py": b"boom", "README.md": b"hi"}
    handler = type("TinyHub", (Hub,), {"files": files, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        address + "/{repo_id}/resolve/{revision}/{filename}",
    )
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_hub_model_is_fetched_without_pickle_or_code_and_imported(hub, tmp_path):
    folder, source = download_base(REPO, tmp_path / "hub")
    assert source == f"{REPO}@{COMMIT}"
    assert hub_place(source) == {"hub_id": REPO, "revision": COMMIT}
    assert not {"pytorch_model.bin", "modeling_tiny.py"} & set(hub.asked)
    assert (folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]
    info = import_base(folder, tmp_path / "store", name="tiny", licence="MIT", source_label=source)
    assert info.architecture == "LlamaForCausalLM"


def test_a_model_that_the_hub_does_not_have_is_said_to_be_missing(hub, tmp_path):
    with pytest.raises(UserFault) as fault:
        download_base("acme/other", tmp_path)
    assert fault.value.code == "hub_not_found"


def test_offline_the_fault_names_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserFault) as fault:
        download_base(REPO, tmp_path)
    assert fault.value.code == "hub_offline"
    assert "import the folder" in fault.value.fix


def test_an_unreachable_hub_is_said_to_be_so(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserFault) as fault:
        download_base(REPO, tmp_path)
    assert fault.value.code == "hub_offline"


def test_a_name_that_is_no_hub_id_is_refused(tmp_path):
    with pytest.raises(UserFault) as fault:
        download_base("not a hub id", tmp_path)
    assert fault.value.code == "bad_hub_id"
