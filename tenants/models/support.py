"""A tenant's time-limited consent that the operator may look at its jobs."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from tenants.models.base import TenantOwned


class SupportConsent(TenantOwned):
    """Stands until `until` on the database's clock, or until it is revoked. The policies of the
    tables that it opens ask for it themselves (database/grants.py)."""

    operator_reads = ("id", "tenant", "created_at", "until", "reason", "revoked_at")

    until = models.DateTimeField(verbose_name=_("until"))
    reason = models.CharField(max_length=200, verbose_name=_("reason"))
    granted_by = models.CharField(max_length=330)  # the owner's address then; the id is in the log
    revoked_at = models.DateTimeField(null=True, blank=True, verbose_name=_("ended at"))

    class Meta:
        verbose_name = _("consent to support")
        verbose_name_plural = _("consents to support")

    def __str__(self) -> str:
        return f"until {self.until:%Y-%m-%d %H:%M} UTC"
