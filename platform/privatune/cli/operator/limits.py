"""`privatune tenant limits`: what one tenant may use."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from privatune.cli.operator.session import DataFolder, actor, services, show
from privatune.cli.output import AsJson

DEFAULT = "default"


def _number(text: str) -> int | None:
    """None for `default`."""
    if text == DEFAULT:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > 10:
        raise typer.BadParameter(f"{text!r} is neither a whole number nor `{DEFAULT}`")
    return int(text)


def limits(
    slug: Annotated[str, typer.Argument(help="The tenant's short name.")],
    storage_mb: Annotated[
        str | None, typer.Option(metavar="N|default", help="Megabytes that it may store.")
    ] = None,
    requests: Annotated[
        str | None, typer.Option(metavar="N|default", help="Requests a minute of all its keys.")
    ] = None,
    key_requests: Annotated[
        str | None, typer.Option(metavar="N|default", help="Requests a minute of each key.")
    ] = None,
    tokens: Annotated[
        str | None, typer.Option(metavar="N|default", help="Tokens a minute of its models.")
    ] = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Show what a tenant may use, or give it limits of its own; its log shows the change.

    `default` goes back to what the settings let everybody use. Holds from the next request on.
    """
    asked = {
        "storage_mb": storage_mb, "requests": requests, "key_requests": key_requests,
        "tokens": tokens,
    }  # fmt: skip
    changes = {name: _number(text) for name, text in asked.items() if text is not None}
    with services(data):
        from tenants.limits import FIELDS, limits_of
        from tenants.services import tenants
        from tenants.services.limits import change_limits

        tenant_id = tenants.find_tenant(slug=slug)
        tenant = change_limits(tenant_id=tenant_id, changes=changes, actor=actor())
        facts: dict[str, Any] = {"tenant": slug, **asdict(limits_of(tenant))}
        facts["own"] = [name for name, field in FIELDS.items() if getattr(tenant, field)]
    show(facts, as_json=as_json)
