"""The models that a licence can be held for. Belongs to the operator, not to a tenant."""

from django.db import models


class CatalogModel(models.Model):
    """A base or expert model in the model store, found by `name`; `digest` fixes its bytes."""

    operator_reads = (
        "id", "name", "family", "task", "edition", "parent", "digest", "architecture",
        "parameters", "context_length", "bytes", "licence", "source", "terms", "retired_at",
        "created_at",
    )  # fmt: skip

    name = models.SlugField(max_length=120, unique=True)
    family = models.CharField(max_length=20, default="causal_lm")
    task = models.CharField(max_length=20, default="dialogue")
    edition = models.CharField(
        max_length=10, default="open", choices=[("open", "open"), ("commercial", "commercial")]
    )
    parent = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="+")
    digest = models.CharField(max_length=80)
    path = models.CharField(max_length=200)  # relative to the model store
    architecture = models.CharField(max_length=80)
    parameters = models.BigIntegerField()
    context_length = models.IntegerField()
    bytes = models.BigIntegerField()
    licence = models.CharField(max_length=120)
    source = models.CharField(max_length=400)
    terms = models.TextField(blank=True)
    retired_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
