"""`privatune license`: what a tenant may do with a model, until when, how much."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privatune.cli.exits import Exit, Stop
from privatune.cli.lists import Columns, show_list
from privatune.cli.operator.session import DataFolder, TenantSlug, actor, services, show
from privatune.cli.output import AsJson
from tenants.dates import end_of, last_day
from tenants.rights import BY_DEFAULT, Right

if TYPE_CHECKING:
    from tenants.models import License

app = typer.Typer(no_args_is_help=True, help="Operator: issue, show and revoke licences.")

Day = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The last day, in UTC: 2027-12-31.")
]

COLUMNS: Columns = {
    "MODEL": "model",
    "STATE": "state",
    "RIGHTS": lambda row: " ".join(row["rights"]),
    "LAST_DAY": lambda row: _last_day(row["valid_until"]),
    "TOKEN_BUDGET": "token_budget",
    "TOKENS_LEFT": "tokens_left",
}


@app.command("issue")
def issue_license(
    tenant: TenantSlug,
    model: Annotated[str, typer.Option(help="The model's name in the catalogue.")],
    right: Annotated[
        list[Right] | None,
        typer.Option(help="Only this right; repeatable. Default: all but merge."),
    ] = None,
    valid_until: Day = None,
    token_budget: Annotated[
        int | None, typer.Option(min=0, help="Tokens that may be trained in all.")
    ] = None,
    note: Annotated[str, typer.Option(help="For the record.")] = "",
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Issue a licence: what a tenant may do with a model, until when, how much."""
    with services(data):
        from finetune.models import CatalogModel
        from tenants.services import licences, tenants

        if not CatalogModel.objects.filter(name=model).exists():
            raise Stop(
                Exit.NOT_FOUND,
                f"The catalogue has no model {model!r}.",
                code="model_not_found",
                fix="`privatune models list` shows what it has.",
                param="model",
            )
        issued = licences.issue_license(
            tenant_id=tenants.find_tenant(slug=tenant),
            model=model,
            rights=frozenset(right or BY_DEFAULT),
            valid_until=_end_of(valid_until),
            token_budget=token_budget,
            note=note,
            actor=actor(),
        )
        facts = {"tenant": tenant, **licences.terms_of(issued)}
    show(facts, as_json=as_json)


@app.command("show")
def show_licenses(tenant: TenantSlug, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Show every licence a tenant holds or held."""
    with services(data):
        from tenants.database.scope import tenant_scope
        from tenants.models import License
        from tenants.services import licences, tenants
        from tenants.services.staff_reads import note_read

        tenant_id = tenants.find_tenant(slug=tenant)
        note_read(tenant_id=tenant_id, actor=actor(), page="license")
        with tenant_scope(tenant_id):
            held: list[dict[str, Any]] = [
                {**licences.terms_of(row), "tokens_left": licences.tokens_left(row)}
                for row in License.objects.order_by("model", "-created_at")
            ]
    show_list(held, COLUMNS, as_json=as_json)


@app.command("revoke")
def revoke_license(
    tenant: TenantSlug,
    model: Annotated[str, typer.Option(help="The model's name.")],
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a tenant's licence for a model. A revoked licence stays revoked."""
    with services(data):
        from tenants.models import LicenseState
        from tenants.services import licences, tenants

        tenant_id = tenants.find_tenant(slug=tenant)
        revoked = licences.change_license(
            tenant_id=tenant_id,
            license_id=_standing(tenant_id, tenant, model).id,
            state=LicenseState.REVOKED,
            actor=actor(),
        )
        facts = {"tenant": tenant, **licences.terms_of(revoked)}
    show(facts, as_json=as_json)


def _standing(tenant_id: Any, tenant: str, model: str) -> "License":
    """The licence for `model` that is not revoked; there is at most one."""
    from tenants.database.scope import tenant_scope
    from tenants.models import License, LicenseState

    with tenant_scope(tenant_id):
        kept = License.objects.filter(model=model).exclude(state=LicenseState.REVOKED)
        found: License | None = kept.first()
    if found is None:
        raise Stop(
            Exit.NOT_FOUND,
            f"{tenant} holds no licence for {model!r}.",
            code="license_not_found",
            fix=f"`privatune license show --tenant {tenant}` shows what it holds.",
        )
    return found


def _end_of(day: datetime | None) -> datetime | None:
    return end_of(day.date()) if day else None


def _last_day(end: str | None) -> str:
    return f"{last_day(datetime.fromisoformat(end))} UTC" if end else "no end"
