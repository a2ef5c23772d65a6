"""What each database role may do, applied after every migration.

app       reads and writes through row-level security; trails only grow, evidence is not deleted
operator  reads the columns that a model's `operator_reads` names, and writes nothing: what the
          operator does goes through the services, which write as the app and leave an entry
"""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, models, transaction
from django.db.backends.utils import CursorWrapper
from psycopg import sql

APPEND_ONLY = (
    "tenants_auditentry",
    "tenants_audithead",
    "tenants_keyprint",
    "tenants_usageentry",
    "finetune_event",
    "django_admin_log",
)
# Evidence of what a customer was allowed and what there was to have.
NEVER_DELETED = ("tenants_tenant", "tenants_license", "finetune_catalogmodel")
# Written by migrations only.
READ_ONLY = (
    "django_migrations",
    "django_content_type",
    "auth_permission",
    "auth_group",
    "auth_group_permissions",
    "tenants_user_groups",
    "tenants_user_user_permissions",
)
# What a row is called stays, or an old audit entry would speak of another.
FIXED_COLUMNS = {"tenants_tenant": ("id", "slug", "created_at")}


def operator_models() -> list[type[models.Model]]:
    """The models of which an operator may read columns: those with `operator_reads`."""
    return [model for model in apps.get_models() if getattr(model, "operator_reads", ())]


def operator_columns(model: Any) -> list[str]:
    return [str(model._meta.get_field(name).column) for name in model.operator_reads]


def grant_after_migrate(*, using: str, app_config: Any, **kwargs: Any) -> None:
    last = list(apps.get_app_configs())[-1]
    if using == "owner" and app_config.label == last.label:
        apply_grants()


def apply_grants() -> None:
    """Idempotent; needs the owner connection. Rights are replaced in one transaction, so that a
    running server meets no gap; each policy is, too."""
    app = connections[DEFAULT_DB_ALIAS].settings_dict["USER"]
    operator = settings.OPERATOR_ROLE
    with connections["owner"].cursor() as cursor:
        with transaction.atomic(using="owner"):
            _grant_app(cursor, app)
            _grant_operator(cursor, operator)
        for model in operator_models():
            if _has_policies(cursor, model._meta.db_table):
                with transaction.atomic(using="owner"):
                    _admit_operator(cursor, operator, model._meta.db_table)
                    if getattr(model, "operator_needs_consent", False):
                        _ask_for_consent(cursor, operator, model._meta.db_table)


def _grant_app(cursor: CursorWrapper, app: str) -> None:
    _run(cursor, "GRANT USAGE ON SCHEMA public TO {role}", role=app)
    _run(cursor, "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}", role=app)
    _run(
        cursor,
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
        role=app,
    )
    _run(cursor, "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}", role=app)
    for tables, rights in (
        (APPEND_ONLY, "UPDATE, DELETE"),
        (NEVER_DELETED, "DELETE"),
        (READ_ONLY, "INSERT, UPDATE, DELETE"),
        (FIXED_COLUMNS, "UPDATE"),
    ):
        for table in tables:
            _run(cursor, f"REVOKE {rights} ON {{table}} FROM {{role}}", role=app, table=table)
    for table, fixed in FIXED_COLUMNS.items():
        changing = [name for name in _columns(cursor, table) if name not in fixed]
        _grant_columns(cursor, "UPDATE", table, changing, app)
    _grant_functions(cursor, app)


def _grant_functions(cursor: CursorWrapper, app: str) -> None:
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


def _grant_operator(cursor: CursorWrapper, role: str) -> None:
    _run(cursor, "GRANT USAGE ON SCHEMA public TO {role}", role=role)
    for kind in ("TABLES", "SEQUENCES", "FUNCTIONS"):  # also what an older version gave
        _run(cursor, f"REVOKE ALL ON ALL {kind} IN SCHEMA public FROM {{role}}", role=role)
    for model in operator_models():
        _grant_columns(cursor, "SELECT", model._meta.db_table, operator_columns(model), role)


def _admit_operator(cursor: CursorWrapper, role: str, table: str) -> None:
    """Rows of every tenant, in the columns granted."""
    _run(cursor, "DROP POLICY IF EXISTS operator_access ON {table}", role=role, table=table)
    _run(
        cursor,
        "CREATE POLICY operator_access ON {table} FOR SELECT TO {role} USING (true)",
        role=role,
        table=table,
    )


def _ask_for_consent(cursor: CursorWrapper, role: str, table: str) -> None:
    """Restrictive, since policies that permit are added up: setting `privatune.tenant` would open
    the tenant's own policy to this role, too."""
    _run(cursor, "DROP POLICY IF EXISTS operator_consent ON {table}", role=role, table=table)
    _run(
        cursor,
        "CREATE POLICY operator_consent ON {table} AS RESTRICTIVE FOR SELECT TO {role} USING ("
        "EXISTS (SELECT 1 FROM tenants_supportconsent c WHERE c.tenant_id = {table}.tenant_id"
        " AND c.revoked_at IS NULL AND c.until > statement_timestamp()))",
        role=role,
        table=table,
    )


def _has_policies(cursor: CursorWrapper, table: str) -> bool:
    cursor.execute("SELECT relrowsecurity FROM pg_class WHERE oid = %s::regclass", [table])
    return bool(cursor.fetchone()[0])


def _columns(cursor: CursorWrapper, table: str) -> list[str]:
    cursor.execute(
        "SELECT attname FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
        [table],
    )
    return [name for (name,) in cursor.fetchall()]


def _grant_columns(
    cursor: CursorWrapper, right: str, table: str, columns: list[str], role: str
) -> None:
    statement = sql.SQL("GRANT {} ({}) ON {} TO {}").format(
        sql.SQL(right),
        sql.SQL(", ").join(sql.Identifier(name) for name in columns),
        sql.Identifier(table),
        sql.Identifier(role),
    )
    cursor.execute(statement.as_string())


def _run(cursor: CursorWrapper, statement: str, *, role: str, table: str = "") -> None:
    names = {"role": sql.Identifier(role), "table": sql.Identifier(table)}
    cursor.execute(sql.SQL(statement).format(**names).as_string())
