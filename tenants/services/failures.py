"""Tells organisations, in their logs, of failed attempts at their members' accounts: one entry for
each account and clock hour with how many there were and from which networks, so that whoever
guesses, from however many machines, cannot flood a log."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from tenants.access import belongings_of
from tenants.actor import Actor
from tenants.database.locks import lock
from tenants.database.scope import tenant_scope
from tenants.models import ProofAttempt, User
from tenants.services.audit import note, record

PASSWORD_STEP, CODE_STEP, PASSKEY_STEP = "password", "code", "passkey"
ACTIONS = {
    PASSWORD_STEP: "sign_in.failed",
    CODE_STEP: "sign_in.code_failed",
    PASSKEY_STEP: "sign_in.passkey_failed",
}
ACTOR = Actor.system("sign-in")
NETWORKS_NAMED = 10


def tell_due() -> None:
    """For the sweep. What comes after this hour's entry waits for the next hour's."""
    waiting = ProofAttempt.objects.filter(untold=True, user_id__isnull=False)
    for user_id, step in waiting.values_list("user_id", "step").distinct():
        assert user_id is not None
        with transaction.atomic():
            _tell(user_id, waiting.filter(user_id=user_id, step=step), note)


def tell_all(failed: QuerySet[ProofAttempt]) -> None:
    """Those of one account and step, now, whether the hour has an entry or not. In an open
    transaction."""
    first = failed.filter(user_id__isnull=False).first()
    if first is not None and first.user_id is not None:
        _tell(first.user_id, failed, _record)


def _tell(user_id: UUID, failed: QuerySet[ProofAttempt], write: Callable[..., bool]) -> None:
    lock(f"failures:{user_id}")  # one teller at a time for each account: nothing is told twice
    attempts = list(failed.order_by("at"))
    user = User.objects.filter(pk=user_id).first()
    belongings = belongings_of(user_id) if user is not None and attempts else []
    written = []
    for belonging in belongings:
        assert user is not None
        with tenant_scope(belonging.tenant_id):
            written.append(
                write(
                    actor=ACTOR,
                    action=ACTIONS[attempts[0].step],
                    target=user.email,
                    data=_figures(attempts),
                )
            )
    if any(written) or not belongings:
        told = ProofAttempt.objects.filter(id__in=[each.id for each in attempts])
        told.update(untold=False)


def _record(**entry: Any) -> bool:
    record(**entry)
    return True


def _figures(attempts: list[ProofAttempt]) -> dict[str, Any]:
    networks = sorted({each.network for each in attempts})
    return {
        "attempts": len(attempts),
        "networks": networks[:NETWORKS_NAMED],
        "more_networks": len(networks[NETWORKS_NAMED:]),
        "first": attempts[0].at.isoformat(timespec="seconds"),
        "last": attempts[-1].at.isoformat(timespec="seconds"),
    }
