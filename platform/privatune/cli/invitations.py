"""`privatune invitations`: how people join."""

from typing import Annotated

import typer

from privatune.cli.client import Client
from privatune.cli.lists import Columns, Limit, show_list
from privatune.cli.members import id_of
from privatune.cli.output import (
    AsJson,
    moment,
    notes,
    print_facts,
    print_json,
    print_secret,
)
from tenants import public_ids

app = typer.Typer(no_args_is_help=True, help="Invite people, and take invitations back.")

INVITATIONS = "/api/v1/invitations"
OPEN = {"accepted_at": None, "revoked_at": None}

COLUMNS: Columns = {
    "ID": "id",
    "ADDRESS": "email",
    "ROLE": "role",
    "BY": "invited_by",
    "EXPIRES": lambda each: moment(each["expires_at"]),
    "ACCEPTED": lambda each: moment(each["accepted_at"]),
    "WITHDRAWN": lambda each: moment(each["revoked_at"]),
}


@app.command("list")
def list_invitations(
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List invitations, open and past, without their links."""
    found = Client.from_environment().pages(INVITATIONS, limit=limit)
    show_list(found, COLUMNS, as_json=as_json)


@app.command("create")
def create_invitation(
    email: Annotated[str, typer.Argument(help="Who is invited.")],
    role: Annotated[str, typer.Option(help="owner, admin, engineer or viewer.")],
    days: Annotated[int | None, typer.Option(min=1, help="How long it lives; default 7.")] = None,
    as_json: AsJson = False,
) -> None:
    """Invite somebody. Where the server sends no mail, the link is shown once: hand it over."""
    wish = {"email": email, "role": role} | ({"days": days} if days else {})
    made = Client.from_environment().post(INVITATIONS, wish)
    if as_json:
        return print_json(made)
    facts = {"id": made["id"], "role": made["role"], "expires": moment(made["expires_at"])}
    print_facts(facts, to=notes())
    if made["link"] is None:
        notes().print(f"The link was mailed to {email}.")
    else:
        print_secret(made["link"])
    return None


@app.command("withdraw")
def withdraw_invitation(
    who: Annotated[
        str, typer.Argument(help=f"The invited address, or an id like {public_ids.INVITATION}")
    ],
    as_json: AsJson = False,
) -> None:
    """Take an open invitation back."""
    client = Client.from_environment()
    ended = client.delete(f"{INVITATIONS}/{id_of(client, INVITATIONS, who, **OPEN)}")
    if as_json:
        return print_json(ended)
    notes().print(f"The invitation of {ended['email']} is withdrawn.")
    return None
