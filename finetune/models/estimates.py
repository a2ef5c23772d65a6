"""What jobs take, as measured: of a base and its settings on a kind of machine, for every tenant
alike and without a word of whose job it was; and a tenant's wish to know before it starts one."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from finetune.models.catalog import CatalogModel
from finetune.models.jobs import Job
from finetune.models.leased import OPERATOR_READS, Operation
from tenants import public_ids
from tenants.models import TenantForeignKey, TenantOwned


class Machine(models.Model):
    """A kind of machine that trained, or a GPU that a worker has, named by what computes
    (`work/place.py`)."""

    place = models.CharField(max_length=120, unique=True)
    device = models.CharField(max_length=8)
    memory_mb = models.BigIntegerField()  # the most that a training may have of it
    bf16 = models.BooleanField(default=False, db_default=False)  # a training would be in it
    seen_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.place


class Pace(models.Model):
    """How fast a base trains at a place with settings of one kind (`services/runs/shape.py`), and
    how far estimates by it were off: `outturns`, the newest last."""

    base = models.ForeignKey(CatalogModel, models.PROTECT, related_name="+")
    place = models.CharField(max_length=120)
    shape = models.CharField(max_length=64)  # digest of `settings`
    settings = models.JSONField(default=dict)
    machine = models.JSONField(default=dict)  # RunSpec's fields that were chosen there
    token_seconds = models.FloatField()  # of training, for a token of the data
    valid_token_seconds = models.FloatField(null=True)
    # Of graders beside the training, for an answer, all parts together; None: not measured
    answer_seconds = models.FloatField(null=True)
    save_seconds = models.FloatField(default=0)
    start_seconds = models.FloatField(default=0)  # from the claim to the first step
    publish_seconds = models.FloatField(null=True)  # from the last step; None: no job ended yet
    peak_memory_mb = models.IntegerField()
    formula_mb = models.IntegerField()  # what families/footprint.py says of the same
    outturns = models.JSONField(default=list)
    measured_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["base", "place", "shape"], name="finetune_pace_once")
        ]

    def __str__(self) -> str:
        return f"{self.base_id} {self.place} {self.shape}"


class Estimate(TenantOwned, Operation):
    """A wish to know what a job would take. What can be told without trying is told of its rows
    whenever it is asked for; the work is a rehearsal, where nothing alike was measured yet.

    `job`: the held one that it is of; else `requested` is the whole wish.
    """

    task = "rehearse_job"
    queue = "train"
    public = public_ids.ESTIMATE

    operator_reads = OPERATOR_READS

    job = TenantForeignKey(Job, on_delete=models.CASCADE, null=True, related_name="estimates")
    requested = models.JSONField(default=dict)
    seed = models.BigIntegerField(default=0)
    created_by = models.CharField(max_length=120, blank=True)

    class Meta:
        verbose_name = _("estimate")
        verbose_name_plural = _("estimates")
        constraints = [
            models.UniqueConstraint(fields=["tenant", "job"], name="finetune_estimate_once")
        ]

    def __str__(self) -> str:
        return self.public_id
