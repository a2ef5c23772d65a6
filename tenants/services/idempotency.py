"""Answers a repeated request with what the first one made, and makes nothing twice.

Two kinds of repetition. `Idempotency-Key`, when sent, rules: same key and body, same answer; same
key and another body is refused. The openai SDK sends none, but numbers its retries: a retry gets
what the latest equal attempt of the same caller made within ten minutes, and a request that is no
retry is a new wish, even when equal.
"""

import hashlib
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from tenants.database.locks import lock
from tenants.database.scope import current_tenant_id
from tenants.errors import Invalid
from tenants.models import IdempotencyRecord
from tenants.services.vaults import open_vault

RETRY_WINDOW = timedelta(minutes=10)
KEPT = timedelta(hours=24)


class KeyReused(Invalid):
    status = 422


@dataclass(frozen=True)
class Attempt:
    """One request of a caller. `caller` tells API keys apart, `route` is method and path."""

    caller: str
    route: str
    body_sha256: str
    key: str | None = None
    is_retry: bool = False


@dataclass(frozen=True)
class Answer:
    body: Any
    replayed: bool


def once(*, attempt: Attempt, make: Callable[[], Any]) -> Answer:
    """`make()` or its first answer. Runs in the open scope's transaction: the answer is recorded
    together with what it tells of, or neither is. Errors are not recorded, so they can be retried.

    Raises KeyReused (422) when the key came with another body before.
    """
    forget_old()
    if attempt.key is not None:
        return _by_key(attempt, make)
    # A retry may overtake the attempt that it repeats; it waits here until that one has committed.
    wish = f"{attempt.caller} {attempt.route} {attempt.body_sha256}"
    lock(f"once:{current_tenant_id()}:{wish}")
    if attempt.is_retry and (first := _latest(attempt)) is not None:
        return Answer(_answer_of(first), replayed=True)
    body = make()
    _keep(attempt, f"{_mark(attempt)}{uuid.uuid4().hex}", body)
    return Answer(body, replayed=False)


def _by_key(attempt: Attempt, make: Callable[[], Any]) -> Answer:
    digest = hashlib.sha256((attempt.key or "").encode()).hexdigest()
    name = f"key:{attempt.caller}:{digest}"
    try:
        with transaction.atomic():
            # Waits for a concurrent request with the same key, and fails if that one committed.
            record = IdempotencyRecord.objects.create(
                key=name, route=attempt.route, body_sha256=attempt.body_sha256
            )
    except IntegrityError:
        first = IdempotencyRecord.objects.get(key=name, route=attempt.route)
        if first.body_sha256 != attempt.body_sha256:
            raise KeyReused(
                "idempotency_key_reused",
                "This Idempotency-Key came with another body before.",
                fix="Use a new key for a new request.",
            ) from None
        return Answer(_answer_of(first), replayed=True)
    body = make()
    record.sealed, record.status = _sealed(body, attempt.route), 200
    record.save(update_fields=["sealed", "status"])
    return Answer(body, replayed=False)


def _mark(attempt: Attempt) -> str:
    return f"sdk:{attempt.caller}:"


def _latest(attempt: Attempt) -> IdempotencyRecord | None:
    return (
        IdempotencyRecord.objects.filter(
            route=attempt.route,
            key__startswith=_mark(attempt),
            body_sha256=attempt.body_sha256,
            created_at__gte=timezone.now() - RETRY_WINDOW,
        )
        .order_by("-created_at")
        .first()
    )


def _keep(attempt: Attempt, key: str, body: Any) -> None:
    IdempotencyRecord.objects.create(
        key=key,
        route=attempt.route,
        body_sha256=attempt.body_sha256,
        status=200,
        sealed=_sealed(body, attempt.route),
    )


def _sealed(body: Any, route: str) -> bytes:
    """An answer names files, suffixes, addresses: it outlives their deletion only as noise."""
    return open_vault().seal(json.dumps(body, ensure_ascii=False).encode(), f"answer {route}")


def _answer_of(first: IdempotencyRecord) -> Any:
    return json.loads(open_vault().unseal(bytes(first.sealed or b""), f"answer {first.route}"))


def forget_old() -> None:
    """Deletes the open scope's answers that nobody may ask for again."""
    IdempotencyRecord.objects.filter(created_at__lt=timezone.now() - KEPT).delete()
