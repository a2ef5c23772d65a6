"""What a model that learns from rewards writes: some answers of one step, on the job's page as they
come, or on a page of their own."""

import json
from itertools import groupby
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render

from faults import Fault
from finetune import selectors
from finetune.api.paging import whole_number
from finetune.models import Job
from finetune.services.jobs.samples import LARGEST_STEP, MOST, samples_of
from finetune.states import FINAL_JOB_STATES
from privatune.portal.access import RoomRequest, room
from privatune.portal.refusals import said
from tenants.roles import Scope


@room(Scope.JOBS_READ)
def samples(request: RoomRequest, job_id: UUID) -> HttpResponse:
    """Of the newest step, and of each newer one as it comes; or of `?step=`."""
    job = get_object_or_404(selectors.jobs(), id=job_id)
    asked = request.GET.get("step")
    step = whole_number(asked, "step", least=1, most=LARGEST_STEP) if asked else None
    context = {"job": job, **_around(job, step)}
    context["live"] = step is None and job.state not in FINAL_JOB_STATES
    try:
        context["groups"] = _groups(request, job, context["shown"])
    except Fault as error:
        context["refused"] = said(error)
    part = "portal/parts/samples.html" if "HX-Request" in request.headers else "portal/samples.html"
    return render(request, part, context)


def _around(job: Job, step: int | None) -> dict[str, Any]:
    """The step that is shown, and its neighbours of which there are answers, too."""
    steps = selectors.step_samples(job).values_list("step", flat=True)
    shown = step or steps.order_by("-step").first()
    if shown is None:
        return {"shown": None}
    return {
        "shown": shown,
        "older": steps.filter(step__lt=shown).order_by("-step").first(),
        "newer": steps.filter(step__gt=shown).order_by("step").first(),
    }


def _groups(request: RoomRequest, job: Job, step: int | None) -> list[dict[str, Any]]:
    """By the prompt's row, in the order that they were drawn."""
    if step is None:
        return []
    found = samples_of(job=job, by=request.principal, step=step, limit=MOST)
    for each in found:
        each["calls"] = [
            json.dumps(call, ensure_ascii=False, indent=2) for call in each["tool_calls"]
        ]
    return [
        {"row": row, "samples": list(group)}
        for row, group in groupby(found, lambda each: each["row"])
    ]
