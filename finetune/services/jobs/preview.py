"""A row of a file as a model will see it in training, before anything is trained."""

import asyncio
import json
import re
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, cast
from uuid import UUID

from asgiref.sync import async_to_sync
from django.conf import settings
from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_core import PydanticCustomError

from faults import OurFault, UserFault
from finetune import selectors
from finetune.models import Dataset
from finetune.purposes import OF_ROWS
from finetune.records.check.spec import Overflow, RowFormat, longest_by_default
from finetune.records.infilling import Cut, Order
from finetune.records.pieces import Preview
from finetune.records.thinking import Asked, setting_of
from finetune.services.jobs.lifecycle import base_of
from finetune.services.jobs.request import within
from finetune.services.models.gateway import told
from finetune.serving.client import ServingClient, unavailable
from finetune.serving.protocol import PreviewRequest
from finetune.states import DatasetState
from tenants.access import Principal
from tenants.database.scope import release_connection, tenant_scope
from tenants.errors import NotFound
from tenants.rights import Right
from tenants.roles import Scope
from tenants.services import audit
from tenants.services.licences import require_license
from tenants.services.vaults import open_vault

PATIENCE = 60.0  # seconds
LARGEST_ROW = 1 << 20  # bytes: more takes the model server's processor from others for long


class Wish(BaseModel):
    """`row`: from 1, of those that can be used. The settings are those of a job; `fim` shows a
    document with a hole, in that order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    row: int = 1
    max_length: int | None = None
    overflow: Overflow = "refuse"
    thinking: Asked = "auto"
    fim: Order | None = None
    fim_cut: Cut = "character"

    @field_validator("row", "max_length", mode="before")
    @classmethod
    def _in_digits(cls, given: object) -> object:
        """A text that is read as a number has to be a whole one: pydantic reads 1.0 as such."""
        if isinstance(given, str) and not re.fullmatch(r"-?[0-9]+", given):
            raise PydanticCustomError("whole_number", "Input should be a whole number in digits")
        return given


@dataclass(frozen=True)
class Previewed:
    """`rows`: of the file that can be used; `max_length` as it was used."""

    wish: Wish
    rows: int
    max_length: int
    preview: Preview


def preview_row(*, file_id: UUID, wish: Wish, by: Principal) -> Previewed:
    """Outside any scope: the connection is given back before the model server is asked.

    Raises Refused without the scope to read files or the licence to train, NotFound for a file or
    model that is not the tenant's to use, UserFault for a file whose check has not ended well
    (`file_not_ready`) or a row that it does not have; ObjectLost, StorageDown, ServingDown.
    """
    by.require(Scope.FILES_READ)
    try:
        with tenant_scope(by.tenant_id):
            reading, request, rows = _asked(file_id, wish, by)
    finally:
        release_connection()
    with rows:
        request = request.model_copy(update={"row": _row(rows, wish.row)})
    assert request.max_length is not None  # `_asked` gives one
    return Previewed(wish, reading.rows, request.max_length, _from_server(request))


def _asked(file_id: UUID, wish: Wish, by: Principal) -> tuple[Dataset, PreviewRequest, BinaryIO]:
    """The file's reading, what to ask of the server, and all rows: one of them goes with it."""
    file = selectors.files().filter(id=file_id, purpose__in=OF_ROWS).first()
    if file is None:
        raise NotFound("file_not_found", "No such file.")
    base = base_of(wish.model)
    require_license(model=base.name, right=Right.TRAIN)
    within("max_length", wish.max_length, 8, base.context_length)
    reading = Dataset.objects.filter(file=file, base=None, state=DatasetState.READY).first()
    if reading is None:
        raise UserFault(
            "file_not_ready",
            f"The file {file.public_id} has not passed its check.",
            fix="Wait until its status is `processed`; what its report names has to be mended.",
        )
    if not 1 <= wish.row <= reading.rows:
        raise UserFault(
            "row_missing",
            f"There is no row {wish.row}; rows that can be used: {reading.rows}.",
            fix=f"Ask for one of 1 to {reading.rows}.",
            param="row",
        )
    audit.note(actor=by.actor, action="row.preview", target=file.public_id)
    request = PreviewRequest(
        tenant=str(by.tenant_id),
        base_path=str(settings.MODEL_STORE / base.path),
        base_digest=base.digest,
        row={},
        row_format=cast(RowFormat, reading.format),
        max_length=wish.max_length or longest_by_default(base.context_length),
        overflow=wish.overflow,
        thinking=setting_of(wish.thinking),
        fim=wish.fim,
        fim_cut=wish.fim_cut,
    )
    return reading, request, open_vault().open(reading.rows_object)


def _row(rows: BinaryIO, number: int) -> dict[str, object]:
    line = next(islice(rows, number - 1, None), None)
    if line is None:
        raise OurFault("data_changed", "The stored rows are fewer than were counted.")
    if len(line) > LARGEST_ROW:
        raise UserFault(
            "row_too_large",
            f"The row has {len(line) >> 10} kB; one of up to {LARGEST_ROW >> 10} kB is shown.",
            fix="Look at another row; a long text can be parted.",
            param="row",
        )
    row: dict[str, object] = json.loads(line)
    return row


def _from_server(request: PreviewRequest) -> Preview:
    async def ask() -> Preview:
        async with asyncio.timeout(PATIENCE):
            return await ServingClient(settings.SERVING_SOCKET).preview(request)

    try:
        return async_to_sync(ask)()
    except TimeoutError as error:
        raise told(unavailable(f"nothing came in {PATIENCE:.0f} s")) from error
    except OurFault as fault:
        raise told(fault) from fault
