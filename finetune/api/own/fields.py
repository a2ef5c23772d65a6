"""Serializer fields that several rooms of the API share."""

from typing import Any

from rest_framework import serializers

from finetune.selectors import PREFIXES, public_id


class IdField(serializers.CharField):
    """The row's public id."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(source="*", read_only=True, **kwargs)

    def to_representation(self, value: Any) -> str:
        return public_id(value)


class ReferenceField(serializers.CharField):
    """The public id of another row, from its key column alone."""

    def __init__(self, to: Any, column: str, **kwargs: Any) -> None:
        self._prefix = PREFIXES[to]
        super().__init__(source=column, read_only=True, **kwargs)

    def to_representation(self, value: Any) -> str:
        return f"{self._prefix}{value.hex}"
