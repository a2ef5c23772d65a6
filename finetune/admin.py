"""The operator's rooms for what is made: the catalogue, and the health of leased work. Jobs only
of a tenant whose consent stands, and of those how they went."""

from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from finetune.events import waits
from finetune.models import CatalogModel, Dataset, Evaluation, Event, Job, Run, Validation
from finetune.work.held_up import by_reason
from tenants.operator_site import ReadOnlyAdmin, readable


@admin.register(CatalogModel)
class CatalogAdmin(ReadOnlyAdmin):
    list_display = ("name", "family", "architecture", "parameters", "licence", "retired_at")
    ordering = ("name",)
    fields = (
        "name", "family", "task", "edition", "architecture", "parameters", "context_length",
        "infilling", "bytes", "digest", "licence", "source", "terms", "retired_at", "created_at",
    )  # fmt: skip


LISTED: tuple[str, ...] = (
    "id", "tenant", "state", "attempts", "waits_for", "lease_until", "worker", "epoch",
)  # fmt: skip


def sentence(reason: str) -> str:
    """In the person's language, as the tenant is told it; a fault's own words as they are."""
    wait = waits.of_text(reason)
    return wait.told(gettext(wait.words)) if wait is not None else reason


class ReasonFilter(admin.SimpleListFilter):
    """What is waited for, and by how many rows."""

    title = _("waits for")
    parameter_name = "wait_reason"  # a column that the role may read

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        waiting = model_admin.model.States.WAITING
        rows = by_reason(model_admin.get_queryset(request), waiting)
        return [
            (reason, f"{sentence(reason)} ({count})")
            for reason, count, _since in sorted(rows, key=lambda row: -row[1])
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        reason = self.value()
        return queryset.filter(wait_reason=reason) if reason else queryset


class LeasedAdmin(ReadOnlyAdmin):
    """Which work lives, where, since when a worker was last heard of, and what it waits for."""

    list_display = LISTED
    list_filter = ("state", ReasonFilter)
    list_select_related = ("tenant",)
    ordering = ("-created_at",)

    @admin.display(description=_("waits for"), ordering="wait_reason")
    def waits_for(self, row: Any) -> str:
        return sentence(row.wait_reason)

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        return tuple(self.model.operator_reads)


@admin.register(Dataset)
class DatasetAdmin(LeasedAdmin):
    list_display = (*LISTED, "error_code")


@admin.register(Validation)
class ValidationAdmin(LeasedAdmin):
    pass


@admin.register(Run)
class RunAdmin(LeasedAdmin):
    list_display = (*LISTED, "isolation")


@admin.register(Evaluation)
class EvaluationAdmin(LeasedAdmin):
    pass


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """What the consent of an owner opens: states, errors and the history's messages. Without it
    the database shows no row."""

    list_display = ("id", "tenant", "base", "method", "state", "created_at")
    list_select_related = ("tenant", "base")
    list_filter = ("state",)
    ordering = ("-created_at",)
    fields = (
        "id", "tenant", "base", "method", "state", "error", "created_at", "started_at",
        "finished_at", "messages",
    )  # fmt: skip
    readonly_fields = fields

    @admin.display(description=_("messages"))
    def messages(self, job: Job) -> str:
        events = readable(Event).filter(job_id=job.pk, type="message").order_by("-seq")[:200]
        lines = ((each.seq, each.level, each.message) for each in events)
        return format_html_join("", "<div>{} {} {}</div>", lines)
