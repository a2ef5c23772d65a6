"""`privatune artifacts`: list what training made, take it away, and verify it offline."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from privatune.cli.client import Client
from privatune.cli.lists import Columns, Limit, show_list
from privatune.cli.output import AsJson, moment, notes, print_json, size
from privatune.cli.verify import verify

app = typer.Typer(no_args_is_help=True, help="List, fetch and verify signed artifacts.")

ARTIFACTS = "/api/v1/artifacts"
SIGNING_KEY = "/api/v1/signing-key"

COLUMNS: Columns = {
    "ID": "id",
    "MODEL": "model",
    "WITHHELD": lambda artifact: "yes" if artifact["withheld"] else "",
    "SIZE": lambda artifact: size(artifact["bytes"]),
    "DIGEST": "digest",
    "CREATED": lambda artifact: moment(artifact["created_at"]),
}

LINKS: Columns = {
    "MODEL": "model",
    "METHOD": "method",
    "STEP": "step",
    "LOSS BEFORE": lambda link: _loss(link["start_valid_loss"]),
    "AFTER": lambda link: _loss(link["valid_loss"]),
    "CREATED": lambda link: moment(link["created_at"]),
    "": lambda link: "deleted" if link["deleted"] else "",
}


def _loss(loss: float | None) -> str:
    return "" if loss is None else f"{loss:.4f}"


@app.command("list")
def list_artifacts(
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List the tenant's artifacts."""
    artifacts = Client.from_environment().pages(ARTIFACTS, limit=limit)
    show_list(artifacts, COLUMNS, as_json=as_json)


@app.command("chain")
def show_chain(
    artifact_id: Annotated[str, typer.Argument(help="The artifact's id, or its model's name.")],
    as_json: AsJson = False,
) -> None:
    """Show the trainings that made a model, each going on from the one before."""
    client = Client.from_environment()
    links = client.get(f"{ARTIFACTS}/{_id_of(client, artifact_id)}/chain")["data"]
    show_list(links, LINKS, as_json=as_json)


@app.command("pull")
def pull_artifact(
    artifact_id: Annotated[str, typer.Argument(help="The artifact's id, or its model's name.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", file_okay=False, help="The folder to put it in.")
    ] = Path(),
    as_json: AsJson = False,
) -> None:
    """Fetch an artifact as ID.tar, with the signer's public key beside it, and verify it."""
    client = Client.from_environment()
    artifact = client.get(f"{ARTIFACTS}/{_id_of(client, artifact_id)}")
    output.mkdir(parents=True, exist_ok=True)
    key = output / "signing-key.pem"
    key.write_text(client.get(SIGNING_KEY)["public_key_pem"], encoding="utf-8")
    path = output / f"{artifact['id']}.tar"
    fetch(client, artifact, path)
    notes().print(f"{path} written, {size(path.stat().st_size)}")
    verify(path, key=key, as_json=as_json)


@app.command("release")
def release_artifact(
    artifact_id: Annotated[str, typer.Argument(help="The artifact's id, or its model's name.")],
    as_json: AsJson = False,
) -> None:
    """Give a model out that an evaluation withholds, whatever it found."""
    client = Client.from_environment()
    released = client.post(f"{ARTIFACTS}/{_id_of(client, artifact_id)}/release")
    if as_json:
        return print_json(released)
    notes().print(f"{released['model']} is released.")
    return None


app.command("verify")(verify)


def _id_of(client: Client, wanted: str) -> str:
    """The id of an artifact given by id or by its model's name (`ft:…`); an unknown one as it is,
    so that the server says that there is none."""
    if not wanted.startswith("ft:"):
        return wanted
    found = (a["id"] for a in client.pages(ARTIFACTS, limit=10_000) if a["model"] == wanted)
    return next(found, wanted)


def fetch(client: Client, artifact: dict[str, Any], path: Path) -> None:
    """The tar, whole or not at all: it gets its name only when all of it is there."""
    partial = path.with_name(f".{path.name}.part")
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=notes(),
        transient=True,
    )
    try:
        with client.stream("GET", f"{ARTIFACTS}/{artifact['id']}/content") as response, bar:
            total = int(response.headers.get("content-length", 0)) or None
            task = bar.add_task(path.name, total=total)
            with partial.open("wb") as target:
                for chunk in response.iter_bytes():
                    target.write(chunk)
                    bar.advance(task, len(chunk))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
