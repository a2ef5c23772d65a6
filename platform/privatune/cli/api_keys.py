"""`privatune api-keys`: the organisation's keys, made and steered with one of them.

`privatune key` and `privatune keys` are the operator's, on the server's own machine.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from privatune.cli.client import Client
from privatune.cli.lists import Columns, Limit, show_list
from privatune.cli.output import (
    AsJson,
    moment,
    notes,
    print_facts,
    print_json,
    print_secret,
)
from tenants import public_ids

app = typer.Typer(no_args_is_help=True, help="Make, list, change, rotate and revoke your API keys.")

KEYS = "/api/v1/keys"
KeyId = Annotated[str, typer.Argument(help=f"The key's id, like {public_ids.KEY}")]
Days = Annotated[int | None, typer.Option(min=1, help="It ends after so many days from now.")]
Allow = Annotated[
    list[str] | None,
    typer.Option(help="Only from this address or network, e.g. 203.0.113.0/24; repeatable."),
]


def _holder(key: dict[str, Any]) -> str | None:
    return "service" if key["service"] else key["member"]


COLUMNS: Columns = {
    "ID": "id",
    "NAME": "name",
    "HOLDER": _holder,
    "MADE WITH": "made_with",
    "SCOPES": lambda key: " ".join(key["scopes"]),
    "LAST USE": lambda key: moment(key["last_used_at"]),
    "EXPIRES": lambda key: moment(key["expires_at"]),
    "REVOKED": lambda key: moment(key["revoked_at"]),
}


@app.command("list")
def list_keys(
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List your organisation's keys, without their secrets."""
    keys = Client.from_environment().pages(KEYS, limit=limit)
    show_list(keys, COLUMNS, as_json=as_json)


@app.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="What the key is for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="Only this scope, e.g. files:read; repeatable. Default: those you have."),
    ] = None,
    days: Days = None,
    allow: Allow = None,
    service: Annotated[
        bool, typer.Option("--service", help="It belongs to nobody; by an owner's key only.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a key with the one you use; it ends with that one. Its secret is shown once."""
    wish = {
        "name": name,
        "scopes": scope,
        "expires_at": _after(days),
        "allowed_addresses": allow,
        "service": service or None,
    }
    given = {field: value for field, value in wish.items() if value is not None}
    _show_new(Client.from_environment().post(KEYS, given), as_json=as_json)


@app.command("rotate")
def rotate_key(
    key_id: KeyId,
    overlap_hours: Annotated[
        int | None,
        typer.Option(min=0, max=720, help="How long the old secret lives on; default 24."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret, shown once. Keys that it made stay as they are."""
    wish = {} if overlap_hours is None else {"overlap_seconds": overlap_hours * 3600}
    made = Client.from_environment().post(f"{KEYS}/{key_id}/rotate", wish)
    _show_new(made, as_json=as_json)


@app.command("edit")
def edit_key(
    key_id: KeyId,
    name: Annotated[str | None, typer.Option(help="What the key is for.")] = None,
    days: Days = None,
    no_end: Annotated[bool, typer.Option("--no-end", help="It does not end by itself.")] = False,
    allow: Allow = None,
    from_anywhere: Annotated[
        bool, typer.Option("--from-anywhere", help="Drop its list of networks.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Change a key's name, end or networks while it is in use; the secret stays."""
    if days and no_end:
        raise typer.BadParameter("give one of --days and --no-end", param_hint="--no-end")
    if allow and from_anywhere:
        raise typer.BadParameter(
            "give one of --allow and --from-anywhere", param_hint="--from-anywhere"
        )
    changes: dict[str, Any] = {}
    if name is not None:
        changes["name"] = name
    if days or no_end:
        changes["expires_at"] = _after(days)
    if allow or from_anywhere:
        changes["allowed_addresses"] = allow or []
    if not changes:
        raise typer.BadParameter("nothing to change is given", param_hint="--name")
    key = Client.from_environment().patch(f"{KEYS}/{key_id}", changes)
    if as_json:
        return print_json(key)
    print_facts(_facts(key))
    return None


@app.command("revoke")
def revoke_key(key_id: KeyId, as_json: AsJson = False) -> None:
    """End a key at once, and with it the keys that it made."""
    ended = Client.from_environment().delete(f"{KEYS}/{key_id}")
    if as_json:
        return print_json(ended)
    notes().print(f"{ended['id']} ({ended['name']}) revoked")
    for each in ended["also_revoked"]:
        notes().print(f"{each} was made with it and ended, too")
    return None


def _show_new(key: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        return print_json(key)
    print_facts(_facts(key), to=notes())
    print_secret(key["secret"])
    return None


def _facts(key: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": key["id"],
        "name": key["name"],
        "holder": _holder(key),
        "made with": key["made_with"],
        "scopes": " ".join(key["scopes"]),
        "only from": " ".join(key["allowed_addresses"]) or None,
        "ends": moment(key["expires_at"]),
        "old secret until": moment(key["previous_until"]),
    }


def _after(days: int | None) -> str | None:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat() if days else None
