"""`privatune tenant` and `privatune key`: who may come in."""

import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from privatune.cli.exits import Exit, Stop
from privatune.cli.lists import Columns, show_list
from privatune.cli.operator.session import DataFolder, TenantSlug, actor, services, show
from privatune.cli.output import AsJson, notes, print_json

tenant_app = typer.Typer(no_args_is_help=True, help="Operator: make tenants, and destroy them.")
key_app = typer.Typer(no_args_is_help=True, help="Operator: make, list and revoke API keys.")

KEYS: Columns = {
    "PREFIX": "prefix",
    "NAME": "name",
    "HOLDER": "holder",
    "SCOPES": lambda row: " ".join(row["scopes"]),
    "LAST_USED_AT": "last_used_at",
    "EXPIRES_AT": "expires_at",
    "REVOKED_AT": "revoked_at",
}


@tenant_app.command("create")
def create_tenant(
    slug: Annotated[str, typer.Argument(help="Its short name: a-z, 0-9 and hyphens.")],
    name: Annotated[str | None, typer.Option(help="Its full name.")] = None,
    owner: Annotated[
        str | None, typer.Option(help="An e-mail address: a new owner with a fresh password.")
    ] = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Make a tenant with its own encryption key, and with --owner a person who may sign in."""
    with services(data):
        from django.db import transaction

        from tenants.roles import Role
        from tenants.services import people, tenants

        with transaction.atomic():  # a tenant whose owner is refused is none
            made = tenants.create_tenant(slug=slug, name=name or slug, actor=actor())
            facts: dict[str, Any] = {"id": str(made.id), "tenant": made.slug, "name": made.name}
            if owner:
                password = secrets.token_urlsafe(12)
                user = people.create_user(email=owner, password=password)
                tenants.add_member(tenant_id=made.id, user=user, role=Role.OWNER, actor=actor())
                facts["login"] = {"email": user.email, "password": password}
    show(facts, as_json=as_json)


@tenant_app.command("shred")
def shred_tenant(
    slug: Annotated[str, typer.Argument(help="The tenant's short name.")],
    confirm: Annotated[
        str | None,
        typer.Option(help="The short name again: destroys. Without it, only shows what would go."),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="Write the signed deletion certificate here.")
    ] = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Destroy a tenant for good: its key, its data, everybody's access. There is no way back.

    Cut off in the middle, the same command goes on; given again, it shows the same certificate.
    """
    if confirm is not None and confirm != slug:
        raise typer.BadParameter(f"it is not {slug!r}", param_hint="--confirm")
    with services(data):
        from finetune.services import shredding
        from tenants.services import tenants

        tenant_id = tenants.find_tenant(slug=slug)
        if confirm is None:
            return _show_what_would_go(slug, shredding.find(tenant_id=tenant_id), as_json)
        console = notes()
        signed = shredding.shred(tenant_id=tenant_id, actor=actor(), say=console.print)
    text = json.dumps(signed, indent=2, ensure_ascii=False)
    if certificate is not None:
        certificate.write_text(text + "\n", encoding="utf-8")
    if as_json or certificate is None:
        print_json(signed)
    return None


def _show_what_would_go(slug: str, found: dict[str, int], as_json: bool) -> None:
    show({"tenant": slug, "dry_run": True, **found}, as_json=as_json)
    notes().print(f"Nothing was changed. To destroy all of it: --confirm {slug}")


@key_app.command("create")
def create_key(
    tenant: TenantSlug,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "key",
    scope: Annotated[
        list[str] | None, typer.Option(help="Only this scope, e.g. files:read; repeatable.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Expires after so many days.")] = None,
    member: Annotated[
        str | None, typer.Option(help="Whose key it is, by e-mail address. Default: a service key.")
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="Only from this address or network, e.g. 203.0.113.0/24; repeatable."),
    ] = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key. It is shown once and kept nowhere.

    A member's key ends with the membership, and does no more than the member may. A service key
    belongs to nobody and does what an admin may.
    """
    with services(data):
        from tenants.services import tenants

        tenant_id = tenants.find_tenant(slug=tenant)
        expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
        key, secret = tenants.create_key(
            tenant_id=tenant_id,
            name=name,
            scopes=scope,
            expires_at=expires_at,
            member=tenants.find_member(tenant_id=tenant_id, email=member) if member else None,
            allowed_addresses=allow or (),
            actor=actor(),
        )
        facts = {
            "id": str(key.id),
            "name": key.name,
            "api_key": secret,
            "scopes": key.scopes,
            "member": member,
            "allowed_addresses": key.allowed_addresses,
            "expires_at": expires_at.isoformat() if expires_at else None,
        }
    show(facts, as_json=as_json)


@key_app.command("list")
def list_keys(tenant: TenantSlug, data: DataFolder = None, as_json: AsJson = False) -> None:
    """List a tenant's keys, without their secrets."""
    with services(data):
        from tenants.services import tenants

        found: list[dict[str, Any]] = [
            {
                "prefix": key.prefix,
                "name": key.name,
                "holder": key.created_by.user.email if key.created_by else "service",
                "scopes": key.scopes,
                "last_used_at": key.last_used_at.isoformat() if key.last_used_at else None,
                "expires_at": key.expires_at.isoformat() if key.expires_at else None,
                "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
            }
            for key in tenants.keys_of(tenant_id=tenants.find_tenant(slug=tenant))
        ]
    show_list(found, KEYS, as_json=as_json)


@key_app.command("revoke")
def revoke_key(
    tenant: TenantSlug,
    prefix: Annotated[str, typer.Argument(help="The key's prefix, as `key list` shows it.")],
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a key at once and for good, and with it the keys that it made."""
    with services(data):
        from tenants.services import tenants

        tenant_id = tenants.find_tenant(slug=tenant)
        key = next((k for k in tenants.keys_of(tenant_id=tenant_id) if k.prefix == prefix), None)
        if key is None:
            raise Stop(
                Exit.NOT_FOUND,
                f"{tenant} has no key {prefix!r}.",
                code="key_not_found",
                fix=f"`privatune key list --tenant {tenant}` shows what it has.",
            )
        ended = tenants.revoke_key(tenant_id=tenant_id, key_id=key.id, actor=actor())
    also = [each.prefix for each in ended]
    show(
        {"tenant": tenant, "prefix": prefix, "revoked": True, "also_revoked": also},
        as_json=as_json,
    )
