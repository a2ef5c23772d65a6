"""Specs that later versions add fields to, while runs that older versions began still go on."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Growing(BaseModel):
    """A spec whose written form names a field that came later only where it is not at its default.

    So a spec that says nothing new is written, to the byte, as the version wrote it that knew no
    such field, and has the digest that its checkpoints hold. What an added field's default means is
    what was done before there was the field; it never changes, or an old spec would change with it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, serialize_by_alias=True)

    always_written: ClassVar[frozenset[str]] = frozenset()
    """The fields of the first version. A new one does not go here."""

    @model_serializer(mode="wrap")
    def _written(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = written(self)
        for name, field in type(self).model_fields.items():
            added = name not in self.always_written
            if added and getattr(self, name) == field.get_default(call_default_factory=True):
                for key in (name, field.serialization_alias or name):
                    values.pop(key, None)
        return values
