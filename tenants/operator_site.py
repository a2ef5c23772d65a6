"""The operator's admin: an allow-list of models, read through the operator's database role.

A model that is not on the list cannot be registered, whoever tries: account packages register their
own (addresses, authenticators), and through those an operator could become a customer.
"""

from typing import Any, ClassVar, cast
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from tenants.actor import Actor
from tenants.models import User
from tenants.services.staff_reads import note_read

OPERATOR = "operator"

ALLOWED = frozenset(
    {
        "tenants.tenant",
        "tenants.license",
        "tenants.usageentry",
        "tenants.user",
        "tenants.supportconsent",
        "finetune.catalogmodel",
        "finetune.dataset",  # how its reading goes, not of which file and not what was found
        "finetune.validation",
        "finetune.run",
        "finetune.evaluation",  # how it goes, not of which model and not what was found
        "finetune.job",  # only of a tenant whose consent stands: the database asks for it
    }
)
# Pages of the site itself. Not among them: `r/`, which looks for a row of any table by its id, and
# `autocomplete/`, which nothing uses.
PAGES = frozenset(
    {"index", "login", "logout", "password_change", "password_change_done", "jsi18n", "app_list"}
)


class ListedSite(admin.AdminSite):
    """Who comes in is decided above it (privatune/people/operators.py)."""

    site_header = site_title = "Privatune"

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        several = isinstance(model_or_iterable, list | tuple)
        models = model_or_iterable if several else [model_or_iterable]
        for model in models:
            if model._meta.label_lower not in ALLOWED:
                raise ImproperlyConfigured(
                    f"{model._meta.label} is not on the list of what an operator may see "
                    "(tenants/operator_site.py)."
                )
        super().register(models, admin_class, **options)

    def get_urls(self) -> list[Any]:
        """Without the pages that are not on the list; a model's own pages have no name here."""
        return [each for each in super().get_urls() if self._is_ours(each)]

    def _is_ours(self, address: Any) -> bool:
        if getattr(address, "name", None) in PAGES:
            return True
        return hasattr(address, "url_patterns") or str(address.pattern) == "(?P<url>.*)$"


def readable(model: Any) -> QuerySet[Any]:
    """Every tenant's rows, in the columns that the operator's role may read."""
    every: QuerySet[Any] = model._base_manager.using(OPERATOR)
    return every.only(*model.operator_reads)


def actor_of(request: HttpRequest) -> Actor:
    return Actor.operator(str(request.user), cast(User, request.user).pk)


class OperatorAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Lists and looks up through the operator's role; never deletes: history is evidence."""

    list_select_related: ClassVar[tuple[str, ...]] = ()

    list_per_page = 50

    def tenants_of(self, row: Any, *, listed: bool) -> set[UUID]:
        """Whose log tells that staff saw this row, in a list or alone."""
        return {row.tenant_id} if hasattr(row, "tenant_id") else set()

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        answer = super().changelist_view(request, extra_context)
        shown = getattr(answer, "context_data", None) or {}
        rows = list(shown["cl"].result_list) if "cl" in shown else []
        self._note(request, {t for row in rows for t in self.tenants_of(row, listed=True)})
        return answer

    def get_object(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        row = super().get_object(request, *args, **kwargs)
        self._note(request, self.tenants_of(row, listed=False) if row is not None else set())
        return row

    def _note(self, request: HttpRequest, tenants: set[UUID]) -> None:
        for tenant_id in sorted(tenants):
            note_read(
                tenant_id=tenant_id, actor=actor_of(request), page=self.model._meta.model_name
            )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        names = list(self.model.operator_reads)
        for relation in self.list_select_related:
            related: Any = self.model._meta.get_field(relation).related_model
            names += [f"{relation}__{name}" for name in related.operator_reads]
        every = readable(self.model).select_related(*self.list_select_related).only(*names)
        return every.order_by(*self.get_ordering(request))

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """A filter in the address asks about a column as surely as showing it does."""
        if lookup.partition("__")[0] not in self.model.operator_reads:
            return False
        if lookup.endswith(("regex", "iregex")):  # the database would refuse a broken one
            return False
        return super().lookup_allowed(lookup, value, request)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs["queryset"] = readable(db_field.remote_field.model)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class ReadOnlyAdmin(OperatorAdmin):
    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
