"""The base of every tenant-owned table: scope, isolation and composite keys come by inheritance."""

import uuid
from typing import Any, ClassVar

from django.db import models
from django.db.models.base import ModelBase
from django.utils.translation import gettext_lazy as _
from django_scopes import ScopedManager

from tenants.database.constraints import TenantIsolation, TenantReference
from tenants.database.scope import current_tenant_id
from tenants.public_ids import PublicId


class TenantForeignKey(models.ForeignKey[Any, Any]):
    """A foreign key to another row of the same tenant.

    Django's own one-column constraint is off; the metaclass adds the composite one, which also
    compares tenant_id.
    """

    def __init__(self, to: Any, on_delete: Any = models.PROTECT, **kwargs: Any) -> None:
        kwargs["db_constraint"] = False
        super().__init__(to, on_delete, **kwargs)


class OwnerKey(models.ForeignKey[Any, Any]):
    """The key to the owning tenant, filled on save from the open scope when it is not given.

    Not a field default: migrations evaluate those, and outside any scope.
    """

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        if getattr(model_instance, self.attname) is None:
            setattr(model_instance, self.attname, current_tenant_id())
        return super().pre_save(model_instance, add)


class _TenantModelBase(ModelBase):
    """Adds the isolation constraints to each concrete model before Django reads its Meta."""

    def __new__(mcs, name: str, bases: tuple[type, ...], attrs: dict[str, Any], **kw: Any) -> Any:
        meta: Any = attrs.get("Meta")
        if any(isinstance(base, mcs) for base in bases) and not getattr(meta, "abstract", False):
            app = attrs["__module__"].split(".")[0]
            meta = meta or type("Meta", (), {})
            meta.constraints = [
                *getattr(meta, "constraints", []),
                *_protections(app, name.lower(), attrs),
            ]
            attrs["Meta"] = meta
        return super().__new__(mcs, name, bases, attrs, **kw)


def _protections(app: str, model: str, attrs: dict[str, Any]) -> list[Any]:
    references = [
        TenantReference(
            name=f"{app}_{model}_{field}_same_tenant",
            column=f"{field}_id",
            to_table=_table_of(value.remote_field.model, app),
        )
        for field, value in attrs.items()
        if isinstance(value, TenantForeignKey)
    ]
    return [
        models.UniqueConstraint(fields=["tenant", "id"], name=f"{app}_{model}_tenant_id_key"),
        TenantIsolation(name=f"{app}_{model}_isolation"),
        *references,
    ]


def _table_of(target: Any, app: str) -> str:
    if not isinstance(target, str):
        return str(target._meta.db_table)
    label = target if "." in target else f"{app}.{target}"
    return label.replace(".", "_").lower()


class TenantOwned(models.Model, metaclass=_TenantModelBase):
    """One row of one tenant."""

    # The fields that the operator's own database role may read (database/grants.py). Never content.
    operator_reads: tuple[str, ...] = ()
    # Whether even those are closed without the tenant's standing consent (models/support.py).
    operator_needs_consent = False

    # How the APIs name its rows; a model without one is never shown by id.
    public: ClassVar[PublicId]

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, verbose_name=_("identifier")
    )
    tenant = OwnerKey(
        "tenants.Tenant", on_delete=models.PROTECT, related_name="+", verbose_name=_("tenant")
    )
    created_at = models.DateTimeField(auto_now_add=True, verbose_name=_("made at"))

    objects = ScopedManager(tenant="tenant_id")

    class Meta:
        abstract = True

    @property
    def public_id(self) -> str:
        return self.public.of(self.id)

    def validate_constraints(self, exclude: Any = None) -> None:
        """The database enforces them; Django's own look would query where no scope is open."""
