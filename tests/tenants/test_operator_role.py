"""The operator's database role, asked by psycopg: what the database gives without the admin."""

import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.db import connection, transaction
from django.db.utils import ProgrammingError
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from tenants.database.grants import operator_columns, operator_models
from tenants.database.scope import tenant_scope
from tenants.models import Membership, Tenant, User
from tenants.roles import Role
from tenants.services.tenants import add_member, create_key, create_tenant
from tests.fixtures.database import connect_as


@pytest.fixture
def tenant(committed: None) -> Tenant:
    made = create_tenant(slug=f"t-{uuid.uuid4().hex[:8]}", name="Test", actor="test")
    user = User.objects.create_user(f"{uuid.uuid4().hex}@t.example", "x" * 16)
    add_member(tenant_id=made.id, user=user, role=Role.OWNER, actor="test")
    create_key(tenant_id=made.id, name="k", actor="test")
    return made


@pytest.fixture
def role(committed: None) -> Iterator["psycopg.Connection[Any]"]:
    with connect_as("operator") as opened:
        yield opened


def readable_columns() -> dict[str, set[str]]:
    return {model._meta.db_table: set(operator_columns(model)) for model in operator_models()}


def test_the_role_reads_exactly_the_columns_that_models_name(
    role: "psycopg.Connection[Any]",
) -> None:
    """Derived from the catalogue: every table and column there is, and no other right anywhere."""
    rows = role.execute(
        "SELECT c.relname, a.attname, has_column_privilege(c.oid, a.attnum, 'SELECT'),"
        "       has_column_privilege(c.oid, a.attnum, 'INSERT, UPDATE, REFERENCES')"
        "       OR has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')"
        " AND NOT a.attisdropped"
    ).fetchall()
    seen: dict[str, set[str]] = {}
    for table, column, reads, writes in rows:
        assert not writes, (table, column)
        if reads:
            seen.setdefault(table, set()).add(column)
    assert len(rows) > 150
    assert seen == readable_columns()
    assert role.execute(
        "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND proname LIKE 'privatune%' AND has_function_privilege(oid, 'EXECUTE')"
    ).fetchone() == (0,)


@pytest.mark.parametrize(
    "attempt",
    [
        "UPDATE tenants_user SET email = 'me@operator.example'",
        "UPDATE tenants_user SET password = ''",
        "UPDATE tenants_user SET is_superuser = true",
        "INSERT INTO tenants_membership (id, tenant_id, created_at, user_id, role)"
        " SELECT gen_random_uuid(), id, now(), id, 'owner' FROM tenants_tenant",
        "UPDATE tenants_membership SET role = 'owner'",
        "UPDATE account_emailaddress SET email = 'me@operator.example'",
        "DELETE FROM mfa_authenticator",
        "DELETE FROM tenants_tenant",
        "UPDATE tenants_tenant SET wrapped_key = NULL",
        "UPDATE tenants_license SET rights = '{export}'",
        "SELECT wrapped_key FROM tenants_tenant",
        "SELECT password FROM tenants_user",
        "SELECT id FROM tenants_user WHERE password LIKE 'scrypt%'",
        "SELECT digest FROM tenants_apikey",
        "SELECT session_data FROM django_session",
        "SELECT data FROM mfa_authenticator",
        "SELECT key FROM account_emailconfirmation",
        "SELECT * FROM privatune_key('abc')",
        "CREATE TABLE mine (a int)",
        "SET ROLE privatune_app",
        "SET ROLE privatune_owner",
    ],
)
def test_what_would_lead_to_a_customer_is_refused_by_the_database(
    role: "psycopg.Connection[Any]", tenant: Tenant, attempt: str
) -> None:
    role.execute("SELECT set_config('privatune.tenant', %s, false)", [str(tenant.id)])
    with pytest.raises(InsufficientPrivilege):
        role.execute(attempt)


def test_no_table_of_a_tenants_content_can_be_read_with_the_tenant_set(
    role: "psycopg.Connection[Any]", tenant: Tenant
) -> None:
    role.execute("SELECT set_config('privatune.tenant', %s, false)", [str(tenant.id)])
    closed = [
        model._meta.db_table
        for model in apps.get_models()
        if any(field.column == "tenant_id" for field in model._meta.local_fields)
        and model not in operator_models()
    ]
    assert {"tenants_storedfile", "tenants_auditentry", "finetune_artifact"} <= set(closed)
    for table in closed:
        with pytest.raises(InsufficientPrivilege):
            role.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))


@pytest.mark.parametrize(
    "attempt",
    [
        "DELETE FROM tenants_tenant",
        "UPDATE tenants_tenant SET slug = 'other'",
        "DELETE FROM tenants_license",
        "UPDATE tenants_auditentry SET actor = 'x'",
        "DELETE FROM tenants_auditentry",
        "DELETE FROM django_admin_log",
        "UPDATE django_admin_log SET object_repr = ''",
        "INSERT INTO auth_group (name) VALUES ('g')",
        "INSERT INTO tenants_user_groups (user_id, group_id) VALUES (gen_random_uuid(), 1)",
        "TRUNCATE tenants_auditentry",
        "ALTER TABLE tenants_tenant DISABLE ROW LEVEL SECURITY",
        "DROP POLICY tenant_isolation ON tenants_tenant",
    ],
)
def test_the_apps_role_changes_no_evidence(tenant: Tenant, attempt: str) -> None:
    with (
        tenant_scope(tenant.id),
        pytest.raises(ProgrammingError, match=r"permission denied|must be owner"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(attempt)
    with tenant_scope(tenant.id):
        assert Membership.objects.count() == 1
