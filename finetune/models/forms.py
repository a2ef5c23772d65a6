"""Other forms of a finished model, made when somebody asks: the merged one holds the base, too."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from finetune.models.jobs import Artifact
from finetune.models.leased import OPERATOR_READS, Operation
from tenants import public_ids
from tenants.models import TenantForeignKey, TenantOwned


class Form(TenantOwned, Operation):
    """`done` and `total` are bytes written on the worker's disk. Once it has succeeded
    `object_name` is the signed .tar in the vault."""

    public = public_ids.FORM
    operator_reads = OPERATOR_READS
    task = "make_form"
    queue = "train"  # that worker has the bases' memory, and may sign

    artifact = TenantForeignKey(Artifact, on_delete=models.CASCADE, related_name="forms")
    form = models.CharField(max_length=20)
    object_name = models.CharField(max_length=200, blank=True)
    bytes = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    digest = models.CharField(max_length=80, blank=True)  # of its manifest
    info = models.JSONField(null=True)  # its form.json
    granted = models.JSONField(null=True)  # the licence in its license.json; None: nobody knows

    class Meta:
        verbose_name = _("form of a model")
        verbose_name_plural = _("forms of models")
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "artifact", "form"], name="finetune_form_once"
            )
        ]

    def __str__(self) -> str:
        return self.public_id
