"""What a training of the organisation's may begin with, as its forms offer it."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from finetune import selectors
from finetune.families.contract import FamilyName
from finetune.models import Artifact, CatalogModel, Job
from finetune.purposes import OF_ROWS, Purpose
from finetune.records.check.spec import RowFormat
from finetune.services.evaluations import lifecycle
from finetune.states import FINAL_JOB_STATES
from finetune.trainer.objectives import METHODS
from privatune.portal.file_rows import with_rows
from tenants.models import License, LicenseState, StoredFile
from tenants.states import FileStatus

MODELS_SHOWN = 100
JOBS_SHOWN = 20
WRITES: FamilyName = "causal_lm"  # of bases that answer; others make vectors
EMBEDS: FamilyName = "embedding"
SCORES: FamilyName = "scoring"  # of models that were trained to, on a base that answers
SCORING = [name for name, method in METHODS.items() if method.family == SCORES]
# Formats whose rows a suite can ask: with messages, or a prompt, question or input of their own
ASKING: tuple[RowFormat, ...] = (
    *("chat", "completion", "fengshenbang", "prompt", "rated", "alpaca"),
)


@dataclass(frozen=True)
class OnOffer:
    """`models`: one's own that are not withheld, to train on from; `files`: of rows, told with how
    many; `reward_models`: to reward a training; `judges`: models that write, to be asked what an
    answer is worth."""

    bases: QuerySet[CatalogModel]
    models: QuerySet[Artifact]
    files: QuerySet[StoredFile]
    reward_models: list[str]
    judges: list[str]

    def choices(self, asked: str | None) -> list[Any]:
        """Bases, and models to train on from: the newest, and the one, or the checkpoint, that the
        page's address asks for."""
        newest = self.models.order_by("-created_at").values_list("model_name", flat=True)
        own = list(newest[:MODELS_SHOWN])
        if asked and asked.startswith("ft:") and asked not in own:
            own.insert(0, asked)
        listed: list[Any] = [(name, name) for name in self.bases.values_list("name", flat=True)]
        return [*listed, (_("Train on from"), [(name, name) for name in own])] if own else listed


def questions() -> QuerySet[StoredFile]:
    """Files whose rows a model can be asked, the newest first: brought for it, of training rows
    that ask something, or lines of JSON by their name."""
    named = Q()
    for ending in (".jsonl", ".ndjson", ".json"):
        named |= Q(filename__iendswith=ending)
    asks = Q(purpose__in=OF_ROWS, status=FileStatus.PROCESSED, format__in=ASKING) & named
    other = Q(purpose=Purpose.USER_DATA) & named
    found = with_rows(selectors.files().filter(bytes__lte=lifecycle.LARGEST_FILE))
    return found.filter(Q(purpose=Purpose.EVALS) | asks | other).order_by("-created_at", "-id")


def askable() -> tuple[list[Any], list[str]]:
    """(choices, bases) of what may be evaluated: one's own models, the newest first, the bases of
    one's licences, and last what jobs under way will make; and these bases."""
    written = (
        selectors.artifacts()
        .filter(base__family=WRITES)
        .exclude(passport__contains={"family": SCORES})
    )
    tuned = written.order_by("-created_at").values_list("model_name", flat=True)
    licensed = License.objects.filter(state=LicenseState.ACTIVE).values_list("model", flat=True)
    known = selectors.catalogue().filter(name__in=list(licensed), family=WRITES).order_by("name")
    bases = list(known.values_list("name", flat=True))
    live = selectors.jobs().filter(base__family=WRITES).exclude(method__in=SCORING)
    live = live.exclude(state__in=FINAL_JOB_STATES)
    to_come = [
        (each.public_id, _result_of(each)) for each in live.order_by("-created_at")[:JOBS_SHOWN]
    ]
    groups = (
        (_("My models"), [(name, name) for name in tuned]),
        (_("Base models"), [(name, name) for name in bases]),
        (_("Results of jobs that have not ended"), to_come),
    )
    return [(name, each) for name, each in groups if each], bases


def embedders() -> list[Any]:
    """Choices of models that may be asked for vectors: one's own that are not withheld, the newest
    first, and bases."""
    bases = selectors.servable().filter(family=EMBEDS)
    groups = (
        (_("My models"), _names_of(_given_out(bases)[:MODELS_SHOWN])),
        (_("Base models"), list(bases.values_list("name", flat=True))),
    )
    return [(group, names) for group, names in groups if names]


def reward_models() -> list[str]:
    """The organisation's own that are not withheld, the newest first."""
    usable = _given_out(selectors.trainable())
    return _names_of(usable.filter(passport__contains={"family": SCORES}))


def judges() -> list[str]:
    """Models that write and may be asked: bases, and the organisation's own, the newest first."""
    bases = selectors.servable().filter(family=WRITES)
    own = _given_out(bases).exclude(passport__contains={"family": SCORES})
    return [*bases.values_list("name", flat=True), *_names_of(own[:MODELS_SHOWN])]


def _given_out(bases: QuerySet[CatalogModel]) -> QuerySet[Artifact]:
    """One's own models on these bases that are not withheld, the newest first."""
    return selectors.artifacts().filter(base__in=bases, withheld=False).order_by("-created_at")


def _names_of(models: QuerySet[Artifact]) -> list[str]:
    return list(models.values_list("model_name", flat=True))


def _result_of(job: Job) -> str:
    made = timezone.localtime(job.created_at)
    return f"{job.suffix or job.public_id} · {made:%Y-%m-%d %H:%M}"


def on_offer() -> OnOffer:
    bases = selectors.trainable()
    usable = selectors.files().filter(purpose__in=OF_ROWS).exclude(status=FileStatus.ERROR)
    return OnOffer(
        bases=bases,
        models=_given_out(bases),
        files=with_rows(usable).order_by("-created_at"),
        reward_models=reward_models(),
        judges=judges(),
    )
