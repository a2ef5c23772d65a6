"""`privatune files`: what the tenant has uploaded."""

from pathlib import Path
from typing import Annotated, Any

import typer

from finetune.purposes import BROUGHT, Purpose
from privatune.cli import mining, minings, profiles
from privatune.cli.client import Client
from privatune.cli.lists import Columns, Limit, show_list
from privatune.cli.output import (
    AsJson,
    fail,
    notes,
    print_facts,
    print_json,
    size,
    when,
)
from privatune.cli.upload import processed, refused, upload
from tenants import public_ids
from tenants.states import FileStatus

app = typer.Typer(no_args_is_help=True, help="Upload, list, read and delete files.")

FileId = Annotated[str, typer.Argument(help=f"The file's id, like {public_ids.FILE}")]

COLUMNS: Columns = {
    "ID": "id",
    "NAME": "filename",
    "SIZE": lambda file: size(file["bytes"]),
    "PURPOSE": "purpose",
    "STATUS": "status",
    "CREATED": lambda file: when(file["created_at"]),
}


@app.command("upload")
def upload_file(
    path: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    purpose: Annotated[str, typer.Option(help=f"{' or '.join(BROUGHT)}.")] = Purpose.TRAINING.value,
    expires_after: Annotated[
        int | None, typer.Option(min=3600, help="Seconds after which the server deletes it.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until the server has checked the file.")] = True,
    as_json: AsJson = False,
) -> None:
    """Upload a file; above 64 MB in parts, each sent again if the line breaks."""
    client = Client.from_environment()
    file = upload(client, path, purpose=purpose, expires_after=expires_after)
    if wait:
        file = processed(client, file)
    show(file, as_json=as_json)
    if file.get("status") == FileStatus.ERROR:
        fail(refused(file, path), as_json=as_json)


@app.command("list")
def list_files(
    purpose: Annotated[str | None, typer.Option(help="Only files of this purpose.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List the tenant's files: first those that were uploaded, then what jobs left."""
    files = Client.from_environment().pages("/v1/files", limit=limit, purpose=purpose)
    if not as_json:
        files = iter(sorted(files, key=lambda file: file["purpose"] not in BROUGHT))
    show_list(files, COLUMNS, as_json=as_json)


@app.command("get")
def get_file(
    file_id: FileId,
    content: Annotated[
        Path | None, typer.Option(help="Write what is in the file here, besides showing it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show one file, and with --content fetch what is in it."""
    client = Client.from_environment()
    file = client.get(f"/v1/files/{file_id}")
    if content:
        with (
            client.stream("GET", f"/v1/files/{file_id}/content") as response,
            content.open("wb") as target,
        ):
            for chunk in response.iter_bytes():
                target.write(chunk)
        notes().print(f"{content} written")
    show(file, as_json=as_json)


@app.command("delete")
def delete_file(file_id: FileId, as_json: AsJson = False) -> None:
    """Delete one file. Models trained from it stay."""
    deleted = Client.from_environment().delete(f"/v1/files/{file_id}")
    if as_json:
        return print_json(deleted)
    notes().print(f"{file_id} deleted")
    return None


def show(file: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(file)
        return
    print_facts(
        {
            "id": file["id"],
            "name": file["filename"],
            "size": size(file["bytes"]),
            "purpose": file["purpose"],
            "status": file.get("status"),
            "details": file.get("status_details"),
            "created": when(file["created_at"]),
            "expires": when(file.get("expires_at")),
        }
    )


app.command("mine")(mining.mine)
app.command("cancel-mining")(minings.cancel)
app.command("profile")(profiles.profile)
app.command("scrub")(profiles.scrub)
app.command("changes")(profiles.changes)
app.command("versions")(profiles.versions)
