"""What a row must say so that one worker at a time works on it. The verbs: finetune/work/leases.py.

A kind of work is a table with these columns, and one class beside its service (work/kinds.py).
"""

from typing import Any, ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from finetune.states import LeaseState

# What an operator may read of leased work: how it goes, not what it is about.
OPERATOR_READS = (
    "id", "tenant", "created_at", "state", "epoch", "attempts", "lease_until", "not_before",
    "wait_reason", "worker", "started_at", "finished_at",
)  # fmt: skip


class Leased(models.Model):
    """Whoever holds `epoch` with a live lease may write; nobody else."""

    States: ClassVar[Any] = LeaseState  # or an enum with the same members under other values
    task: ClassVar[str]  # the message by which a worker hears of a row
    queue: ClassVar[str] = "io"  # where that message waits
    key: ClassVar[str] = "id"  # the column that the message holds

    state = models.CharField(max_length=10, default=LeaseState.WAITING, verbose_name=_("state"))
    epoch = models.IntegerField(
        default=0,
        db_default=0,
        verbose_name=_("claims"),
        help_text=_("How often a worker took it. Only the latest may write."),
    )
    attempts = models.IntegerField(
        default=0, db_default=0, verbose_name=_("attempts without progress")
    )
    lease_until = models.DateTimeField(
        null=True,
        verbose_name=_("lease until"),
        help_text=_("Past: the worker is presumed lost, and it is tried again."),
    )
    not_before = models.DateTimeField(
        null=True,
        verbose_name=_("not before"),
        help_text=_("Until then it waits: for room, storage, or after a failure."),
    )
    wait_reason = models.CharField(
        max_length=200,
        blank=True,
        db_default="",
        verbose_name=_("waits for"),
        help_text=_("Or, where an attempt failed, with what."),
    )
    worker = models.CharField(max_length=120, blank=True, db_default="", verbose_name=_("worker"))
    started_at = models.DateTimeField(null=True, verbose_name=_("started at"))
    finished_at = models.DateTimeField(null=True, verbose_name=_("finished at"))

    class Meta:
        abstract = True


class Operation(Leased):
    """Leased work that stands for itself, with no job above it to be asked or told."""

    cancel_requested_at = models.DateTimeField(null=True)
    done = models.BigIntegerField(default=0)  # in the kind's own unit: rows, bytes
    total = models.BigIntegerField(null=True)  # None: not known yet
    error = models.JSONField(null=True)  # {code, message, param, where, fix}

    class Meta:
        abstract = True
