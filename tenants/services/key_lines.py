"""The line of keys that a key made: they end with it, and what hangs on each of them does, too."""

from django.utils import timezone

from tenants.models import ApiKey, Invitation
from tenants.services.audit import record
from tenants.services.invitations import withdraw

MOST_GENERATIONS = 10  # each use of a key asks its whole line


def made_by(key: ApiKey) -> list[ApiKey]:
    """Every key that it made, and that those made, oldest generation first. In the open scope."""
    found: list[ApiKey] = []
    generation = [key]
    while generation:
        generation = list(ApiKey.objects.filter(made_with__in=generation).order_by("created_at"))
        found += generation
    return found


def end_key(*, key: ApiKey, actor: str) -> list[ApiKey]:
    """Revokes it and the keys of its line, and the open invitations made with any of them, asking
    nobody. The keys of its line that lived until now."""
    if not _end(key, actor, {}):
        return []
    return [each for each in made_by(key) if _end(each, actor, {"made_with": key.prefix})]


def _end(key: ApiKey, actor: str, why: dict[str, str]) -> bool:
    """Whether it was this call that ended it."""
    now = timezone.now()
    if not ApiKey.objects.filter(id=key.id, revoked_at=None).update(revoked_at=now):
        return False
    key.revoked_at = now
    record(actor=actor, action="key.revoke", target=key.prefix, data={"name": key.name} | why)
    withdraw(invitations=Invitation.objects.filter(invited_with=key), actor=actor)
    return True
