"""What a tenant may do with which model, until when, how much, and what it has used of that."""

from django.db import models
from django.utils import timezone

from tenants.models.base import TenantForeignKey, TenantOwned


class LicenseState(models.TextChoices):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


class License(TenantOwned):
    """The right to use one catalogue model, named as in the catalogue.

    `token_budget` counts trained tokens (tokens whose loss was taken, times epochs); null:
    no limit.
    """

    operator_reads = (
        "id", "tenant", "created_at", "model", "may_train", "may_export", "may_serve",
        "valid_from", "valid_until", "token_budget", "state", "note",
    )  # fmt: skip

    model = models.CharField(max_length=120)
    may_train = models.BooleanField(default=True)
    may_export = models.BooleanField(default=True)
    may_serve = models.BooleanField(default=True)
    valid_from = models.DateTimeField(default=timezone.now)
    valid_until = models.DateTimeField(null=True, blank=True)
    token_budget = models.BigIntegerField(null=True, blank=True)
    state = models.CharField(
        max_length=10, choices=LicenseState.choices, default=LicenseState.ACTIVE
    )
    note = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [
            # One licence that is not revoked per model: a second one would make "which rules?" a
            # matter of luck.
            models.UniqueConstraint(
                fields=["tenant", "model"],
                condition=~models.Q(state="revoked"),
                name="tenants_license_one_per_model",
            )
        ]

    def __str__(self) -> str:
        return f"{self.model} ({self.state})"


class UsageEntry(TenantOwned):
    """Tokens used under a licence. `reference` names what used them, once."""

    operator_reads = ("id", "tenant", "created_at", "license", "kind", "tokens")

    license = TenantForeignKey(License, related_name="usage")
    kind = models.CharField(max_length=20)
    tokens = models.BigIntegerField()
    reference = models.CharField(max_length=80)

    class Meta:
        constraints = [
            # A job that is published twice by a race is charged once.
            models.UniqueConstraint(
                fields=["tenant", "kind", "reference"], name="tenants_usage_once"
            )
        ]
