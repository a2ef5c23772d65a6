"""What a model can and cannot, by the tags of an evaluation, beside how many rows of its training
file have the same tags."""

from dataclasses import dataclass

from finetune.grading.abilities import Ability, abilities
from finetune.models import Evaluation, Job, Profile
from finetune.services.evaluations import reading
from finetune.services.files import profiling
from finetune.states import LeaseState
from tenants.access import Principal
from tenants.models import StoredFile


@dataclass(frozen=True)
class Abilities:
    """`file`: what the model was trained on, where it still is; `profile`: of it, where one was
    made; without one, rows are not counted."""

    evaluation: Evaluation
    file: StoredFile | None
    profile: Profile | None
    abilities: list[Ability]


def abilities_of(*, evaluation: Evaluation, by: Principal) -> Abilities:
    """No abilities: not evaluated to the end, no row has a tag, or the suite's file is gone.

    Raises Refused without the scope to read files; ObjectLost, StorageDown.
    """
    tags = reading.tags_of(evaluation=evaluation, by=by)
    file = _trained_on(evaluation)
    profile = None
    if file is not None:
        made = Profile.objects.select_related("file").filter(
            file=file, against=None, state=LeaseState.SUCCEEDED
        )
        profile = made.exclude(tags_object="").first()
    rows = profiling.rows_by_tag(profile=profile, by=by) if profile is not None else None
    sides = (evaluation.report or {}).get("sides", {})
    found = (
        abilities(
            tags.get("model", {}), tags.get("base", {}), rows, overall=sides["model"]["score"]
        )
        if any(tags.values())
        else []
    )
    return Abilities(evaluation, file, profile, found)


def _trained_on(evaluation: Evaluation) -> StoredFile | None:
    if evaluation.artifact_id is None:
        return None
    job = Job.objects.select_related("training_file").filter(artifacts=evaluation.artifact_id)
    file = job.get().training_file
    return file if file.deleted_at is None else None
