"""Row-level security and composite foreign keys as model constraints, carried by migrations.

A table gets them by being a `TenantOwned` model; nobody has to remember.
"""

from typing import Any

from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models.constraints import BaseConstraint

CURRENT = "(SELECT NULLIF(current_setting('privatune.tenant', true), '')::uuid)"


class _SqlConstraint(BaseConstraint):
    """A constraint that is statements of its own and not a clause of CREATE TABLE."""

    def constraint_sql(
        self, model: type[models.Model] | None, schema_editor: BaseDatabaseSchemaEditor | None
    ) -> str:
        assert schema_editor is not None
        # CREATE TABLE is still to come: run ours right after it.
        statement = self.create_sql(model, schema_editor)
        if statement:
            schema_editor.deferred_sql.append(statement)
        return ""

    def validate(self, *args: Any, **kwargs: Any) -> None:
        """The database enforces it."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.deconstruct() == other.deconstruct()

    __hash__ = BaseConstraint.__hash__


class TenantIsolation(_SqlConstraint):
    """ENABLE and FORCE row-level security, with one policy for reading and writing.

    The owner role, which only migrations and SECURITY DEFINER look-ups use, has its own policy:
    FORCE binds it too, and a named policy is easier to audit than BYPASSRLS.
    """

    def __init__(self, *, name: str, column: str = "tenant_id") -> None:
        super().__init__(name=name)
        self.column = column

    def create_sql(
        self, model: type[models.Model] | None, schema_editor: BaseDatabaseSchemaEditor | None
    ) -> str:
        assert model is not None
        assert schema_editor is not None
        table = schema_editor.quote_name(model._meta.db_table)
        check = f'"{self.column}" = {CURRENT}'
        return (
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;"
            f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY;"
            f"CREATE POLICY tenant_isolation ON {table} USING ({check}) WITH CHECK ({check});"
            f"CREATE POLICY owner_access ON {table} TO CURRENT_USER"
            " USING (true) WITH CHECK (true)"
        )

    def remove_sql(
        self, model: type[models.Model] | None, schema_editor: BaseDatabaseSchemaEditor | None
    ) -> str:
        assert model is not None
        assert schema_editor is not None
        table = schema_editor.quote_name(model._meta.db_table)
        return (
            f"DROP POLICY tenant_isolation ON {table};DROP POLICY owner_access ON {table};"
            f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY;"
            f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"
        )

    def deconstruct(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        path, args, kwargs = super().deconstruct()
        if self.column != "tenant_id":
            kwargs["column"] = self.column
        return path, tuple(args), kwargs


class TenantReference(_SqlConstraint):
    """A foreign key over (tenant_id, column): a row cannot even point into another tenant."""

    def __init__(self, *, name: str, column: str, to_table: str) -> None:
        super().__init__(name=name)
        self.column = column
        self.to_table = to_table

    def create_sql(
        self, model: type[models.Model] | None, schema_editor: BaseDatabaseSchemaEditor | None
    ) -> str:
        assert model is not None
        assert schema_editor is not None
        quote = schema_editor.quote_name
        # At the migration's end: the table pointed at may get its unique key later in the same one.
        schema_editor.deferred_sql.append(
            f"ALTER TABLE {quote(model._meta.db_table)} ADD CONSTRAINT {quote(self.name)}"
            f' FOREIGN KEY ("tenant_id", {quote(self.column)})'
            f' REFERENCES {quote(self.to_table)} ("tenant_id", "id")'
            " DEFERRABLE INITIALLY DEFERRED"
        )
        return ""

    def remove_sql(
        self, model: type[models.Model] | None, schema_editor: BaseDatabaseSchemaEditor | None
    ) -> str:
        assert model is not None
        assert schema_editor is not None
        quote = schema_editor.quote_name
        return f"ALTER TABLE {quote(model._meta.db_table)} DROP CONSTRAINT {quote(self.name)}"

    def deconstruct(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        path, args, kwargs = super().deconstruct()
        return path, tuple(args), kwargs | {"column": self.column, "to_table": self.to_table}
