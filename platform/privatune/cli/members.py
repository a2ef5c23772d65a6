"""`privatune members`: who belongs to the organisation, and in which role."""

from typing import Annotated, Any

import typer

from privatune.cli.client import Client
from privatune.cli.exits import Exit, Stop
from privatune.cli.lists import Columns, Limit, show_list
from privatune.cli.output import AsJson, moment, notes, print_facts, print_json
from tenants import public_ids

app = typer.Typer(no_args_is_help=True, help="List members, change roles, remove members.")

MEMBERS = "/api/v1/members"
MOST = 10_000
Who = Annotated[str, typer.Argument(help=f"The member's address, or id like {public_ids.MEMBER}")]
Role = Annotated[str, typer.Argument(help="owner, admin, engineer or viewer.")]

COLUMNS: Columns = {
    "ID": "id",
    "ADDRESS": "email",
    "ROLE": "role",
    "SINCE": lambda member: moment(member["created_at"]),
}


@app.command("list")
def list_members(
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List the members of your organisation."""
    members = Client.from_environment().pages(MEMBERS, limit=limit)
    show_list(members, COLUMNS, as_json=as_json)


@app.command("set-role")
def set_role(who: Who, role: Role, as_json: AsJson = False) -> None:
    """Give a member another role; their keys and sessions have it at once."""
    client = Client.from_environment()
    member = client.patch(f"{MEMBERS}/{id_of(client, MEMBERS, who)}", {"role": role})
    if as_json:
        return print_json(member)
    print_facts({name: member[name] for name in ("id", "email", "role")})
    return None


@app.command("remove")
def remove_member(who: Who, as_json: AsJson = False) -> None:
    """End a membership, and with it the member's keys, open invitations and uploads."""
    client = Client.from_environment()
    removed = client.delete(f"{MEMBERS}/{id_of(client, MEMBERS, who)}")
    if as_json:
        return print_json(removed)
    notes().print(f"{who} removed")
    return None


def id_of(client: Client, path: str, who: str, **of: Any) -> str:
    """The id of the newest row of that list with that address and the values `of`; an id stays as
    it is, so that the server says whether there is such a row."""
    if "@" not in who:
        return who
    wanted = {"email": who.lower(), **of}
    for row in client.pages(path, limit=MOST):
        if {name: row[name] for name in wanted} == wanted:
            return str(row["id"])
    noun = path.rpartition("/")[2]
    raise Stop(
        Exit.NOT_FOUND,
        f"There is no {who!r} among the {noun}.",
        code="not_found",
        fix=f"`privatune {noun} list` shows them.",
    )
