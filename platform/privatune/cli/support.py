"""`privatune support`: an owner lets the operator look at the organisation's jobs, for a time."""

from typing import Annotated, Any

import typer

from privatune.cli.client import Client
from privatune.cli.output import AsJson, moment, print_facts, print_json

app = typer.Typer(no_args_is_help=True, help="Let the operator look at your jobs, or no more.")

ACCESS = "/api/v1/support-access"


@app.command("status")
def show_status(as_json: AsJson = False) -> None:
    """Show whether the operator may look, and until when."""
    _show(Client.from_environment().get(ACCESS), as_json=as_json)


@app.command("grant")
def grant(
    hours: Annotated[int, typer.Option(min=1, max=168, help="For how long.")],
    reason: Annotated[str, typer.Option(help="Why the operator should look.")],
    as_json: AsJson = False,
) -> None:
    """Open your jobs' states, errors and messages to the operator. Needs an owner's key."""
    opened = Client.from_environment().post(ACCESS, {"hours": hours, "reason": reason})
    _show(opened, as_json=as_json)


@app.command("withdraw")
def withdraw(as_json: AsJson = False) -> None:
    """Close it now. Needs an owner's key."""
    _show(Client.from_environment().delete(ACCESS), as_json=as_json)


def _show(access: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        return print_json(access)
    print_facts(
        {
            "support access": "open" if access["open"] else "closed",
            "until": moment(access["until"]),
            "reason": access["reason"],
            "by": access["granted_by"],
        }
    )
    return None
