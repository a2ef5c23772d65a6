"""Hard negatives for a file of pairs: asked for and stopped."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_POST

from faults import Fault
from finetune import selectors
from finetune.api.json_bodies import fit
from finetune.api.own.minings import MiningWish
from finetune.models import Mining
from finetune.services.mining import asking
from privatune.portal.access import RoomRequest, go, room
from privatune.portal.refusals import said
from tenants.roles import Scope

NUMBERS = (
    *("num_negatives", "relative_margin", "absolute_margin", "max_score", "min_score"),
    *("range_min", "range_max"),
)
NEEDED = ("num_negatives", "range_min")  # empty: as many as usual; of the others, no such bound


@require_POST
@room(Scope.FILES_WRITE)
def mine(request: RoomRequest, file_id: UUID) -> HttpResponse:
    file = get_object_or_404(selectors.files(), id=file_id)
    given = {name: request.POST[name].strip() for name in NUMBERS if name in request.POST}
    numbers = {name: text or None for name, text in given.items() if text or name not in NEEDED}
    try:
        wish = fit(
            MiningWish,
            numbers
            | {
                "file": file.public_id,
                "model": request.POST.get("model", ""),
                "corpus": request.POST.get("corpus") or None,
            },
        )
        corpus = wish.corpus and selectors.find(selectors.files(), wish.corpus, param="corpus")
        asking.request_mining(
            file=file,
            corpus=corpus or None,
            model=wish.model,
            options=wish.options,
            by=request.principal,
        )
    except Fault as error:
        messages.error(request, said(error))
    return go(request, "file", file.id)


@require_POST
@room(Scope.FILES_WRITE)
def cancel(request: RoomRequest, file_id: UUID, mining_id: UUID) -> HttpResponse:
    minings = Mining.objects.select_related("file")
    mining: Mining = get_object_or_404(minings, id=mining_id, file_id=file_id)
    asking.cancel_mining(mining=mining, by=request.principal)
    return go(request, "file", file_id)
