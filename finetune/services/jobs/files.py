"""The files that a job names: whether they serve for it."""

from typing import Any, cast
from uuid import UUID

from faults import UserFault
from finetune.families.contract import base_of
from finetune.families.scored import require_architecture
from finetune.models import CatalogModel, Dataset
from finetune.purposes import OF_ROWS, Purpose
from finetune.records.check.formats import KINDS
from finetune.records.check.spec import RowFormat
from finetune.trainer.objectives import METHODS
from tenants.errors import NotFound
from tenants.models import StoredFile
from tenants.states import FileStatus


class WrongKind(UserFault):
    """`values`: the method and the format that was found, for the person's own language."""

    def __init__(self, file: StoredFile, method: str, found: RowFormat, param: str) -> None:
        wanted = ", ".join(formats_of(method))
        super().__init__(
            "wrong_kind_of_record",
            f"The method {method!r} trains on rows of the formats {wanted}, and the file "
            f"{file.public_id} holds {found}.",
            fix="Choose a method that trains on such rows, or a file of another format.",
            param=param,
        )
        self.values = {"method": method, "found": found}

    def fields(self) -> dict[str, Any]:
        return super().fields() | {"values": self.values}


def usable_file(file_id: UUID, param: str, *, lock: bool = True) -> StoredFile:
    """In the open scope; one whose check has not ended is waited for when the job is validated.
    Locked, so that whoever deletes the file waits, and then finds what was made of it.

    Raises NotFound, or UserFault for a wrong purpose or a check that ended badly."""
    files = StoredFile.objects.select_for_update() if lock else StoredFile.objects.all()
    file = files.filter(id=file_id, deleted_at=None).first()
    if file is None:
        raise NotFound("file_not_found", "There is no such file.", param=param)
    if file.purpose not in OF_ROWS:
        raise UserFault(
            "invalid_file_purpose",
            f"The file {file.public_id} has the purpose {file.purpose!r}.",
            fix=f"Upload it with purpose={Purpose.TRAINING.value!r}.",
            param=param,
        )
    if file.status == FileStatus.ERROR:
        raise not_passed(file, param)
    return file


def not_passed(file: StoredFile, param: str) -> UserFault:
    """Of a file whose check ended badly."""
    return UserFault(
        f"invalid_{param.removesuffix('s')}",
        f"The file {file.public_id} did not pass its check: {file.status_details}",
        fix="Mend the lines that the file's report names, and upload it again.",
        param=param,
    )


def require_kind(file: StoredFile, method: str, param: str) -> None:
    """What the method trains on, against what the file's check found in it; nothing while that is
    not known. Raises UserFault `wrong_kind_of_record`."""
    structure = Dataset.objects.filter(file=file, base=None).exclude(format="").first()
    if structure is None:
        return
    found = cast(RowFormat, structure.format)
    if trains_on(method, found):
        return
    raise WrongKind(file, method, found, param)


def formats_of(method: str) -> list[RowFormat]:
    """That the method trains on."""
    return [each for each in sorted(KINDS) if trains_on(method, each)]


def require_family(method: str, base: CatalogModel) -> None:
    """Raises UserFault `wrong_family` for a method of another kind of model than the base, and
    `base_without_score` where it makes a reward model of what stock transformers cannot."""
    family = METHODS[method].family
    wanted = base_of(family)
    if wanted == base.family:
        if family == "scoring":
            require_architecture(base.architecture)
        return
    kinds = {
        "causal_lm": "writes text",
        "embedding": "makes vectors of texts",
        "reranking": "scores documents beside a query",
    }
    fitting = [name for name, each in METHODS.items() if base_of(each.family) == base.family]
    raise UserFault(
        "wrong_family",
        f"The method {method!r} trains a model that {kinds[wanted]}, and {base.name} "
        f"{kinds[base.family]}.",
        fix=f"Use {' or '.join(fitting)}, or a model that {kinds[wanted]}.",
        param="method",
    )


def trains_on(method: str, row_format: RowFormat) -> bool:
    objective = METHODS[method]
    of_kind = KINDS[row_format].name in objective.records.names
    return of_kind and row_format in (objective.formats or [row_format])
