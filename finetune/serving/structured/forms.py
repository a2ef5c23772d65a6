"""From what a request asks of its answer to the grammar's text."""

import json
from typing import Any

from finetune.serving.structured import schemas

# Enough for a deep indentation; without a bound a model can write blanks for ever
_BLANKS = r"[\x20\x0A\x0D\x09]{1,40}"


def json_text(schema: dict[str, Any]) -> str:
    """The schema as a term of llguidance's Lark. It must have been checked."""
    guided = schema | {"x-guidance": {"whitespace_pattern": _BLANKS}}
    return f"%json {json.dumps(guided)}"


def of_schema(schema: dict[str, Any], place: str) -> str:
    """Raises UserFault, as `schemas.check` does."""
    schemas.check(schema, place)
    return f"start: {json_text(schema)}"
