"""A pipeline's stages as pages show them: what each learns from, how far it is, what it made, and
what was found where something must hold before the next; and the stage that a job is of."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import Prefetch, QuerySet
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from finetune import selectors
from finetune.models import Artifact, Event, Job, Pipeline, Stage
from finetune.services.jobs.judges import stage_of as stage_making
from finetune.services.models.graders import Judge
from finetune.services.pipelines.position import is_better, stages_of
from finetune.services.pipelines.told import judges_in, told
from finetune.services.pipelines.told import stage_of as of_job
from finetune.states import FINAL_JOB_STATES, LIVE_LEASES
from privatune.portal import phases
from privatune.portal.outlook import FIGURES
from privatune.portal.words import GATES, JOB_STATES, METHODS_TOLD, STAGE_WAITS, Badge

TO_APPROVE = Badge(_("waits for approval"), "yellow")


def shown(pipeline: Pipeline) -> dict[str, Any]:
    """`expected`: of all stages together, while they have not ended; `result`: the last one's."""
    whole, rows = told(pipeline), stages_of(pipeline)
    results = selectors.results_of([each.job for each in rows if each.job is not None])
    stages = [
        _shown(pipeline, stage, each["expected"], results)
        for stage, each in zip(rows, whole["stages"], strict=True)
    ]
    live = pipeline.state in LIVE_LEASES
    return {
        "stages": stages,
        "result": stages[-1]["result"] if stages else None,
        "expected": _figures(whole["estimate"]) if live else [],
        "licence": whole["estimate"]["licence"] if live else None,
        "reading": live and pipeline.reserved_at is None,
        "measuring": _measures(pipeline) and whole["estimate"]["seconds"] is None,
        "until": timezone.now() if live else pipeline.finished_at,
    }


def _measures(pipeline: Pipeline) -> bool:
    """Whether somebody holds it, and a worker tries what nobody has measured."""
    held = pipeline.paused_at is not None and pipeline.reserved_at is not None
    return held and pipeline.state in LIVE_LEASES


def _shown(
    pipeline: Pipeline,
    stage: Stage,
    expected: Mapping[str, Any],
    results: Mapping[UUID, Artifact],
) -> dict[str, Any]:
    job = stage.job
    result = results.get(job.id) if job is not None else None
    report = result.report if result is not None else {}
    method = stage.request.get("method", "supervised")
    ended = job is not None and job.state in FINAL_JOB_STATES
    return {
        "stage": stage,
        "job": job,
        "badge": STAGE_WAITS if job is None else JOB_STATES[job.state],
        "method": METHODS_TOLD.get(method, method),
        "judges": [judge_told(each) for each in judges_in(stage)],
        "split": stage.request.get("validation_split"),
        "phase": phases.told(job) if job is not None else "",
        "percent": _percent(job) if job is not None and not ended else None,
        "until": (job.finished_at if job is not None else None) or timezone.now(),
        "expected": [] if ended else _figures(expected),
        "result": result,
        "before": report.get("start_valid_loss", report.get("base_valid_loss")),
        "after": report.get("valid_loss"),
        "gate": None if stage.gate == "none" else GATES[stage.gate],
        "found": _found(pipeline, stage, result),
    }


def judge_told(judge: Judge) -> str:
    """A judging model's name; of one that a stage makes, which."""
    if (number := stage_making(judge)) is None:
        return judge.model
    if judge.scores:
        return gettext("the reward model of stage %(number)s") % {"number": number}
    return gettext("the model of stage %(number)s") % {"number": number}


def _found(pipeline: Pipeline, stage: Stage, result: Artifact | None) -> Badge | None:
    """What became of the gate; None: it was not come to, or there is none."""
    if result is None or stage.gate == "none":
        return None
    if stage.gate == "better":
        passed = is_better(result.report)
        return Badge(_("better"), "green") if passed else Badge(_("not shown to be better"), "red")
    if stage.approved_at is not None:
        return Badge(gettext("approved by %(who)s") % {"who": stage.approved_by or "–"}, "green")
    return TO_APPROVE if pipeline.state in LIVE_LEASES else Badge(_("not approved"))


def _percent(job: Job) -> int:
    latest = Event.objects.filter(job=job, type="metrics").order_by("-seq").first()
    data: dict[str, Any] = latest.data if latest else {}
    total = data.get("total_steps") or job.total_steps or 0
    return round(100 * (data.get("step") or 0) / total) if total else 0


def _figures(expected: Mapping[str, Any]) -> list[tuple[Any, str]]:
    return [
        (label, words(expected[name]))
        for name, label, words in FIGURES
        if expected.get(name) is not None
    ]


def with_stage(jobs: QuerySet[Job]) -> QuerySet[Job]:
    """Jobs for a list, each with the stage that it is, if any."""
    stages = Stage.objects.select_related("pipeline")
    return jobs.prefetch_related(Prefetch("stages", queryset=stages))


def stage_of(job: Job) -> dict[str, Any] | None:
    """The job's pipeline and its place there, as its history tells: a stage that is tried again has
    another job. `approval`: it is this job that waits for somebody's yes."""
    known = of_job(job)
    if known is None:
        return None
    return {
        "pipeline": selectors.find(selectors.pipelines(), known["id"]),
        "number": known["stage"],
        "of": known["stages"],
        "approval": selectors.stages_to_approve().filter(job=job).exists(),
    }
