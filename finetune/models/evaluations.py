"""What a tenant holds answers to, and each time a model was held to it.

Rows, answers and tags are a customer's words and stand in the vault; here are figures, and what
people typed into a request.
"""

from django.db import models
from django.utils.translation import gettext_lazy as _

from finetune.models.catalog import CatalogModel
from finetune.models.jobs import Artifact, Job
from finetune.models.leased import OPERATOR_READS, Operation
from tenants import public_ids
from tenants.models import StoredFile, TenantForeignKey, TenantOwned


class Suite(TenantOwned):
    """When an answer is right, by the criteria of finetune/grading/criteria.py: OpenAI's eval. The
    rows come with each evaluation."""

    public = public_ids.SUITE

    name = models.CharField(max_length=200, blank=True)
    source_config = models.JSONField(default=dict)  # OpenAI's data_source_config
    criteria = models.JSONField(default=list)
    metadata = models.JSONField(default=dict)
    created_by = models.CharField(max_length=120, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "-created_at", "-id"], name="finetune_suite_page")
        ]


class Evaluation(TenantOwned, Operation):
    """A model asked a suite's questions, alone or beside its base; `done` and `total` are answers.

    Two of equal `digest` asked the same questions and held the answers to the same criteria.
    `report` and `marks` (each row's score, by side) are figures; `parts` are the objects in the
    vault that hold the items, and `tags_object` the figures by tag. Where the model is a tuned one
    `job` made it, or has yet to: until then there is no `artifact`, and the evaluation waits. While
    it `withholds`, the model is not given out.
    """

    public = public_ids.EVALUATION
    operator_reads = OPERATOR_READS
    task = "evaluate"

    suite = TenantForeignKey(Suite, on_delete=models.CASCADE, related_name="evaluations")
    file = TenantForeignKey(StoredFile, related_name="+")
    model = models.CharField(max_length=256)
    base = models.ForeignKey(CatalogModel, models.PROTECT, related_name="+")
    artifact = TenantForeignKey(Artifact, null=True, related_name="+")
    job = TenantForeignKey(Job, null=True, related_name="+")
    withholds = models.BooleanField(default=False, db_default=False)
    name = models.CharField(max_length=200, blank=True)
    metadata = models.JSONField(default=dict)
    requested = models.JSONField(default=dict)
    digest = models.CharField(max_length=64)
    report = models.JSONField(null=True)
    marks = models.JSONField(default=dict)
    parts = models.JSONField(default=list)  # [{"name", "rows", "bytes"}]
    tags_object = models.CharField(max_length=200, blank=True, default="", db_default="")
    created_by = models.CharField(max_length=120, blank=True)

    class Meta:
        verbose_name = _("evaluation")
        verbose_name_plural = _("evaluations")
        indexes = [
            models.Index(fields=["tenant", "-created_at", "-id"], name="finetune_evaluation_page"),
            models.Index(
                fields=["job"],
                name="finetune_evaluation_withholds",
                condition=models.Q(withholds=True),
            ),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def title(self) -> str:
        """For people: its own name, or what was asked of which model."""
        return self.name or f"{self.file.filename} · {self.model}"

    @property
    def objects_named(self) -> list[str]:
        names = [part["name"] for part in self.parts]
        return [*names, self.tags_object] if self.tags_object else names
