"""The receipt of a job that has ended well: what it took, beside what was expected of it. Its
measurements go into what is expected of the next one of its kind."""

from datetime import datetime
from typing import Any

from django.utils import timezone

from finetune import events
from finetune.models import Event, Job, Pace, Run
from finetune.services.runs import pace, shape
from finetune.services.runs.pace import Measured

COMPARED = (
    "trained_tokens", "steps", "training_seconds", "grading_seconds", "seconds", "peak_memory_mb",
)  # fmt: skip
STOPPED = ("training_seconds", "grading_seconds", "seconds", "peak_memory_mb")


def settle(job: Job, report: dict[str, Any]) -> dict[str, Any]:
    """The receipt, in the transaction that publishes; `report` is the trainer's. What a job took
    that was stopped and went on says nothing of a whole one: of it only tokens and steps are
    compared."""
    runs = list(Run.objects.filter(job=job))
    whole = len(runs) == 1 and runs[0].epoch == 1 and "relief" not in report
    now = timezone.now()
    took: dict[str, Any] = {
        "trained_tokens": tokens_taken(report),
        "steps": int(report["steps"]),
        "training_seconds": report["seconds"],
        "grading_seconds": (report.get("grading") or {}).get("seconds") if whole else None,
        "seconds": _between(runs[0].started_at, now) if whole else None,
        "peak_memory_mb": report["peak_memory_mb"],
        "attempts": sum(run.epoch for run in runs),
        "charged_tokens": tokens_taken(report),
    }
    wanted = (job.receipt or {}).get("expected") or {}
    errors = {name: _relative(wanted.get(name), took[name]) for name in COMPARED}
    if whole and not report.get("stopped_early"):
        _learn(job, report, runs[0], now, errors)
    elif not whole:
        errors |= dict.fromkeys(STOPPED)
    return {"expected": wanted or None, "took": took, "errors": errors}


def tokens_taken(report: dict[str, Any]) -> int:
    """Trained tokens, a learning curve's among them: what the licence is charged."""
    curve = report.get("learning_curve") or {}
    return int(report["trained_tokens"]) + int(curve.get("trained_tokens", 0))


def _relative(expected: float | None, took: float | None) -> float | None:
    """0.1: it took a tenth more than was expected."""
    if not expected or took is None:
        return None
    return round((took - expected) / expected, 4)


def _learn(
    job: Job, report: dict[str, Any], run: Run, now: datetime, errors: dict[str, float | None]
) -> None:
    resolved = job.resolved or {}
    machine = resolved.get("machine")
    begun, done = _last(job, events.TrainingPlanned.code), _last(job, events.TrainingDone.code)
    trained = _first(job, events.CurvePartBegun.code) or done  # before its learning curve
    if machine is None or begun is None or done is None or trained is None:
        return  # a job of an older version
    tokens = max(1, shape.tokens_of(job)[0] * resolved["spec"]["epochs"])
    seconds = float(report["seconds"])
    beside = max(0.0, (_between(begun.created_at, trained.created_at) or 0.0) - seconds)
    graded = report.get("grading") or {"answers": 0, "seconds": 0.0, "step_seconds": 0.0}
    seconds -= graded["step_seconds"]
    beside = max(0.0, beside - (graded["seconds"] - graded["step_seconds"]))
    valid = pace.evaluations(job) * shape.tokens_of(job)[1]
    row = pace.learn(
        job,
        machine,
        Measured(
            token_seconds=seconds / tokens,
            peak_memory_mb=int(report["peak_memory_mb"]),
            valid_token_seconds=beside / valid if valid else None,
            save_seconds=None if valid else beside / max(1, pace.saves(job)),
            start_seconds=_between(run.started_at, begun.created_at),
            publish_seconds=_between(done.created_at, now),
            answer_seconds=graded["seconds"] / graded["answers"] if graded["answers"] else None,
        ),
    )
    _keep(row, errors)


def _last(job: Job, code: str) -> Event | None:
    return Event.objects.filter(job=job, code=code).order_by("-seq").first()


def _first(job: Job, code: str) -> Event | None:
    return Event.objects.filter(job=job, code=code).order_by("seq").first()


def _keep(row: Pace, errors: dict[str, float | None]) -> None:
    """For the errors that stand beside the next estimate."""
    if errors["seconds"] is not None or errors["peak_memory_mb"] is not None:
        row.outturns = [*row.outturns, errors][-pace.OUTTURNS_KEPT :]
        row.save(update_fields=["outturns"])


def _between(begin: datetime | None, end: datetime) -> float | None:
    return round((end - begin).total_seconds(), 2) if begin is not None else None
