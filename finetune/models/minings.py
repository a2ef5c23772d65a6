"""Hard negatives that are mined for a file's rows: which model, with what options, and what came
of it.

Figures stand here. What the texts are stands in the vault, and so do their vectors while it is
under way: a vector tells of its text.
"""

from django.db import models
from django.utils.translation import gettext_lazy as _

from finetune.models.leased import OPERATOR_READS, Operation
from tenants import public_ids
from tenants.models import StoredFile, TenantForeignKey, TenantOwned


class Mining(TenantOwned, Operation):
    """A new file, `result`, with the rows of `file` in their order and the negatives that `model`
    finds among them and the texts of `corpus`. `done`, `total`: texts that are embedded. `parts`:
    their vectors, {name, texts, bytes, of}, `of` telling what they are vectors of; gone when it has
    ended."""

    public = public_ids.MINING
    operator_reads = OPERATOR_READS
    task = "mine_file"

    file = TenantForeignKey(StoredFile, related_name="minings")
    corpus = TenantForeignKey(StoredFile, null=True, related_name="+")
    result = TenantForeignKey(StoredFile, null=True, related_name="mined_by")
    model = models.CharField(max_length=256)
    options = models.JSONField(default=dict)  # MiningOptions
    parts = models.JSONField(default=list)
    tokens = models.BigIntegerField(default=0)  # that were embedded, in all attempts
    report = models.JSONField(null=True)  # MiningReport

    class Meta:
        verbose_name = _("mining of hard negatives")
        verbose_name_plural = _("minings of hard negatives")
        indexes = [
            models.Index(fields=["tenant", "-created_at", "-id"], name="finetune_mining_page")
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def objects_named(self) -> list[str]:
        return [part["name"] for part in self.parts]
