"""Limits how often a password or code may be tried: exactly, over all processes, in the database.

Counted per account and place, so that whoever knows an address cannot lock its owner out from
elsewhere; per account over all unknown places, against many machines that guess together; and per
network, generously, against one machine that tries many accounts. A browser in which the owner has
signed in before is a place of its own and is held up by neither of the last two.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.crypto import salted_hmac

from faults import UserFault
from tenants.database.locks import lock
from tenants.models import ProofAttempt
from tenants.services.failures import tell_all


class TooManyAttempts(UserFault):
    status = 429

    def __init__(self, minutes: int) -> None:
        super().__init__(
            "too_many_attempts",
            "Too many failed attempts.",
            fix=f"Try again in {minutes} min, or from a browser you have used before.",
        )
        self.minutes = minutes


@dataclass(frozen=True)
class Limit:
    count: int
    window: timedelta


@dataclass(frozen=True)
class Limits:
    """`place`: one account from one place; `subject`: one account from all unknown places."""

    place: Limit
    subject: Limit


NETWORK = Limit(300, timedelta(minutes=10))
# 600 guesses an hour at most, however many machines: a password has 12 characters or more.
PASSWORD = Limits(Limit(10, timedelta(hours=1)), Limit(100, timedelta(minutes=10)))
# Six digits, three of them valid at a time: less than one chance in 10,000 an hour.
CODE = Limits(Limit(10, timedelta(hours=1)), Limit(30, timedelta(hours=1)))
# A code is valid for 90 seconds: the step it is for, and the ones before and after.
ONCE = Limits(Limit(1, timedelta(minutes=2)), Limit(1, timedelta(minutes=2)))
LONGEST = timedelta(hours=1)


@dataclass(frozen=True)
class Place:
    """Where an attempt comes from; `device` is a browser known to belong to the account."""

    network: str
    device: str = ""


def subject_of(text: str) -> str:
    """The digest by which an account is counted, whether there is one or not."""
    return salted_hmac("tenants.proofs", text.strip().lower(), algorithm="sha256").hexdigest()


def begin(
    *, subject: str, place: Place, limits: Limits, account: UUID | None = None, step: str = ""
) -> ProofAttempt:
    """Counts an attempt before the secret is looked at, so that attempts side by side are all
    counted. `account` is the user whose it would open, `step` what is given (failures.py). Raises
    TooManyAttempts; a refused attempt is not counted and holds nobody up longer.
    """
    now = timezone.now()
    with transaction.atomic():
        lock(subject)
        _refuse_too_many(subject, place, limits, now)
        return ProofAttempt.objects.create(
            user_id=account,
            step=step,
            subject=subject,
            network=place.network,
            device=place.device,
            at=now,
        )


def failed(*, attempt: ProofAttempt) -> None:
    """Has it told to the organisations of its account, later and elsewhere: the same is done for
    an account that does not exist, or the time that it takes would say which do."""
    ProofAttempt.objects.filter(id=attempt.id).update(untold=True)


def succeeded(*, attempt: ProofAttempt) -> None:
    """Forgets this place's failures of this account, and of no other; those that nobody was told
    of are told first, or a guess that succeeds would wipe out those before it."""
    with transaction.atomic():
        place = _of_place(attempt.subject, Place(attempt.network, attempt.device))
        tell_all(place.filter(untold=True))
        place.delete()


def forget_old() -> int:
    """Deletes what no limit looks at any more and everybody was told of; for the sweep."""
    old = ProofAttempt.objects.filter(at__lt=timezone.now() - LONGEST)
    return old.exclude(untold=True, user_id__isnull=False).delete()[0]


def _refuse_too_many(subject: str, place: Place, limits: Limits, now: datetime) -> None:
    counted = [(_of_place(subject, place), limits.place)]
    if not place.device:
        strangers = ProofAttempt.objects.filter(device="")
        counted += [
            (strangers.filter(subject=subject), limits.subject),
            (strangers.filter(network=place.network), NETWORK),
        ]
    for attempts, limit in counted:
        recent = attempts.filter(at__gt=now - limit.window).order_by("-at")
        # Free again when the oldest of the newest `count` has left the window.
        oldest = recent.values_list("at", flat=True)[limit.count - 1 : limit.count].first()
        if oldest is not None:
            raise TooManyAttempts(int((oldest + limit.window - now).total_seconds() // 60) + 1)


def _of_place(subject: str, place: Place) -> QuerySet[ProofAttempt]:
    found = ProofAttempt.objects.filter(subject=subject, device=place.device)
    return found if place.device else found.filter(network=place.network)
