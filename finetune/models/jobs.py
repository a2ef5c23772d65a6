"""What a tenant asked for, the attempts at it, and all that was said on the way."""

from collections.abc import Sequence

from django.db import models
from django.utils.translation import gettext_lazy as _

from finetune.models.catalog import CatalogModel
from finetune.models.data import Dataset
from finetune.models.leased import OPERATOR_READS, Leased
from finetune.states import JobState
from tenants import public_ids
from tenants.models import License, StoredFile, TenantForeignKey, TenantOwned


class Job(TenantOwned):
    """One fine-tuning job. `requested` is what was asked, `resolved` what every "auto" became
    (values and the reason for each); both are shown, neither ever changes once running, but for the
    `relief` that `resolved` gets when the memory was not enough."""

    public = public_ids.JOB

    operator_reads = (
        "id", "tenant", "created_at", "base", "method", "state", "error", "started_at",
        "finished_at",
    )  # fmt: skip
    operator_needs_consent = True

    base = models.ForeignKey(
        CatalogModel, models.PROTECT, related_name="+", verbose_name=_("base model")
    )
    license = TenantForeignKey(License, related_name="+")
    method = models.CharField(max_length=20, default="supervised", verbose_name=_("method"))
    training_file = TenantForeignKey(StoredFile, related_name="+")
    validation_file = TenantForeignKey(StoredFile, null=True, related_name="+")
    training_data = TenantForeignKey(Dataset, null=True, related_name="+")
    validation_data = TenantForeignKey(Dataset, null=True, related_name="+")
    # The model that training goes on from; None: it starts from the base
    parent = TenantForeignKey("Artifact", null=True, related_name="children")
    start = models.JSONField(null=True)  # {model, step, adapter_sha256, optimizer_sha256}
    requested = models.JSONField(default=dict)
    resolved = models.JSONField(null=True)
    suffix = models.CharField(max_length=64, blank=True)
    seed = models.BigIntegerField(default=0)
    metadata = models.JSONField(default=dict)
    state = models.CharField(
        max_length=20, default=JobState.VALIDATING_FILES, verbose_name=_("state")
    )
    error = models.JSONField(
        null=True, verbose_name=_("error")
    )  # {code, message, param, where, fix}
    receipt = models.JSONField(null=True)  # what was expected of it and what it took, once it ended
    total_steps = models.IntegerField(null=True)
    trained_tokens = models.BigIntegerField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    pause_requested_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True, verbose_name=_("started at"))
    estimated_finish = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True, verbose_name=_("finished at"))
    # Bytes that it may write, asked of the tenant's storage when it was made.
    room_bytes = models.BigIntegerField(default=0, db_default=0)
    events_count = models.BigIntegerField(default=0)  # last event's seq; the row lock orders them
    created_by = models.CharField(max_length=120, blank=True)

    # Of a job that no row is of (an estimate's wish): what `further` gives
    wished: "Sequence[JobFile]" = ()

    @property
    def further(self) -> "list[JobFile]":
        """The files that are trained besides `training_file`; in the open scope."""
        if self._state.adding:
            return list(self.wished)
        found = self.further_files.select_related("file", "data__file")
        return list(found.order_by("position"))

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        indexes = [models.Index(fields=["tenant", "-created_at", "-id"], name="finetune_job_page")]

    def __str__(self) -> str:
        return self.public_id


class JobFile(TenantOwned):
    """A file that a job trains on besides its first, and how often an epoch takes each row of it
    (the first one's stands in `requested`). `data`: its reading, once there is one."""

    job = TenantForeignKey(Job, on_delete=models.CASCADE, related_name="further_files")
    position = models.IntegerField()  # from 2, as a request counts them
    file = TenantForeignKey(StoredFile, related_name="+")
    data = TenantForeignKey(Dataset, null=True, related_name="+")
    weight = models.FloatField(default=1.0)

    class Meta:
        verbose_name = _("training file of a job")
        verbose_name_plural = _("training files of jobs")
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "job", "position"], name="finetune_job_file_once"
            )
        ]

    def __str__(self) -> str:
        return str(self.id)


class Validation(TenantOwned, Leased):
    """What makes a job ready to train: its files read for the model, every "auto" a number."""

    task = "validate_job"
    key = "job_id"

    operator_reads = OPERATOR_READS

    job = TenantForeignKey(Job, on_delete=models.CASCADE, related_name="validations")

    class Meta:
        verbose_name = _("validation of a job")
        verbose_name_plural = _("validations of jobs")
        constraints = [
            models.UniqueConstraint(fields=["tenant", "job"], name="finetune_validation_once")
        ]

    def __str__(self) -> str:
        return str(self.id)


class Run(TenantOwned, Leased):
    """One attempt at a job: training it, under a lease."""

    task = "run_job"
    queue = "train"
    key = "job_id"

    operator_reads = (*OPERATOR_READS, "exit_code", "isolation")

    job = TenantForeignKey(Job, on_delete=models.CASCADE, related_name="runs")
    exit_code = models.IntegerField(
        null=True,
        verbose_name=_("exit code"),
        help_text=_(
            "0 done, 64 the data is at fault, 70 ours, 75 stopped at a checkpoint; negative: "
            "killed by that signal."
        ),
    )
    isolation = models.CharField(
        max_length=12,
        blank=True,
        verbose_name=_("isolation"),
        help_text=_(
            "The weakest of all its attempts; none: the data was handled without a sandbox."
        ),
    )

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "job"],
                condition=models.Q(state__in=["waiting", "leased"]),
                name="finetune_run_one_live",
            )
        ]

    def __str__(self) -> str:
        return str(self.id)


class Event(TenantOwned):
    """A line of the job's history. `type` is OpenAI's message | metrics, or checkpoint; `code` and
    its parameters in `data` say the same as `message` (finetune/events/)."""

    public = public_ids.EVENT

    operator_reads = ("id", "tenant", "created_at", "job", "seq", "type", "level", "message")
    operator_needs_consent = True

    job = TenantForeignKey(Job, on_delete=models.CASCADE, related_name="events")
    seq = models.BigIntegerField()
    type = models.CharField(max_length=12, default="message")
    level = models.CharField(max_length=5, default="info")
    code = models.CharField(max_length=60, blank=True, default="", db_default="")
    message = models.TextField()
    data = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "job", "seq"], name="finetune_event_seq_once")
        ]


class Checkpoint(TenantOwned):
    """A complete, uploaded training state. `prefix` names its objects in the tenant's vault."""

    public = public_ids.CHECKPOINT

    job = TenantForeignKey(Job, on_delete=models.CASCADE, related_name="checkpoints")
    run = TenantForeignKey(Run, on_delete=models.CASCADE, related_name="checkpoints")
    epoch = models.IntegerField()  # of the run that wrote it
    step = models.IntegerField()
    prefix = models.CharField(max_length=200)
    files = models.JSONField(default=dict)  # {name: {"sha256", "bytes"}}
    metrics = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "job", "step"], name="finetune_checkpoint_step_once"
            )
        ]


class StepSample(TenantOwned):
    """Some of the completions that a step learning from rewards has drawn: `object_name` in the
    tenant's vault holds them, a line each. Here are figures alone."""

    job = TenantForeignKey(Job, on_delete=models.CASCADE, related_name="step_samples")
    step = models.IntegerField()  # the first that learns from them
    object_name = models.CharField(max_length=200)
    completions = models.IntegerField()
    bytes = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "job", "step"], name="finetune_step_sample_once"
            )
        ]


class Artifact(TenantOwned):
    """The one committed result of a job. `bundle_object` is the signed .tar in the vault."""

    public = public_ids.ARTIFACT

    job = TenantForeignKey(Job, on_delete=models.PROTECT, related_name="artifacts")
    base = models.ForeignKey(CatalogModel, models.PROTECT, related_name="+")
    model_name = models.CharField(max_length=200)
    digest = models.CharField(max_length=80)  # of the bundle's manifest
    adapter_sha256 = models.CharField(max_length=64)
    bundle_object = models.CharField(max_length=200)
    bundle_bytes = models.BigIntegerField()
    bundle_sha256 = models.CharField(max_length=64)
    adapter_object = models.CharField(max_length=200)
    adapter_bytes = models.BigIntegerField(default=0, db_default=0)
    adapter_config = models.JSONField()
    passport = models.JSONField()
    metrics_file = TenantForeignKey(StoredFile, null=True, related_name="+")
    report = models.JSONField(default=dict)  # the trainer's report.json
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            # "One committed result per job, ever": the second publisher fails here.
            models.UniqueConstraint(fields=["tenant", "job"], name="finetune_artifact_one_per_job"),
            models.UniqueConstraint(
                fields=["tenant", "model_name"], name="finetune_artifact_model_name"
            ),
        ]

    @property
    def writes(self) -> bool:
        """Whether it answers in text: others make vectors or scores."""
        return self.base.family == "causal_lm" and not self.scores

    @property
    def scores(self) -> bool:
        """Whether it is a reward model, which writes nothing."""
        return bool(self.passport.get("family") == "scoring")
