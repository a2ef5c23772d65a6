"""`privatune artifacts`: list what training made, take it away, and verify it offline."""

from pathlib import Path
from typing import Annotated, Any

import typer

from privatune.cli.client import Client
from privatune.cli.downloads import fetch_whole
from privatune.cli.forms import FORMS, Form, made
from privatune.cli.lists import Columns, Limit, show_list
from privatune.cli.output import AsJson, moment, notes, print_json, size
from privatune.cli.verify import verify, verify_fetched
from tenants import public_ids

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

FORM_COLUMNS: Columns = {
    "ID": "id",
    "FORM": "form",
    "STATE": "state",
    "SIZE": lambda form: size(form["bytes"]) if form["bytes"] else "",
    "DIGEST": "digest",
    "CREATED": lambda form: moment(form["created_at"]),
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


OciFolder = Annotated[
    Path | None,
    typer.Option(
        "--oci",
        file_okay=False,
        metavar="DIR",
        help="Also write it into this new folder as an OCI image layout (CNCF ModelPack).",
    ),
]


@app.command("pull")
def pull_artifact(
    artifact_id: Annotated[str, typer.Argument(help="The artifact's id, or its model's name.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", file_okay=False, help="The folder to put it in.")
    ] = Path(),
    oci: OciFolder = None,
    as_json: AsJson = False,
) -> None:
    """Fetch an artifact as ID.tar, with the signer's public key beside it, and verify it.

    What broke off goes on where it ended, also when the command is given again.
    """
    client = Client.from_environment()
    artifact = client.get(f"{ARTIFACTS}/{_id_of(client, artifact_id)}")
    key = _key_in(client, output)
    path = output / f"{client.own_id(public_ids.ARTIFACT, artifact)}.tar"
    fetch(client, artifact, path)
    notes().print(f"{path} written, {size(path.stat().st_size)}")
    verify_fetched(path, key, as_json=as_json)
    _lay_out(path, oci)


@app.command("export")
def export_form(
    artifact_id: Annotated[str, typer.Argument(help="The artifact's id, or its model's name.")],
    form: Annotated[
        Form,
        typer.Option(
            help="merged: base and adapter as one transformers model; gguf-*: as one file for "
            "llama.cpp and Ollama, in 16, 8 or 4 bits."
        ),
    ] = Form.MERGED,
    output: Annotated[
        Path, typer.Option("--output", "-o", file_okay=False, help="The folder to put it in.")
    ] = Path(),
    oci: OciFolder = None,
    as_json: AsJson = False,
) -> None:
    """Have another form of a model made, fetch it as ID.tar with the signer's key, and verify it.

    It holds the base's weights, so the licence must include the right `merge`. Exit code 1 if it
    cannot be made.
    """
    client = Client.from_environment()
    address = f"{ARTIFACTS}/{_id_of(client, artifact_id)}/forms"
    found = made(client, client.post(address, {"form": form.value}))
    key = _key_in(client, output)
    path = output / f"{client.own_id(public_ids.FORM, found)}.tar"
    content = f"{FORMS}/{found['id']}/content"
    fetch_whole(client, content, path, found)
    notes().print(f"{path} written, {size(path.stat().st_size)}")
    verify_fetched(path, key, as_json=as_json)
    _lay_out(path, oci)


def _lay_out(tar: Path, oci: Path | None) -> None:
    """Once it is verified."""
    if oci is None:
        return
    from finetune.packaging.oci import write_layout

    digest = write_layout(tar, oci)
    notes().print(f"{oci} is an OCI image layout, {digest}", soft_wrap=True)


@app.command("forms")
def list_forms(
    artifact_id: Annotated[str, typer.Argument(help="The artifact's id, or its model's name.")],
    as_json: AsJson = False,
) -> None:
    """List the other forms of a model that were asked for."""
    client = Client.from_environment()
    rows = client.get(f"{ARTIFACTS}/{_id_of(client, artifact_id)}/forms")["data"]
    show_list(rows, FORM_COLUMNS, as_json=as_json)


@app.command("cancel-form")
def cancel_form(
    form_id: Annotated[str, typer.Argument(help=f"The form's id, like {public_ids.FORM}")],
    as_json: AsJson = False,
) -> None:
    """Stop making a form."""
    _tell(Client.from_environment().post(f"{FORMS}/{form_id}/cancel"), as_json=as_json)


@app.command("delete-form")
def delete_form(
    form_id: Annotated[str, typer.Argument(help=f"The form's id, like {public_ids.FORM}")],
    as_json: AsJson = False,
) -> None:
    """Delete a form with its bytes; the model stays."""
    _tell(Client.from_environment().delete(f"{FORMS}/{form_id}"), as_json=as_json)


def _tell(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(told)
    else:
        notes().print(f"{told['id']} is {'deleted' if told.get('deleted') else told['state']}.")


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


def _key_in(client: Client, output: Path) -> Path:
    """The signer's public key, put there."""
    output.mkdir(parents=True, exist_ok=True)
    key = output / "signing-key.pem"
    key.write_text(client.get(SIGNING_KEY)["public_key_pem"], encoding="utf-8")
    return key


def _id_of(client: Client, wanted: str) -> str:
    """The id of an artifact given by id or by its model's name (`ft:…`); an unknown one as it is,
    so that the server says that there is none."""
    if not wanted.startswith("ft:"):
        return wanted
    found = (a["id"] for a in client.pages(ARTIFACTS, limit=10_000) if a["model"] == wanted)
    return next(found, wanted)


def fetch(client: Client, artifact: dict[str, Any], path: Path) -> None:
    """The bundle's tar. What broke off goes on where it ended."""
    address = f"{ARTIFACTS}/{artifact['id']}/content"
    fetch_whole(client, address, path, artifact)
