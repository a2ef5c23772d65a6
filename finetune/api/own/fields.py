"""Serializer fields that several rooms of the API share."""

from typing import Any

from rest_framework import serializers

from finetune.api import words
from tenants.models import TenantOwned
from tenants.public_ids import PublicId


class TextField(serializers.CharField):
    """A string of JSON and nothing else: a number is a mistake, and not its digits."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class IdField(serializers.CharField):
    """The row's public id."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(source="public_id", read_only=True, **kwargs)


class KeptErrorField(serializers.JSONField):
    """An error as its row keeps it, in the reader's language."""

    def to_representation(self, value: Any) -> Any:
        return words.kept(value)


class ReferenceField(serializers.CharField):
    """The public id of another row, from its key column alone."""

    def __init__(self, to: type[TenantOwned], column: str, **kwargs: Any) -> None:
        self._public: PublicId = to.public
        super().__init__(source=column, read_only=True, **kwargs)

    def to_representation(self, value: Any) -> str:
        return self._public.of(value)
