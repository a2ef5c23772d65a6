"""Pipelines: stages of training in a row, looked at and steered as a whole."""

from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_POST

from faults import Fault
from finetune import selectors
from finetune.models import Pipeline
from finetune.services.pipelines import lifecycle
from finetune.services.pipelines.request import FEWEST
from finetune.services.pipelines.told import AWAITING, status_of
from finetune.states import LIVE_LEASES, LeaseState
from privatune.portal import pipeline_stages
from privatune.portal.access import RoomRequest, go, room
from privatune.portal.method_fields import formats
from privatune.portal.on_offer import on_offer
from privatune.portal.pipeline_form import PipelineForm, without
from privatune.portal.refusals import kept, said
from privatune.portal.words import PIPELINE_STATES
from tenants.roles import Scope

PAGE = 20


@room(Scope.JOBS_READ)
def index(request: RoomRequest) -> HttpResponse:
    found = selectors.pipelines().order_by("-created_at", "-id")
    page = Paginator(found, PAGE).get_page(request.GET.get("page"))
    shown = [{"row": each, "badge": PIPELINE_STATES[status_of(each)]} for each in page]
    context = {
        "page": page,
        "shown": shown,
        "live": any(each.state in LIVE_LEASES for each in page),
        "to_approve": selectors.stages_to_approve().order_by("created_at"),
    }
    return render(request, "portal/pipelines.html", context)


@room(Scope.JOBS_WRITE)
def new(request: RoomRequest) -> HttpResponse:
    """The form; what cannot be started is said beside the field at fault, and nothing is lost."""
    offered = on_offer()
    gone = request.POST.get("remove")  # a stage is taken away, and nothing else is done yet
    posted = request.POST or None if gone is None else None
    shown = request.GET.dict() if gone is None else without(request.POST, gone)
    form = PipelineForm(posted, offered=offered, initial=shown)
    if posted and form.is_valid():
        wish = form.request(auto_start="hold" not in request.POST)
        try:
            pipeline = lifecycle.create_pipeline(request=wish, by=request.principal)
        except Fault as error:
            form.take(error)
        else:
            return go(request, "pipeline", pipeline.id)
    context = {"form": form, "fewest": FEWEST, "offered": offered, "formats": formats()}
    return render(request, "portal/pipeline_new.html", context)


@room(Scope.JOBS_READ)
def detail(request: RoomRequest, pipeline_id: UUID) -> HttpResponse:
    pipeline = _pipeline(pipeline_id)
    status = status_of(pipeline)
    context = {
        "pipeline": pipeline,
        "badge": PIPELINE_STATES[status],
        "live": pipeline.state in LIVE_LEASES,
        "pausable": pipeline.state in LIVE_LEASES and pipeline.paused_at is None,
        "paused": pipeline.state in LIVE_LEASES and pipeline.paused_at is not None,
        "awaits": status == AWAITING,
        "failed": pipeline.state == LeaseState.FAILED,
        "error": kept(pipeline.error),
        **pipeline_stages.shown(pipeline),
    }
    return render(request, "portal/pipeline.html", context)


@require_POST
@room(Scope.JOBS_WRITE)
def act(request: RoomRequest, pipeline_id: UUID, verb: str) -> HttpResponse:
    """cancel, pause, resume, approve or retry."""
    pipeline = _pipeline(pipeline_id)
    verbs = {
        "cancel": lifecycle.cancel_pipeline,
        "pause": lifecycle.pause_pipeline,
        "resume": lifecycle.resume_pipeline,
        "approve": lifecycle.approve_pipeline,
    }
    by = request.principal
    try:
        if verb == "retry":
            lifecycle.retry_pipeline(pipeline_id=pipeline.id, by=by)
        else:
            verbs[verb](pipeline_id=pipeline.id, actor=by.actor)
    except Fault as error:
        messages.error(request, said(error))
    return go(request, "pipeline", pipeline.id)


def _pipeline(pipeline_id: UUID) -> Pipeline:
    return get_object_or_404(selectors.pipelines(), id=pipeline_id)
