"""Stages of training in a row, asked for at once; each goes on from the one before."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from finetune.models.catalog import CatalogModel
from finetune.models.jobs import Artifact, Job
from finetune.models.leased import OPERATOR_READS, Operation
from tenants import public_ids
from tenants.models import License, StoredFile, TenantForeignKey, TenantOwned


class Pipeline(TenantOwned, Operation):
    """Its lease is the right to take the next step: to promise the licence's tokens to all stages,
    to make the next stage's job, to end. Between two steps it waits. `model` as it was asked for;
    `parent`: the model it goes on from, where that is no base."""

    public = public_ids.PIPELINE
    operator_reads = OPERATOR_READS
    task = "advance_pipeline"

    base = models.ForeignKey(
        CatalogModel, models.PROTECT, related_name="+", verbose_name=_("base model")
    )
    license = TenantForeignKey(License, related_name="+")
    parent = TenantForeignKey(Artifact, null=True, related_name="+")
    model = models.CharField(max_length=256)
    name = models.CharField(max_length=200, blank=True)
    metadata = models.JSONField(default=dict)
    reserved_at = models.DateTimeField(null=True)  # since then its stages' tokens are promised
    paused_at = models.DateTimeField(null=True)
    created_by = models.CharField(max_length=120, blank=True)

    class Meta:
        verbose_name = _("pipeline")
        verbose_name_plural = _("pipelines")
        indexes = [
            models.Index(fields=["tenant", "-created_at", "-id"], name="finetune_pipeline_page")
        ]

    def __str__(self) -> str:
        return self.public_id


class Stage(TenantOwned):
    """`request` is a JobRequest, whose model is the pipeline's until the job is made. `gate`: what
    must hold after it before the next begins. `trained_tokens`, as its files were read, are
    promised until its job is."""

    pipeline = TenantForeignKey(Pipeline, on_delete=models.CASCADE, related_name="stages")
    number = models.IntegerField()  # from 1
    request = models.JSONField(default=dict)
    gate = models.CharField(max_length=10, default="none")
    training_file = TenantForeignKey(StoredFile, related_name="+")
    validation_file = TenantForeignKey(StoredFile, null=True, related_name="+")
    seed = models.BigIntegerField()
    trained_tokens = models.BigIntegerField(null=True)
    job = TenantForeignKey(Job, null=True, related_name="stages")
    approved_at = models.DateTimeField(null=True)
    approved_by = models.CharField(max_length=120, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "pipeline", "number"], name="finetune_stage_number_once"
            ),
            models.UniqueConstraint(fields=["tenant", "job"], name="finetune_stage_job_once"),
        ]
