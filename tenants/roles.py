"""The one table of rights: roles of people, scopes of keys, and who may give what. Pure.

docs/reference/rights.md shows it (`python scripts/rights_table.py`); the services enforce it.
"""

from collections.abc import Iterable
from enum import StrEnum


class Scope(StrEnum):
    FILES_READ = "files:read"
    FILES_WRITE = "files:write"
    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    MODELS_READ = "models:read"
    MODELS_WRITE = "models:write"  # delete a fine-tuned model, or release a withheld one
    INFER = "infer"
    ARTIFACTS_READ = "artifacts:read"  # take the weights away
    TENANT_READ = "tenant:read"  # licences, usage, members, audit
    TENANT_WRITE = "tenant:write"  # members and keys


ALL_SCOPES = frozenset(Scope)
READ_SCOPES = frozenset({Scope.FILES_READ, Scope.JOBS_READ, Scope.MODELS_READ, Scope.TENANT_READ})


class Role(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    ENGINEER = "engineer"
    VIEWER = "viewer"


ROLE_SCOPES: dict[Role, frozenset[Scope]] = {
    Role.OWNER: ALL_SCOPES,
    Role.ADMIN: ALL_SCOPES,
    Role.ENGINEER: ALL_SCOPES - {Scope.TENANT_WRITE},
    Role.VIEWER: READ_SCOPES,
}

# The roles that each may give, and the members that each may change or remove: only owners touch
# owners, and who has no `tenant:write` touches nobody.
GIVES: dict[Role, frozenset[Role]] = {
    Role.OWNER: frozenset(Role),
    Role.ADMIN: frozenset({Role.ADMIN, Role.ENGINEER, Role.VIEWER}),
    Role.ENGINEER: frozenset(),
    Role.VIEWER: frozenset(),
}

# A service key belongs to nobody and acts as this role: no program without a person behind it
# touches an owner. Only an owner makes one.
SERVICE_ROLE = Role.ADMIN
SERVICE_KEY_MAKERS = frozenset({Role.OWNER})


def may_touch(actor: Role, scopes: Iterable[str], member: Role) -> bool:
    """Whether somebody of role `actor` with `scopes` may change or remove a member."""
    return Scope.TENANT_WRITE in scopes and member in GIVES[actor]


def may_give(actor: Role, scopes: Iterable[str], given: Role) -> bool:
    """Whether they may give the role: it must be theirs to give, and hold no scope they lack."""
    own = frozenset(scopes)
    return may_touch(actor, own, given) and ROLE_SCOPES[given] <= own


def effective(scopes: Iterable[str], role: Role) -> frozenset[str]:
    """What a key may do now: its own scopes, as far as its member's present role has them."""
    return frozenset(scopes) & ROLE_SCOPES[role]
