"""A runner for the commands, and a small real HTTP server that answers what a test writes down."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from typer.testing import CliRunner, Result

Run = Callable[..., Result]


@dataclass
class Scripted:
    """`answers` by "METHOD /path", each used in turn and the last one again and again."""

    url: str = ""
    answers: dict[str, list[tuple[int, Any]]] = field(default_factory=dict)
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    foreign: bool = False  # some other program's server

    def on(self, request: str, *answers: tuple[int, Any]) -> None:
        self.answers[request] = list(answers)

    def bodies(self, request: str) -> list[Any]:
        return [json.loads(body) for name, _, body in self.seen if name == request]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Scripted

    def _answer(self) -> None:
        name = f"{self.command} {self.path.partition('?')[0]}"
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.script.seen.append((name, dict(self.headers.items()), body))
        left = self.script.answers.get(name, [(404, {"error": {"message": f"no {name}"}})])
        status, said = left.pop(0) if len(left) > 1 else left[0]
        content = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        if not self.script.foreign:
            self.send_header("x-request-id", "req_1")
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = _answer

    def log_message(self, *_: Any) -> None:
        """Quiet: what was asked is in `seen`."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    script = Scripted()
    handler = type("Handler", (_Handler,), {"script": script})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http.daemon_threads = True
    script.url = f"http://127.0.0.1:{http.server_address[1]}"
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("PRIVATUNE_BASE_URL", f"{script.url}/v1")
    monkeypatch.setenv("PRIVATUNE_API_KEY", "key-of-the-test")
    yield script
    http.shutdown()
    http.server_close()


@pytest.fixture
def run() -> Run:
    from privatune.cli.app import app

    def call(*words: str, **options: Any) -> Result:
        return CliRunner().invoke(app, list(words), **options)

    return call
