"""Reads: one row by its public id, and pages of rows. All of the open tenant scope, nothing else.

An id that is malformed, unknown or another tenant's is the same: not found.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from django.db.models import Exists, Model, OuterRef, Q, QuerySet

from finetune.models import (
    Artifact,
    CatalogModel,
    Evaluation,
    Form,
    Job,
    Pipeline,
    Run,
    Stage,
    StepSample,
)
from finetune.states import LIVE_LEASES, JobState
from tenants.errors import NotFound
from tenants.models import License, LicenseState, StoredFile, TenantOwned
from tenants.public_ids import PublicId
from tenants.rights import Right

Row = TypeVar("Row", bound=TenantOwned)


@dataclass(frozen=True)
class Page(Generic[Row]):
    rows: Sequence[Row]
    has_more: bool


@dataclass(frozen=True)
class Cut:
    """Which page: after which public id, how many, in which direction of time."""

    after: str | None = None
    limit: int = 20
    newest_first: bool = True


def files() -> QuerySet[StoredFile]:
    """Files whose bytes still exist."""
    return StoredFile.objects.filter(deleted_at=None)


def artifacts() -> QuerySet[Artifact]:
    """Models that can be served and taken away, unless they are `withheld`."""
    gates = Evaluation.objects.filter(job=OuterRef("job"), withholds=True)
    made = Artifact.objects.filter(deleted_at=None).annotate(withheld=Exists(gates))
    return made.select_related("base", "job", "metrics_file")


def forms() -> QuerySet[Form]:
    """Of models that there still are."""
    whole = Form.objects.select_related("artifact__base").filter(artifact__deleted_at=None)
    return whole.order_by("created_at", "id")


def jobs() -> QuerySet[Job]:
    return Job.objects.select_related("base", "training_file", "validation_file")


def is_held(job: Job) -> bool:
    """Made ready and never started: it was asked for with `auto_start: false`."""
    return job.state == JobState.PAUSED and not Run.objects.filter(job=job).exists()


def step_samples(job: Job) -> QuerySet[StepSample]:
    """Of each step that has some, where its completions lie and how many they are."""
    return StepSample.objects.filter(job=job)


def evaluations() -> QuerySet[Evaluation]:
    return Evaluation.objects.select_related("suite", "base", "file")


def pipelines() -> QuerySet[Pipeline]:
    return Pipeline.objects.select_related("base", "license")


def results_of(jobs: Iterable[Job]) -> dict[UUID, Artifact]:
    """By job id, the artifact of each that has one; also of a model that was deleted since."""
    made = Artifact.objects.filter(job__in=list(jobs)).select_related("job", "metrics_file")
    return {artifact.job.id: artifact for artifact in made}


def stages_to_approve() -> QuerySet[Stage]:
    """Stages that have their result, and whose pipeline waits for a person's yes to it."""
    return Stage.objects.filter(
        gate="approval",
        approved_at=None,
        job__state=JobState.SUCCEEDED,
        pipeline__state__in=LIVE_LEASES,
    ).select_related("pipeline", "job")


def catalogue() -> QuerySet[CatalogModel]:
    """Base models on the shelf; not a tenant's, everybody may know of them."""
    return CatalogModel.objects.filter(retired_at=None)


def trainable() -> QuerySet[CatalogModel]:
    """Bases that the open scope's tenant has a licence to train."""
    return _licensed(Right.TRAIN)


def servable() -> QuerySet[CatalogModel]:
    """Bases that the open scope's tenant has a licence to ask, and to ask what was made of them."""
    return _licensed(Right.SERVE)


def _licensed(right: Right) -> QuerySet[CatalogModel]:
    held = License.objects.filter(state=LicenseState.ACTIVE, rights__contains=[right])
    return catalogue().filter(name__in=list(held.values_list("model", flat=True))).order_by("name")


def find(rows: QuerySet[Row], text: str, *, param: str | None = None) -> Row:
    """The row of that public id among `rows`. Raises NotFound, which never repeats the id."""
    public: PublicId = rows.model.public
    wanted = public.read(text)
    row = rows.filter(pk=wanted).first() if wanted else None
    if row is None:
        raise NotFound(public.missing, f"No such {public.noun}.", param=param)
    return row


def page(rows: QuerySet[Row], cut: Cut, *, by: str = "created_at") -> Page[Row]:
    """One page in the order of `by`, ties by id. Raises NotFound for an unknown `after`."""
    descending = "-" if cut.newest_first else ""
    if cut.after is not None:
        last = find(rows, cut.after, param="after")
        rows = rows.filter(_beyond(last, by, "lt" if cut.newest_first else "gt"))
    found = list(rows.order_by(f"{descending}{by}", f"{descending}id")[: cut.limit + 1])
    return Page(found[: cut.limit], len(found) > cut.limit)


def _beyond(last: Model, by: str, way: str) -> Q:
    value = getattr(last, by)
    return Q(**{f"{by}__{way}": value}) | Q(**{by: value, f"id__{way}": last.pk})


def with_metadata(rows: QuerySet[Job], wanted: dict[str, str] | None) -> QuerySet[Job]:
    """Jobs whose metadata holds all of `wanted`; None: jobs without metadata."""
    if wanted is None:
        return rows.filter(metadata={})
    return rows.filter(metadata__contains=wanted) if wanted else rows
