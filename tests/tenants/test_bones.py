"""Tenants, keys, licences and the audit chain, on a real PostgreSQL through the app's own role."""

import uuid
from datetime import timedelta

import pytest
from django.db import connection, connections, transaction
from django.db.utils import ProgrammingError
from django.utils import timezone
from django_scopes.exceptions import ScopeError

from tenants.access import authenticate_key
from tenants.database.scope import ScopeClash, tenant_scope
from tenants.errors import Conflict, NotAuthenticated, Refused
from tenants.models import AuditEntry, License, LicenseState, Tenant
from tenants.rights import Right
from tenants.services.audit import first_broken_link
from tenants.services.licences import change_license, charge, issue_license, require_license
from tenants.services.tenants import create_key, create_tenant, revoke_key
from tenants.services.vaults import open_vault

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenant() -> Tenant:
    return create_tenant(slug=f"t-{uuid.uuid4().hex[:8]}", name="Test", actor="test")


def test_a_manager_refuses_to_query_without_a_scope(tenant: Tenant) -> None:
    with pytest.raises(ScopeError):
        License.objects.count()


def test_raw_sql_without_a_scope_sees_nothing_and_with_another_scope_sees_nothing(
    tenant: Tenant,
) -> None:
    issue_license(tenant_id=tenant.id, model="m", actor="test")

    def count() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM tenants_license")
            return int(cursor.fetchone()[0])

    with tenant_scope(tenant.id):
        assert count() == 1
    with tenant_scope(uuid.uuid4()):
        assert count() == 0


def test_a_row_cannot_be_written_into_another_tenant(tenant: Tenant) -> None:
    with (
        pytest.raises(ProgrammingError, match="row-level security"),
        tenant_scope(uuid.uuid4()),
        transaction.atomic(),
    ):
        License.objects.create(tenant_id=tenant.id, model="m")


def test_a_scope_of_a_second_tenant_cannot_open_inside_the_first(tenant: Tenant) -> None:
    with tenant_scope(tenant.id), pytest.raises(ScopeClash), tenant_scope(uuid.uuid4()):
        pass


def test_the_app_role_owns_nothing_and_cannot_bypass_row_level_security() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles"
            " WHERE rolname = current_user"
        )
        assert cursor.fetchone() == (False, False, False, False)
        cursor.execute(
            "SELECT count(*) FROM pg_class WHERE pg_get_userbyid(relowner) = current_user"
        )
        assert cursor.fetchone()[0] == 0


def test_the_audit_trail_can_only_grow_and_a_forged_link_shows(tenant: Tenant) -> None:
    with tenant_scope(tenant.id):
        assert AuditEntry.objects.count() == 1
        assert first_broken_link() is None
        with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
            AuditEntry.objects.update(actor="somebody else")
        AuditEntry.objects.create(
            seq=2, actor="x", action="forged", at="now", previous="0" * 64, digest="0" * 64
        )
        assert first_broken_link() == 2


def test_a_key_opens_its_tenant_until_it_is_revoked_or_expires(tenant: Tenant) -> None:
    key, secret = create_key(tenant_id=tenant.id, name="ci", actor="test")
    assert authenticate_key(secret).tenant_id == tenant.id
    for wrong in ("", "sk-abc", secret[:-1] + "!", secret.replace(key.prefix, "0" * 12)):
        with pytest.raises(NotAuthenticated):
            authenticate_key(wrong)
    revoke_key(tenant_id=tenant.id, key_id=key.id, actor="test")
    with pytest.raises(NotAuthenticated):
        authenticate_key(secret)
    _, old = create_key(
        tenant_id=tenant.id, name="old", actor="test", expires_at=timezone.now() - timedelta(1)
    )
    with pytest.raises(NotAuthenticated):
        authenticate_key(old)


def test_a_licence_is_refused_with_its_state(tenant: Tenant) -> None:
    licence = issue_license(
        tenant_id=tenant.id,
        model="m",
        actor="test",
        rights=frozenset({Right.TRAIN}),
        token_budget=100,
    )
    with tenant_scope(tenant.id):
        assert require_license(model="m", right=Right.TRAIN, tokens=100) == licence
        for right, tokens, says in (
            (Right.EXPORT, 0, "does not include the right to export"),
            (Right.TRAIN, 101, "has 100 left"),
        ):
            with pytest.raises(Refused, match=says):
                require_license(model="m", right=right, tokens=tokens)
        charge(licence=licence, kind="train", tokens=60, reference="job-1")
        charge(licence=licence, kind="train", tokens=60, reference="job-1")
        with pytest.raises(Refused, match="has 40 left"):
            require_license(model="m", right=Right.TRAIN, tokens=41)
        with pytest.raises(Refused, match="hold no licence"):
            require_license(model="other", right=Right.TRAIN)
    with pytest.raises(Conflict):
        issue_license(tenant_id=tenant.id, model="m", actor="test")
    change_license(
        tenant_id=tenant.id, license_id=licence.id, actor="t", state=LicenseState.SUSPENDED
    )
    with tenant_scope(tenant.id), pytest.raises(Refused, match="is suspended"):
        require_license(model="m", right=Right.TRAIN)


def test_each_tenant_has_its_own_vault(tenant: Tenant) -> None:
    other = create_tenant(slug=f"t-{uuid.uuid4().hex[:8]}", name="Other", actor="test")
    with tenant_scope(tenant.id):
        vault = open_vault()
    vault.put_bytes("objects/a", b"secret")
    assert vault.read_bytes("objects/a") == b"secret"
    with tenant_scope(other.id):
        assert list(open_vault().list()) == []


def test_every_table_with_a_tenant_has_all_four_protections() -> None:
    """Generated from pg_catalog: a new table fails here until it is covered."""
    with connection.cursor() as cursor:
        cursor.execute(PROTECTIONS)
        rows = cursor.fetchall()
    assert len(rows) >= 15
    lacking = {row[0]: row[1:] for row in rows if not all(row[1:])}
    assert not lacking, f"(enabled, forced, policy with check, composite keys): {lacking}"
    assert {c.alias for c in connections.all()} >= {"default"}


PROTECTIONS = """
SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity,
  EXISTS (SELECT 1 FROM pg_policies p WHERE p.tablename = c.relname AND p.roles = '{public}'
          AND p.qual LIKE '%privatune.tenant%' AND p.with_check LIKE '%privatune.tenant%')
  AND NOT EXISTS (SELECT 1 FROM pg_policies p WHERE p.tablename = c.relname
          AND p.policyname NOT IN ('tenant_isolation', 'owner_access', 'operator_access',
                                   'operator_consent')),
  EXISTS (SELECT 1 FROM pg_constraint u WHERE u.conrelid = c.oid AND u.contype = 'u'
          AND (SELECT array_agg(attname::text ORDER BY attname) FROM pg_attribute
               WHERE attrelid = c.oid AND attnum = ANY (u.conkey)) = '{id,tenant_id}')
  AND NOT EXISTS (  -- a foreign key to a tenant table that does not compare the tenant
      SELECT 1 FROM pg_constraint f
      WHERE f.conrelid = c.oid AND f.contype = 'f' AND cardinality(f.conkey) = 1
        AND EXISTS (SELECT 1 FROM pg_attribute a
                    WHERE a.attrelid = f.confrelid AND a.attname = 'tenant_id'))
FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname = 'tenant_id'
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace ORDER BY 1
"""
