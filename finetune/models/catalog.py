"""The models that a licence can be held for. Belongs to the operator, not to a tenant."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from finetune.catalogue import Edition, ModelTask


class CatalogModel(models.Model):
    """A base or expert model in the model store, found by `name`; `digest` fixes its bytes."""

    operator_reads = (
        "id", "name", "family", "task", "edition", "digest", "architecture",
        "parameters", "context_length", "infilling", "bytes", "licence", "source", "terms",
        "retired_at", "created_at",
    )  # fmt: skip

    name = models.SlugField(max_length=120, unique=True, verbose_name=_("name"))
    family = models.CharField(max_length=20, default="causal_lm", verbose_name=_("family"))
    task = models.CharField(max_length=20, default=ModelTask.DIALOGUE.value, verbose_name=_("task"))
    edition = models.CharField(
        max_length=10,
        default=Edition.OPEN.value,
        choices=[(edition.value, edition.value) for edition in Edition],
        verbose_name=_("edition"),
    )
    digest = models.CharField(
        max_length=80,
        verbose_name=_("digest"),
        help_text=_("Of config, tokenizer and weights: what the name stands for."),
    )
    path = models.CharField(max_length=200)  # relative to the model store
    architecture = models.CharField(max_length=80, verbose_name=_("architecture"))
    parameters = models.BigIntegerField(verbose_name=_("parameters"))
    context_length = models.IntegerField(
        verbose_name=_("context length"), help_text=_("In tokens.")
    )
    infilling = models.CharField(
        max_length=20,
        null=True,  # imported before it was looked for
        blank=True,
        verbose_name=_("fills in the middle"),
        help_text=_("Whose control tokens for it the tokenizer has; empty: none."),
    )
    bytes = models.BigIntegerField(verbose_name=_("bytes"))
    licence = models.CharField(max_length=120, verbose_name=_("licence"))
    source = models.CharField(
        max_length=400,
        verbose_name=_("source"),
        help_text=_("The folder, file or hub id that it was imported from."),
    )
    terms = models.TextField(
        blank=True,
        verbose_name=_("terms"),
        help_text=_("The licence's own text; it goes into every bundle's license.json."),
    )
    retired_at = models.DateTimeField(
        null=True,
        blank=True,
        verbose_name=_("retired at"),
        help_text=_("New jobs and new questions cannot choose it any more."),
    )
    created_at = models.DateTimeField(auto_now_add=True, verbose_name=_("imported at"))

    class Meta:
        verbose_name = _("base model")
        verbose_name_plural = _("base models")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
