"""Everything that speaks against a request, for whoever shows it all at once. What makes a job
stops at the first."""

from collections.abc import Callable, Iterator
from functools import partial
from uuid import UUID

from faults import Fault
from finetune.services.jobs.base_files import require_dimensions, require_targets, require_width
from finetune.services.jobs.files import require_kind, usable_file
from finetune.services.jobs.lifecycle import base_of
from finetune.services.jobs.request import REQUEST_CLASHES, JobRequest, check_request
from finetune.trainer.spec import RunSpec
from finetune.trainer.together import CLASHES, Clash, refuse


def objections(request: JobRequest) -> list[Fault]:
    """In the open scope. Empty: nothing but licence, room and turn is left to speak against it."""
    return [fault for check in _checks(request) if (fault := _fault(check)) is not None]


def _checks(request: JobRequest) -> Iterator[Callable[[], object]]:
    """Each by itself."""
    yield request.method_settings
    yield request.grader_spec
    yield partial(base_of, request.model)
    for file_id, param in _files(request):
        yield partial(_serves, file_id, param, request.method)
    yield from (partial(refuse, request, [clash]) for clash in REQUEST_CLASHES)
    yield from (partial(_apart, request, clash) for clash in CLASHES)
    yield partial(_in_range, request)
    yield partial(_fits_layers, request)
    yield partial(_fits_vectors, request)


def _in_range(request: JobRequest) -> None:
    base = base_of(request.model)
    check_request(request, context_length=base.context_length, infilling=base.infilling)


def _fault(check: Callable[[], object]) -> Fault | None:
    try:
        check()
    except Fault as fault:
        return fault
    return None


def _files(request: JobRequest) -> Iterator[tuple[UUID, str]]:
    yield request.training_file, "training_file"
    yield from ((each.file, "training_files") for each in request.further_files)
    if request.validation_file is not None:
        yield request.validation_file, "validation_file"


def _serves(file_id: UUID, param: str, method: str) -> None:
    require_kind(usable_file(file_id, param, lock=False), method, param)


def _fits_layers(request: JobRequest) -> None:
    """How wide layers are is asked of those that there are."""
    adapter, base = request.adapter_spec(), base_of(request.model)
    require_targets(adapter, base)
    require_width(adapter, base)


def _fits_vectors(request: JobRequest) -> None:
    require_dimensions(request.method_settings(), base_of(request.model))


def _apart(request: JobRequest, clash: Clash[RunSpec]) -> None:
    refuse(request.sketch(), [clash])
