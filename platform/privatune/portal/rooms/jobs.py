"""Jobs: start one, watch it learn, stop it. A refresh loses nothing: the rows are the truth."""

import json
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from faults import Fault
from finetune import selectors
from finetune.api.paging import whole_number
from finetune.events import CHOICES
from finetune.models import Checkpoint, Event, Job
from finetune.services.jobs import lifecycle
from finetune.states import FINAL_JOB_STATES, JobState
from finetune.trainer.objectives import METHODS
from privatune.portal import history, learning, measures, outlook, phases
from privatune.portal.access import RoomRequest, go, room
from privatune.portal.job_form import JobForm
from privatune.portal.method_fields import formats, method_for
from privatune.portal.on_offer import WRITES, on_offer
from privatune.portal.pipeline_stages import stage_of, with_stage
from privatune.portal.refusals import kept, said
from privatune.portal.searched import searched
from privatune.portal.watching import watch
from privatune.portal.words import METHODS_TOLD
from tenants.database.scope import tenant_scope
from tenants.roles import Scope

PAGE = 20
EVENTS_SHOWN = 200
CHECKPOINTS_SHOWN = 50
POINTS = 2000
LONGEST_HISTORY = 2**63 - 1


@room(Scope.JOBS_READ)
def index(request: RoomRequest) -> HttpResponse:
    found = with_stage(selectors.jobs().order_by("-created_at", "-id"))
    page = Paginator(found, PAGE).get_page(request.GET.get("page"))
    return render(request, "portal/jobs.html", {"page": page})


@room(Scope.JOBS_WRITE)
def new(request: RoomRequest) -> HttpResponse:
    """The form; what cannot be started is said beside the field at fault, and nothing is lost."""
    offered = on_offer()
    looks = "look" in request.POST  # at the fields of another method; nothing is asked yet
    posted = None if looks else request.POST or None
    shown = request.POST.dict() if looks else request.GET.dict()
    if "method" not in shown and (file := shown.get("training_file")):
        shown |= {"method": method_for(offered.files, file) or "supervised"}
    form = JobForm(posted, offered=offered, initial=shown)
    if posted and form.is_valid():
        wish = form.job_request().model_copy(update={"auto_start": "hold" not in request.POST})
        try:
            by = request.principal
            job = lifecycle.create_job(request=wish, actor=by.actor, by=by)
        except Fault as error:
            form.take(error)
        else:
            return go(request, "job", job.id)
    context = {"form": form, "offered": offered, "formats": formats()}
    return render(request, "portal/job_new.html", context)


@room(Scope.JOBS_READ)
def detail(request: RoomRequest, job_id: UUID) -> HttpResponse:
    job = _job(job_id)
    context = {
        "job": job,
        "error": kept(job.error),
        "stage": stage_of(job),
        "method": METHODS_TOLD.get(job.method, job.method),
        "charts": measures.charts(job),
        "checkpoints": _checkpoints(job),
        **_progress(job),
        **outlook.of(job),
    }
    part = "portal/parts/job.html" if request.headers.get("HX-Request") else "portal/job.html"
    return render(request, part, context)


@require_POST
@room(Scope.JOBS_WRITE)
def act(request: RoomRequest, job_id: UUID, verb: str) -> HttpResponse:
    """cancel, pause or resume."""
    job = _job(job_id)
    verbs = {
        "cancel": lifecycle.cancel_job,
        "pause": lifecycle.pause_job,
        "resume": lifecycle.resume_job,
    }
    try:
        verbs[verb](job_id=job.id, actor=request.principal.actor)
    except Fault as error:
        messages.error(request, said(error))
    return go(request, "job", job.id)


@room(Scope.JOBS_READ)
def curve(request: RoomRequest, job_id: UUID) -> HttpResponse:
    """All points of the curve so far, for the first drawing and for whoever cannot stream."""
    job = _job(job_id)
    return JsonResponse(_points(job, _after(request.GET.get("after"))))


@room(Scope.JOBS_READ, own_scope=True)
def stream(request: RoomRequest, job_id: UUID) -> HttpResponseBase:
    """Server-sent events: new points and state, until the job has ended."""
    after = _after(request.headers.get("Last-Event-ID") or request.GET.get("after"))
    with tenant_scope(request.belonging.tenant_id):
        _job(job_id)

    def look() -> tuple[str, bool]:
        nonlocal after
        seen = _points(_job(job_id), after)
        lines = ""
        if seen["last"] > after:
            after = seen["last"]
            lines = f"id: {after}\ndata: {json.dumps(seen)}\n\n"
        return lines + ("event: end\ndata: {}\n\n" if seen["final"] else ""), seen["final"]

    return watch(request, Scope.JOBS_READ, look)


def _after(text: str | None) -> int:
    return whole_number(text or "0", "after", least=0, most=LONGEST_HISTORY)


def _points(job: Job, after: int) -> dict[str, Any]:
    """Metrics with seq > after, thinned to POINTS, and how far the history goes."""
    found = list(
        Event.objects.filter(job=job, type="metrics", seq__gt=after)
        .order_by("seq")
        .values_list("data", flat=True)
    )
    stride = max(1, len(found) // POINTS)
    return {
        "points": [
            point
            for index, point in enumerate(found)
            if index % stride == 0 or index == len(found) - 1 or point.get("valid_loss") is not None
        ],
        "last": job.events_count,
        "state": job.state,
        "final": job.state in FINAL_JOB_STATES,
    }


def _progress(job: Job) -> dict[str, Any]:
    """What the page says in figures: step of steps, time left, the latest loss."""
    latest = Event.objects.filter(job=job, type="metrics").order_by("-seq").first()
    evaluated = (
        Event.objects.filter(job=job, type="metrics", data__valid_loss__isnull=False)
        .exclude(data__valid_loss=None)
        .order_by("-seq")
        .first()
    )
    data: dict[str, Any] = latest.data if latest else {}
    total = data.get("total_steps") or job.total_steps or 0
    step = data.get("step") or 0
    reasons = (job.resolved or {}).get("reasons", {})
    said = Event.objects.filter(job=job).exclude(type="metrics")
    artifact = selectors.artifacts().filter(job=job).first()
    stopping = job.state == JobState.RUNNING and bool(
        job.cancel_requested_at or job.pause_requested_at
    )
    warned = artifact.report.get("warnings", []) if artifact else []
    return {
        "metrics": data,
        "valid_loss": evaluated.data["valid_loss"] if evaluated else None,
        "measures": measures.figures(job, data, evaluated.data if evaluated else {}),
        "phase": phases.told(job),
        "left": _seconds_left(latest),
        "until": job.finished_at or timezone.now(),
        "percent": round(100 * step / total) if total else 0,
        "events": [
            {"event": each, "said": history.told(each)}
            for each in said.order_by("-seq")[:EVENTS_SHOWN]
        ],
        "artifact": artifact,
        "searched": searched(artifact.report) if artifact else None,
        "curve": learning.drawn(artifact.report) if artifact else None,
        "warnings": [(each["code"], history.told(Event(**each))) for each in warned],
        "final": job.state in FINAL_JOB_STATES,
        "training": job.state == JobState.RUNNING and not stopping,
        "judged": METHODS[job.method].family == WRITES,
        "cancels": job.state not in FINAL_JOB_STATES and not job.cancel_requested_at,
        "resumes": job.state == JobState.PAUSED,
        "held": selectors.is_held(job),
        "withdraws": stopping and not job.cancel_requested_at,
        "pauses": job.state in lifecycle.PAUSABLE and not stopping,
        "reasons": history.reasons(reasons, said.filter(code__in=CHOICES)),
    }


def _seconds_left(latest: Event | None) -> float | None:
    """As the latest step told, less what has passed since: a learning curve tells no steps. None
    where nothing is told yet, or it takes longer than was told."""
    if latest is None or "seconds_left" not in latest.data:
        return None
    since = (timezone.now() - latest.created_at).total_seconds()
    left = float(latest.data["seconds_left"]) - since
    return left if left > 0 else None


def _checkpoints(job: Job) -> list[dict[str, Any]]:
    """The newest first. `model`: what to train on from it is called, where it may be."""
    result = selectors.artifacts().filter(job=job).first()
    name = result.model_name if result is not None and not result.withheld else None  # type: ignore[attr-defined]
    found = Checkpoint.objects.filter(job=job).order_by("-step")[:CHECKPOINTS_SHOWN]
    return [
        {"row": each, "model": f"{name}:ckpt-step-{each.step}" if name else None} for each in found
    ]


def _job(job_id: UUID) -> Job:
    return get_object_or_404(selectors.jobs(), id=job_id)
