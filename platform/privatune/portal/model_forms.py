"""The forms of a model as its page shows them, and why there can be none."""

from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from faults import Fault
from finetune import selectors
from finetune.models import Artifact
from finetune.packaging import forms as names
from finetune.services.forms import leaving
from finetune.states import LIVE_LEASES, LeaseState
from privatune.portal.refusals import kept, said
from tenants.access import Principal
from tenants.roles import Scope

WORDS: dict[str, Promise] = {
    "merged": _("merged: a transformers model"),
    "gguf-f16": _("GGUF in 16 bits, for llama.cpp and Ollama"),
    "gguf-q8_0": _("GGUF in 8 bits (Q8_0)"),
    "gguf-q4_k_m": _("GGUF in 4 bits (Q4_K_M)"),
}


def forms_of(artifact: Artifact, by: Principal) -> dict[str, Any] | None:
    """In the open scope. None for a model that has none, and for who may not take weights away."""
    writes = artifact.base.family == "causal_lm" and not artifact.scores
    if not writes or Scope.ARTIFACTS_READ not in by.scopes:
        return None
    rows: list[dict[str, Any]] = [
        {
            "row": each,
            "words": WORDS[each.form],
            "evaluation": (each.info or {}).get("evaluation"),
            "live": each.state in LIVE_LEASES,
            "made": each.state == LeaseState.SUCCEEDED,
            "error": kept(each.error),
            "percent": min(99, 100 * each.done // each.total) if each.total else 0,
        }
        for each in selectors.forms().filter(artifact=artifact)
    ]
    there = {each["row"].form for each in rows if each["live"] or each["made"]}
    return {
        "rows": rows,
        "live": any(each["live"] for each in rows),
        "refused": _refusal(artifact),
        "asks": [
            (form, WORDS[form])
            for form in names.forms_of(artifact.base.architecture)
            if form not in there
        ],
        "deletes": Scope.MODELS_WRITE in by.scopes,
    }


def _refusal(artifact: Artifact) -> str | None:
    try:
        leaving.require_may_leave(artifact)
    except Fault as error:
        return said(error)
    return None
