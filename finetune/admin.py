"""The operator's rooms for what is made: the catalogue, and the health of runs. No job contents."""

from django.contrib import admin

from finetune.models import CatalogModel, Run
from tenants.operator_site import ReadOnlyAdmin


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
        "id", "tenant", "state", "epoch", "attempts", "worker", "lease_until", "wait_reason",
    )  # fmt: skip
    list_filter = ("state",)
    list_select_related = ("tenant",)
    ordering = ("-created_at",)
    fields = (
        "id", "tenant", "state", "epoch", "attempts", "worker", "lease_until", "not_before",
        "wait_reason", "started_at", "finished_at", "exit_code",
    )  # fmt: skip
    readonly_fields = fields
