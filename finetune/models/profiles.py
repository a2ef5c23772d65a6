"""What is known of a file's rows, and the versions of a file that were made without what is
personal in it.

Figures stand here. Which rows, and where in them, stands in the vault, as tags do: the places of
somebody's data are data, too.
"""

from django.db import models
from django.utils.translation import gettext_lazy as _

from finetune.models.leased import OPERATOR_READS, Operation
from tenants import public_ids
from tenants.models import StoredFile, TenantForeignKey, TenantOwned


class Profile(TenantOwned, Operation):
    """A file's rows, seen through: alone, or against the file of what is held out."""

    public = public_ids.PROFILE
    operator_reads = OPERATOR_READS
    task = "profile_file"

    file = TenantForeignKey(StoredFile, on_delete=models.CASCADE, related_name="profiles")
    against = TenantForeignKey(StoredFile, on_delete=models.CASCADE, null=True, related_name="+")
    report = models.JSONField(null=True)  # ProfileReport: no word of the file's
    findings_object = models.CharField(max_length=200, blank=True)
    findings_bytes = models.BigIntegerField(default=0)
    tags_object = models.CharField(max_length=200, blank=True)  # rows by tag

    class Meta:
        verbose_name = _("profile of a file")
        verbose_name_plural = _("profiles of files")
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "file", "against"],
                nulls_distinct=False,
                name="finetune_profile_once",
            )
        ]
        indexes = [
            models.Index(fields=["tenant", "-created_at", "-id"], name="finetune_profile_page")
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def objects_named(self) -> list[str]:
        return [name for name in (self.findings_object, self.tags_object) if name]


class Scrub(TenantOwned, Operation):
    """A new file, `result`, with the rows of `file` in their order and what was found of `kinds`
    masked. `rows_sha256` is of the rows as they were, so that their numbers are known to fit."""

    public = public_ids.SCRUB
    operator_reads = OPERATOR_READS
    task = "scrub_file"

    file = TenantForeignKey(StoredFile, related_name="scrubs")
    result = TenantForeignKey(StoredFile, null=True, related_name="scrubbed_by")
    kinds = models.JSONField(default=list)
    report = models.JSONField(null=True)  # ScrubReport
    rows_sha256 = models.CharField(max_length=64, blank=True)
    findings_object = models.CharField(max_length=200, blank=True)  # "": a file of the two is gone
    findings_bytes = models.BigIntegerField(default=0)

    class Meta:
        verbose_name = _("scrub of a file")
        verbose_name_plural = _("scrubs of files")
        indexes = [
            models.Index(fields=["tenant", "-created_at", "-id"], name="finetune_scrub_page")
        ]

    def __str__(self) -> str:
        return self.public_id
