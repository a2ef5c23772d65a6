"""What each database role may do, applied after every migration.

app       reads and writes through row-level security; the audit trail only grows
operator  reads and writes the few tables of licences and health; no customer content, by grant
"""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.utils import CursorWrapper
from psycopg import sql

APPEND_ONLY = (
    "tenants_auditentry",
    "tenants_audithead",
    "tenants_keyprint",
    "tenants_usageentry",
    "finetune_event",
)

# Tables without tenant_id that the operator's admin needs to sign in and keep its log.
OPERATOR_PLAIN_TABLES = (
    "tenants_user",
    "tenants_user_groups",
    "tenants_user_user_permissions",
    "auth_group",
    "auth_group_permissions",
    "auth_permission",
    "django_content_type",
    "django_admin_log",
    "finetune_catalogmodel",
)


def operator_tables() -> list[str]:
    """Tenant tables an operator may see: those whose model says `operator_access`."""
    return [m._meta.db_table for m in apps.get_models() if getattr(m, "operator_access", False)]


def grant_after_migrate(*, using: str, app_config: Any, **kwargs: Any) -> None:
    last = list(apps.get_app_configs())[-1]
    if using == "owner" and app_config.label == last.label:
        apply_grants()


def apply_grants() -> None:
    """Idempotent; needs the owner connection."""
    app = connections[DEFAULT_DB_ALIAS].settings_dict["USER"]
    operator = settings.OPERATOR_ROLE
    with connections["owner"].cursor() as cursor:
        _grant_app(cursor, app)
        for table in operator_tables():
            _grant_operator(cursor, operator, table, policy=True)
        for table in OPERATOR_PLAIN_TABLES:
            _grant_operator(cursor, operator, table, policy=False)
        _run(cursor, "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}", role=operator)


def _grant_app(cursor: CursorWrapper, app: str) -> None:
    _run(cursor, "GRANT USAGE ON SCHEMA public TO {role}", role=app)
    _run(
        cursor,
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
        role=app,
    )
    _run(cursor, "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}", role=app)
    for table in APPEND_ONLY:
        _run(cursor, "REVOKE UPDATE, DELETE ON {table} FROM {role}", role=app, table=table)
    cursor.execute(
        "SELECT oid::regprocedure::text FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace AND proname LIKE 'privatune\\_%%'"
    )
    for (signature,) in cursor.fetchall():
        for statement in (
            "REVOKE ALL ON FUNCTION {} FROM PUBLIC",
            "GRANT EXECUTE ON FUNCTION {} TO {role}",
        ):
            cursor.execute(
                sql.SQL(statement).format(sql.SQL(signature), role=sql.Identifier(app)).as_string()
            )


def _grant_operator(cursor: CursorWrapper, role: str, table: str, *, policy: bool) -> None:
    _run(cursor, "GRANT USAGE ON SCHEMA public TO {role}", role=role)
    rights = "SELECT, INSERT" if table in APPEND_ONLY else "SELECT, INSERT, UPDATE, DELETE"
    _run(cursor, f"GRANT {rights} ON {{table}} TO {{role}}", role=role, table=table)
    if policy:
        _run(cursor, "DROP POLICY IF EXISTS operator_access ON {table}", role=role, table=table)
        _run(
            cursor,
            "CREATE POLICY operator_access ON {table} TO {role} USING (true) WITH CHECK (true)",
            role=role,
            table=table,
        )


def _run(cursor: CursorWrapper, statement: str, *, role: str, table: str = "") -> None:
    names = {"role": sql.Identifier(role), "table": sql.Identifier(table)}
    cursor.execute(sql.SQL(statement).format(**names).as_string())
