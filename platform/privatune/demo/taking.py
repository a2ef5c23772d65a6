"""What the customer takes away: the signed artifact, verified where no server is."""

from pathlib import Path
from typing import Any

from rich.console import Console

from privatune.cli.artifacts import ARTIFACTS, SIGNING_KEY, fetch
from privatune.cli.client import Client
from privatune.demo.phases import Phase
from privatune.demo.stack import COMMAND, DemoFailed, Operation


def take_away(own: Client, job_id: str, folder: Path) -> tuple[dict[str, Any], Path]:
    """The job's artifact and the path of its .tar; the signer's key is put beside it."""
    for artifact in own.pages(ARTIFACTS, limit=100):
        if artifact["job"] == job_id:
            path = folder / f"{artifact['id']}.tar"
            fetch(own, artifact, path)
            key = own.get(SIGNING_KEY)["public_key_pem"]
            (folder / "signing-key.pem").write_text(key, encoding="utf-8")
            return artifact, path
    raise DemoFailed(f"The job {job_id} succeeded, but has no artifact.")


def verify(path: Path, key: Path, console: Console) -> bool:
    """`privatune verify` in a process of its own, which is told of no server."""
    command = [*COMMAND, "verify", str(path), "--key", str(key), "--json"]
    with Phase(console, lambda: f"verifying {path.name}"):
        return bool(Operation(command)()["ok"])
