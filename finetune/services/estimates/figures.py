"""An estimate as it can be told at this moment, from the rows alone: nothing of it is kept."""

import math
from statistics import median
from typing import Any

from faults import Fault, UserFault
from finetune.models import Dataset, Estimate, Job, Pace
from finetune.selectors import is_held
from finetune.services.estimates.asking import files_of, job_of, readings_of
from finetune.services.jobs import resolution
from finetune.services.jobs.budget import promised
from finetune.services.jobs.files import not_passed
from finetune.services.jobs.fit import require_fit
from finetune.services.jobs.judges import judges_asked
from finetune.services.jobs.validation import file_fault, is_done
from finetune.services.runs import pace
from finetune.states import DatasetState, LeaseState
from tenants.models import StoredFile
from tenants.services.licences import tokens_left
from tenants.states import FileStatus

READING, MEASURING, READY, FAILED = "reading", "measuring", "ready", "failed"
STATUSES = (READING, MEASURING, READY, FAILED)
NOT_MEASURED = UserFault(
    "not_measured",
    "Nothing alike was measured, and the job was started or ended before a worker tried it.",
    fix="Look at the job's own progress, or ask for an estimate of the same settings.",
)
UNKNOWN: dict[str, Any] = {
    "hyperparameters": None,
    "trained_tokens_per_epoch": None,
    "trained_tokens": None,
    "learning_curve": None,
    "steps": None,
    "training_seconds": None,
    "grading": None,
    "seconds": None,
    "peak_memory_mb": None,
    "measured": None,
    "licence": None,
    "files": [],
}


def told(estimate: Estimate) -> dict[str, Any]:
    """In the open scope. `status`: `reading` the files, `measuring` (a rehearsal waits or runs;
    all but seconds and memory is known), `ready`, or `failed` with the error."""
    try:
        job = job_of(estimate, lock=False)
    except UserFault as fault:
        return _failed(fault)
    if wrong := next(filter(None, map(_fault, files_of(job))), None):
        return _failed(wrong)
    if any(data is None or not is_done(data) for _, _, data in files_of(job)):
        return UNKNOWN | {"status": READING, "error": None}
    try:
        return _told(estimate, resolved(job))
    except UserFault as fault:  # its settings do not go with what the files hold
        return _failed(fault)


def _failed(fault: Fault) -> dict[str, Any]:
    return UNKNOWN | {"status": FAILED, "error": fault.fields()}


def resolved(job: Job) -> Job:
    """With every "auto" made a number, where that was not done before."""
    if job.resolved is None:
        assert job.training_data is not None  # it was read
        job.resolved = resolution.resolve(
            job, job.training_data, job.validation_data, further=job.further
        ).as_dict()
    return job


def _fault(of: tuple[str, StoredFile, Dataset | None]) -> Fault | None:
    """Of a file that cannot be used."""
    param, file, data = of
    if data is not None and data.state == DatasetState.REFUSED:
        return file_fault(data, param)
    return not_passed(file, param) if file.status == FileStatus.ERROR else None


def _told(estimate: Estimate, job: Job) -> dict[str, Any]:
    known = pace.known(job)
    expected = pace.figures(job, known, known.machine if known is not None else None)
    data, wanted = job.training_data, job.resolved or {}
    curve = _curve(job, known)
    own = wanted["trained_tokens"] - (curve["trained_tokens"] if curve else 0)
    assert data is not None
    figures = UNKNOWN | {
        "hyperparameters": wanted["hyperparameters"],
        "trained_tokens_per_epoch": own // wanted["spec"]["epochs"],
        "learning_curve": curve,
        "grading": _grading(job, known, expected["grading_seconds"]),
        **{name: value for name, value in expected.items() if name in UNKNOWN},
        "measured": _measured(known) if known is not None else None,
        "licence": _licence(estimate, job),
        "files": [
            {
                "use": param.removesuffix("_file"),
                "file": file.public_id,
                "rows": each.rows,
                "tokens": int((each.report or {}).get("tokens_total") or 0),
                "trained_tokens": each.tokens_trained,
            }
            for (param, file, _), each in zip(files_of(job), readings_of(job), strict=True)
        ],
    }
    return figures | _status(estimate, job, known)


def _status(estimate: Estimate, job: Job, known: Pace | None) -> dict[str, Any]:
    try:
        require_fit(job)
    except Fault as fault:
        return {"status": FAILED, "error": fault.fields()}
    if known is not None:
        return {"status": READY, "error": None}
    if estimate.state in (LeaseState.WAITING, LeaseState.LEASED):
        return {"status": MEASURING, "error": None}
    return {"status": FAILED, "error": estimate.error or NOT_MEASURED.fields()}


def _licence(estimate: Estimate, job: Job) -> dict[str, Any]:
    """Trained tokens. `promised`: to live jobs, of which a held one is none of its own estimate;
    null: the licence has no limit."""
    left = tokens_left(job.license)
    own = int((job.resolved or {})["trained_tokens"])
    others = promised(job.license) - (own if estimate.job_id is not None and is_held(job) else 0)
    after = None if left is None else left - others - own
    return {
        "tokens_left": left,
        "promised": others,
        "tokens_left_after": after,
        "enough": after is None or after >= 0,
    }


def _curve(job: Job, known: Pace | None) -> dict[str, Any] | None:
    """What the learning curve takes of it all."""
    found = (job.resolved or {}).get("learning_curve")
    if found is None:
        return None
    seconds = pace.curve_seconds(job, known) if known is not None else None
    return {
        "rows": found["rows"],
        "trained_tokens": found["trained_tokens"],
        "seconds": None if seconds is None else round(seconds, 2),
    }


def _grading(job: Job, known: Pace | None, seconds: float | None) -> dict[str, Any] | None:
    """What graders beside the training, models that judge among them, take of it all. `assumed`:
    nobody measured them."""
    if not pace.is_graded_beside(job):
        return None
    return {
        "judges": [each.model for each in judges_asked((job.resolved or {})["spec"]["grader"])],
        "answers": sum(pace.graded_answers(job)),
        "seconds": seconds,
        "assumed": known is not None and known.answer_seconds is None,
    }


def _measured(known: Pace) -> dict[str, Any]:
    """Where and when, and how far off estimates of this kind were, as shares of what was
    expected."""
    return {
        "place": known.place,
        "at": known.measured_at,
        "jobs": len(known.outturns),
        "off_by": {
            name: _spread([each.get(name) for each in known.outturns])
            for name in ("seconds", "training_seconds", "peak_memory_mb")
        },
    }


def _spread(errors: list[float | None]) -> dict[str, float] | None:
    """Median and 90th percentile of their sizes."""
    sizes = sorted(abs(each) for each in errors if each is not None)
    if not sizes:
        return None
    return {"median": median(sizes), "p90": sizes[math.ceil(0.9 * len(sizes)) - 1]}
