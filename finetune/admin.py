"""The operator's rooms for what is made: the catalogue, and the health of runs. Jobs only
of a tenant whose consent stands, and of those how they went."""

from django.contrib import admin
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _

from finetune.models import CatalogModel, Event, Job, Run
from tenants.operator_site import ReadOnlyAdmin, readable


@admin.register(CatalogModel)
class CatalogAdmin(ReadOnlyAdmin):
    list_display = ("name", "family", "architecture", "parameters", "licence", "retired_at")
    ordering = ("name",)
    fields = (
        "name", "family", "task", "edition", "architecture", "parameters", "context_length",
        "bytes", "digest", "licence", "source", "terms", "retired_at", "created_at",
    )  # fmt: skip


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    """Which runs live, where, and since when a worker was last heard of."""

    list_display = (
        "id", "tenant", "state", "epoch", "attempts", "worker", "isolation", "lease_until",
        "wait_reason",
    )  # fmt: skip
    list_filter = ("state",)
    list_select_related = ("tenant",)
    ordering = ("-created_at",)
    fields = (
        "id", "tenant", "state", "epoch", "attempts", "worker", "lease_until", "not_before",
        "wait_reason", "started_at", "finished_at", "exit_code", "isolation",
    )  # fmt: skip
    readonly_fields = fields


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
