"""The forms of a model as its page shows them, and why there can be none."""

from typing import Any

from faults import Fault
from finetune import selectors
from finetune.models import Artifact
from finetune.services.forms import leaving
from finetune.states import LIVE_LEASES, LeaseState
from privatune.portal.refusals import kept, said
from tenants.access import Principal
from tenants.roles import Scope


def forms_of(artifact: Artifact, by: Principal) -> dict[str, Any] | None:
    """In the open scope. None for a model that has none, and for who may not take weights away."""
    writes = artifact.base.family == "causal_lm" and not artifact.scores
    if not writes or Scope.ARTIFACTS_READ not in by.scopes:
        return None
    rows = [
        {
            "row": each,
            "live": each.state in LIVE_LEASES,
            "made": each.state == LeaseState.SUCCEEDED,
            "error": kept(each.error),
            "percent": min(99, 100 * each.done // each.total) if each.total else 0,
        }
        for each in selectors.forms().filter(artifact=artifact)
    ]
    return {
        "rows": rows,
        "live": any(each["live"] for each in rows),
        "refused": _refusal(artifact),
        "asks": not any(each["live"] or each["made"] for each in rows),
        "deletes": Scope.MODELS_WRITE in by.scopes,
    }


def _refusal(artifact: Artifact) -> str | None:
    try:
        leaving.require_may_leave(artifact)
    except Fault as error:
        return said(error)
    return None
