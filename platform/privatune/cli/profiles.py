"""`privatune files profile`, `scrub`, `changes` and `versions`: what is in a file's rows, and the
file without what is personal in it."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from finetune.profiling.personal import Kind
from finetune.states import LIVE_LEASES, LeaseState
from privatune.cli.brought import brought, purpose_of
from privatune.cli.client import Client
from privatune.cli.exits import Exit, Stop
from privatune.cli.lists import Columns, show_list
from privatune.cli.output import AsJson, fail, moment, notes, print_facts, print_json, print_table
from tenants import public_ids

PROFILES, SCRUBS = "/api/v1/profiles", "/api/v1/scrubs"
POLL_SECONDS = 1.0
FileId = Annotated[str, typer.Argument(help=f"The file's id, like {public_ids.FILE}")]
Rows = Annotated[str, typer.Argument(help="The file: its id, or a path to upload.")]
ScrubId = Annotated[str, typer.Argument(help=f"Its id, like {public_ids.SCRUB}")]


def profile(
    file: Rows,
    against: Annotated[
        str | None,
        typer.Option(
            help="What is held out, for validation or an evaluation: a file id, or a path to "
            "upload."
        ),
    ] = None,
    findings: Annotated[
        Path | None, typer.Option(help="Write what was found by row here, as JSON lines.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """See a file's rows through: repeats, held-out questions, lengths, scripts, personal data.

    Paths are uploaded first, and deleted again if the profile is refused.
    Exit code 1 if the profile failed. What is found is told by row and place, and not quoted.
    """
    client = Client.from_environment()
    with brought(client) as files:
        wish = {"file": files.file_id(file)}
        if against:
            wish["against"] = files.file_id(against, purpose=purpose_of(Path(against)))
        asked = client.post(PROFILES, wish)
    found = watched(client, PROFILES, asked)
    if findings and found["state"] == LeaseState.SUCCEEDED:
        with (
            client.stream("GET", f"{PROFILES}/{found['id']}/findings") as response,
            findings.open("wb") as target,
        ):
            for chunk in response.iter_bytes():
                target.write(chunk)
        notes().print(f"{findings} written")
    if as_json:
        print_json(found)
    else:
        _show_profile(found)
    ended(found, as_json=as_json)


def scrub(
    file_id: FileId,
    kind: Annotated[
        list[Kind] | None, typer.Option(help="What is masked; may be repeated. All if not given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have a new file made, with what is personal or secret masked. The old file stays.

    Exit code 1 if that failed.
    """
    client = Client.from_environment()
    wish = {"file": file_id} | ({"kinds": [each.value for each in kind]} if kind else {})
    found = watched(client, SCRUBS, client.post(SCRUBS, wish))
    if as_json:
        print_json(found)
    else:
        _show_scrub(found)
    ended(found, as_json=as_json)


def changes(
    scrub_id: ScrubId,
    after: Annotated[int, typer.Option(min=0, help="Rows beyond this one.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most so many rows.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show rows that a scrub changed, as they were and as they are."""
    client = Client.from_environment()
    told = client.get(f"{SCRUBS}/{scrub_id}/changes", after=after, limit=limit)
    if as_json:
        return print_json(told)
    lines = [
        [row["row"], each["field"], each["before"], each["after"]]
        for row in told["data"]
        for each in row["changes"] or [{"field": "(too large)", "before": "", "after": ""}]
    ]
    print_table(["ROW", "FIELD", "BEFORE", "AFTER"], lines)
    if told["has_more"]:
        notes().print(f"There are more: --after {told['data'][-1]['row']}")
    return None


def versions(file_id: FileId, as_json: AsJson = False) -> None:
    """List which file was made of which, up to this one and on from it."""
    told = Client.from_environment().get(f"/api/v1/files/{file_id}/versions")
    show_list(told["data"], VERSIONS, as_json=as_json)


VERSIONS: Columns = {
    "FROM": "file",
    "TO": "result",
    "MASKED": lambda row: ", ".join((row["report"] or {}).get("masked", {})),
    "ROWS CHANGED": lambda row: (row["report"] or {}).get("changed"),
    "NEGATIVES": lambda row: (row["report"] or {}).get("negatives"),
    "BY": "id",
    "MADE": lambda row: moment(row["finished_at"]),
}


def watched(client: Client, path: str, found: dict[str, Any]) -> dict[str, Any]:
    """As it is once no worker has it any more."""
    if found["state"] in LIVE_LEASES:
        notes().print(f"{found['id']} waits for a worker or is being made ...")
    while found["state"] in LIVE_LEASES:
        time.sleep(POLL_SECONDS)
        found = client.get(f"{path}/{found['id']}")
    return found


def _show_profile(found: dict[str, Any]) -> None:
    report = found["report"] or {}
    held_out = report.get("held_out") or {}
    print_facts(
        {
            "id": found["id"],
            "file": found["file"],
            "against": found["against"],
            "state": found["state"],
            "rows": report.get("rows"),
            "equal to an earlier row": report.get("equal"),
            "nearly an earlier row": report.get("near"),
            "held-out questions": held_out.get("rows"),
            "of them in the rows": held_out.get("equal"),
            "of them nearly": held_out.get("near"),
            "rows that ask them": held_out.get("rows_here"),
            "rows with a tag": report.get("tagged"),
            "scripts": _counted(report.get("scripts")),
            "characters": _counted(report.get("length_percentiles")),
        }
    )
    _table_of_kinds(report.get("personal") or {})


def _show_scrub(found: dict[str, Any]) -> None:
    report = found["report"] or {}
    print_facts(
        {
            "id": found["id"],
            "file": found["file"],
            "result": found["result"],
            "state": found["state"],
            "rows": report.get("rows"),
            "rows changed": report.get("changed"),
        }
    )
    _table_of_kinds(report.get("masked") or {})


def _table_of_kinds(kinds: dict[str, Any]) -> None:
    if kinds:
        lines = [[kind, told["rows"], told["places"]] for kind, told in kinds.items()]
        print_table(["KIND", "ROWS", "PLACES"], lines)


def _counted(counts: dict[str, int] | None) -> str | None:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) if counts else None


def ended(found: dict[str, Any], *, as_json: bool) -> None:
    if found["state"] == LeaseState.SUCCEEDED:
        return
    error = found.get("error") or {}
    stop = Stop(
        Exit.FAILED,
        error.get("message") or f"{found['id']} is {found['state']}.",
        code=error.get("code") or f"work_{found['state']}",
        fix=error.get("fix"),
    )
    fail(stop, as_json=as_json)
