"""How a model was spoken to in training: it answers as it was trained to if it is asked alike."""

import logging
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Any

import orjson

from finetune.models import Artifact
from tenants.access import Principal
from tenants.roles import Scope
from tenants.services import audit
from tenants.services.vaults import open_vault
from tenants.vault.errors import VaultError

log = logging.getLogger(__name__)

ROWS_READ = 500  # a page waits for them


def trained_system_message(*, artifact: Artifact, by: Principal) -> str:
    """The system message that the most of the first training rows have; empty where most have none,
    where the rows are gone with their file, or cannot be read now.

    A tenant's words stand in its vault alone, so they are read there; its log says who saw them.
    Raises Refused without the scope to read files.
    """
    reading = artifact.job.training_data
    if reading is None or not reading.rows_object:
        return ""
    by.require_of(Scope.FILES_READ, reading)
    try:
        with open_vault().open(reading.rows_object) as rows:
            found = most_common(islice(rows, ROWS_READ))
    except VaultError as error:
        log.warning("rows of %s: %s", reading.public_id, error)
        return ""
    if found:
        audit.note(actor=by.actor, action="row.preview", target=reading.file.public_id)
    return found


def most_common(rows: Iterable[bytes]) -> str:
    """Of canonical rows; one without counts as one with an empty message."""
    counted = Counter(_system_of(orjson.loads(row)) for row in rows)
    return counted.most_common(1)[0][0] if counted else ""


def _system_of(row: dict[str, Any]) -> str:
    first: dict[str, Any] = next(iter(row.get("messages") or []), {})
    content = first.get("content")
    return (
        content if first.get("role") in ("system", "developer") and isinstance(content, str) else ""
    )
