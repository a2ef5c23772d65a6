"""What a tenant may do with which model, until when, how much, and what it has used of that."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from tenants import public_ids
from tenants.models.base import TenantForeignKey, TenantOwned
from tenants.rights import BY_DEFAULT, Right


class LicenseState(models.TextChoices):
    ACTIVE = "active", _("active")
    SUSPENDED = "suspended", _("suspended")
    REVOKED = "revoked", _("revoked")


def all_rights() -> list[str]:
    """Those that a licence has of itself; the name is older than a right that it has not."""
    return [right.value for right in Right if right in BY_DEFAULT]


class License(TenantOwned):
    """The right to use one catalogue model, named as in the catalogue.

    `token_budget` counts trained tokens (tokens whose loss was taken, times epochs); null:
    no limit.
    """

    public = public_ids.LICENCE

    operator_reads = (
        "id", "tenant", "created_at", "model", "rights", "valid_from", "valid_until",
        "token_budget", "state", "note",
    )  # fmt: skip

    model = models.CharField(
        max_length=120,
        verbose_name=_("model"),
        help_text=_("The name of a model of the catalogue."),
    )
    # No choices: a new right is a line in tenants/rights.py and no migration.
    rights = ArrayField(
        models.CharField(max_length=20), default=all_rights, blank=True, verbose_name=_("rights")
    )
    valid_from = models.DateTimeField(default=timezone.now, verbose_name=_("valid from"))
    valid_until = models.DateTimeField(
        null=True, blank=True, verbose_name=_("valid until"), help_text=_("Empty: without end.")
    )
    token_budget = models.BigIntegerField(
        null=True,
        blank=True,
        verbose_name=_("token budget"),
        help_text=_("Trained tokens, times the passes over them. Empty: no limit."),
    )
    state = models.CharField(
        max_length=10,
        choices=LicenseState.choices,
        default=LicenseState.ACTIVE,
        verbose_name=_("state"),
    )
    note = models.CharField(
        max_length=200,
        blank=True,
        verbose_name=_("note"),
        help_text=_("For operators; the tenant does not see it."),
    )

    class Meta:
        verbose_name = _("licence")
        verbose_name_plural = _("licences")
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

    public = public_ids.USAGE

    operator_reads = ("id", "tenant", "created_at", "license", "kind", "tokens")

    license = TenantForeignKey(License, related_name="usage", verbose_name=_("licence"))
    kind = models.CharField(max_length=20, verbose_name=_("kind"))
    tokens = models.BigIntegerField(verbose_name=_("tokens"))
    reference = models.CharField(max_length=80)

    class Meta:
        verbose_name = _("usage entry")
        verbose_name_plural = _("usage entries")
        constraints = [
            # A job that is published twice by a race is charged once.
            models.UniqueConstraint(
                fields=["tenant", "kind", "reference"], name="tenants_usage_once"
            )
        ]

    def __str__(self) -> str:
        return str(self.id)
