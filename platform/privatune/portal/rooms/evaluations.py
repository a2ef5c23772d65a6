"""Evaluations: ask whether a model is worth it, watch, and see what was found."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.db import transaction
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_POST

from faults import Fault
from finetune import selectors
from finetune.api.streams import download as download_stream
from finetune.models import Evaluation
from finetune.services.evaluations import lifecycle, reading, subjects
from finetune.states import LIVE_LEASES, LeaseState
from privatune.portal import evaluation_items, verdicts
from privatune.portal.access import RoomRequest, go, room
from privatune.portal.evaluation_form import EvaluationForm
from privatune.portal.on_offer import askable, questions, reward_models
from privatune.portal.refusals import kept, said
from privatune.portal.watching import may_look
from tenants.database.scope import tenant_scope
from tenants.models import StoredFile
from tenants.roles import Scope

PAGE = 20


@room(Scope.MODELS_READ)
def index(request: RoomRequest) -> HttpResponse:
    found = selectors.evaluations().order_by("-created_at", "-id")
    page = Paginator(found, PAGE).get_page(request.GET.get("page"))
    shown = [{"row": each, "verdict": verdicts.verdict(each.report)} for each in page]
    live = any(each.state in LIVE_LEASES for each in page)
    context = {"page": page, "shown": shown, "live": live}
    return render(request, "portal/evaluations.html", context)


@room(Scope.INFER)
def new(request: RoomRequest) -> HttpResponse:
    """The form; what cannot be started is said beside the field at fault, and nothing is lost."""
    models, bases = askable()
    posted = request.method == "POST"
    form = EvaluationForm(
        request.POST if posted else None,
        request.FILES if posted else None,
        models=models,
        bases=bases,
        reward_models=reward_models(),
        files=questions(),
        initial={"model": request.GET.get("model"), "file": request.GET.get("file")},
    )
    if posted and form.is_valid():
        try:
            with transaction.atomic():
                evaluation = _create(request, form)
        except Fault as error:
            form.take(error)
        else:
            return go(request, "evaluation", evaluation.id)
    return render(request, "portal/evaluation_new.html", {"form": form, "models": models})


def _create(request: RoomRequest, form: EvaluationForm) -> Evaluation:
    by, criteria = request.principal, form.criteria()
    lifecycle.take_turn()
    sent = form.cleaned_data["rows"]
    brought: AbstractContextManager[StoredFile] = (
        lifecycle.kept_file(filename=sent.name, source=sent, by=by)
        if sent
        else nullcontext(_locked(form.cleaned_data["file"]))
    )
    names = ", ".join(each["name"] for each in criteria)[:200]
    with brought as file:
        suite = lifecycle.suite_of(criteria=criteria, name=names, by=by)
        return lifecycle.create_evaluation(suite=suite, file=file, request=form.request(), by=by)


def _locked(file: StoredFile) -> StoredFile:
    return selectors.find(selectors.files().select_for_update(), file.public_id)


@room(Scope.MODELS_READ)
def detail(request: RoomRequest, evaluation_id: UUID) -> HttpResponse:
    evaluation = _evaluation(evaluation_id)
    part = request.headers.get("HX-Request")
    page = "portal/parts/evaluation.html" if part else "portal/evaluation.html"
    return render(request, page, _context(request, evaluation))


def _context(request: RoomRequest, evaluation: Evaluation) -> dict[str, Any]:
    total, by = evaluation.total or 0, request.principal
    others = selectors.evaluations().filter(digest=evaluation.digest).exclude(id=evaluation.id)
    tags = reading.tags_of(evaluation=evaluation, by=by)
    return {
        "evaluation": evaluation,
        "criteria": verdicts.criteria(evaluation.suite),
        "error": kept(evaluation.error),
        "verdict": verdicts.verdict(evaluation.report),
        "wins": verdicts.wins(evaluation.report),
        "report": evaluation.report,
        "lines": verdicts.lines(evaluation.report),
        "attempts": verdicts.attempts(evaluation.report),
        "tags": verdicts.tag_lines(tags),
        "compared": list(verdicts.compared(evaluation, others.order_by("-created_at")[:PAGE])),
        "answers": evaluation_items.shown(evaluation, request.GET, by),
        "percent": round(100 * evaluation.done / total) if total else 0,
        "live": evaluation.state in LIVE_LEASES,
        "early": subjects.is_too_early(evaluation),
        "cancels": evaluation.state in LIVE_LEASES and not evaluation.cancel_requested_at,
        "kept": evaluation.state == LeaseState.CANCELLED and bool(evaluation.parts),
    }


@require_POST
@room(Scope.INFER)
def cancel(request: RoomRequest, evaluation_id: UUID) -> HttpResponse:
    lifecycle.cancel_evaluation(evaluation=_evaluation(evaluation_id), by=request.principal)
    return go(request, "evaluation", evaluation_id)


@require_POST
@room(Scope.INFER)
def delete(request: RoomRequest, evaluation_id: UUID) -> HttpResponse:
    try:
        lifecycle.delete_evaluation(evaluation=_evaluation(evaluation_id), by=request.principal)
    except Fault as error:
        messages.error(request, said(error))
        return go(request, "evaluation", evaluation_id)
    return go(request, "evaluations")


@room(Scope.FILES_READ, own_scope=True)
def download(request: RoomRequest, evaluation_id: UUID) -> HttpResponseBase:
    with tenant_scope(request.belonging.tenant_id):
        evaluation = _evaluation(evaluation_id)
        stream = reading.open_items(evaluation=evaluation, by=request.principal)
    return download_stream(
        stream,
        still=lambda: may_look(request, Scope.FILES_READ),
        filename=f"items-{evaluation.id.hex[:8]}.jsonl",
        content_type="application/jsonl",
    )


def _evaluation(evaluation_id: UUID) -> Evaluation:
    return get_object_or_404(selectors.evaluations(), id=evaluation_id)
