"""Roles of people and scopes of keys: what each may do. Pure."""

from enum import StrEnum


class Scope(StrEnum):
    FILES_READ = "files:read"
    FILES_WRITE = "files:write"
    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    MODELS_READ = "models:read"
    MODELS_WRITE = "models:write"  # delete a fine-tuned model
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
