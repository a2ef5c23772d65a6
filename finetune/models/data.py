"""The frozen reading of a file for one model: counts, token statistics, every problem row."""

from django.db import models
from django.db.models.fields.json import KT
from django.utils.translation import gettext_lazy as _

from finetune.models.catalog import CatalogModel
from finetune.models.leased import OPERATOR_READS, Leased
from finetune.states import DatasetState
from tenants import public_ids
from tenants.models import StoredFile, TenantForeignKey, TenantOwned


class Dataset(TenantOwned, Leased):
    """Made under a lease. `base` null: structure only, as checked right after the upload.

    That one holds the file's mapping of columns, and is read anew when another is given; readings
    for a model take the mapping that the file then has. `columns` goes with the file's bytes, and
    `columns_key`, its digest, stays.

    `rows_object`, `tokens_object` and `errors_object` name objects in the tenant's vault: rows,
    the same as token ids, and the problems with what they quote of the file.
    """

    States = DatasetState
    task = "check_dataset"
    public = public_ids.DATASET

    operator_reads = (*OPERATOR_READS, "error_code")

    file = TenantForeignKey(StoredFile, on_delete=models.CASCADE, related_name="datasets")
    base = models.ForeignKey(CatalogModel, models.PROTECT, null=True, related_name="+")
    max_length = models.IntegerField(null=True)
    overflow = models.CharField(max_length=8, default="refuse")
    thinking = models.CharField(max_length=4, default="each", db_default="each")
    # Field of a format -> what the file calls it
    columns = models.JSONField(default=dict, db_default={})
    columns_key = models.CharField(max_length=64, blank=True, default="", db_default="")
    state = models.CharField(max_length=10, default=DatasetState.PENDING, verbose_name=_("state"))
    format = models.CharField(max_length=20, blank=True)
    report = models.JSONField(null=True)  # CheckReport.figures(): no word of the file's
    error = models.JSONField(null=True)  # set when the check itself could not be done
    # The operator's role reads this and not the words, nor where in the file.
    error_code = models.GeneratedField(
        expression=KT("error__code"),
        output_field=models.TextField(),
        db_persist=True,
        verbose_name=_("error"),
    )
    rows = models.BigIntegerField(default=0)
    tokens_trained = models.BigIntegerField(default=0)
    rows_object = models.CharField(max_length=200, blank=True)
    rows_sha256 = models.CharField(max_length=64, blank=True)
    # The same rows as token ids, for a reading with a base; "": made by an older version
    tokens_object = models.CharField(max_length=200, blank=True, default="", db_default="")
    tokens_sha256 = models.CharField(max_length=64, blank=True, default="", db_default="")
    errors_object = models.CharField(max_length=200, blank=True)
    errors_bytes = models.BigIntegerField(default=0, db_default=0)
    updated_at = models.DateTimeField(auto_now=True)

    @property
    def objects_named(self) -> list[str]:
        """Its objects in the vault."""
        return [name for name in (self.rows_object, self.tokens_object, self.errors_object) if name]

    class Meta:
        verbose_name = _("reading of a file")
        verbose_name_plural = _("readings of files")
        constraints = [
            models.UniqueConstraint(
                fields=[
                    *("tenant", "file", "base", "max_length"),
                    *("overflow", "thinking", "columns_key"),
                ],
                nulls_distinct=False,
                name="finetune_dataset_one_reading",
            )
        ]

    def __str__(self) -> str:
        return self.public_id
