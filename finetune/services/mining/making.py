"""The kind of work that mines hard negatives: the file's texts are listed in a limited child,
embedded in parts by the model server, each part's vectors kept in the vault before the next, and
from the vectors another child writes the new file."""

import base64
import hashlib
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db.models import F

from faults import Fault, UserFault
from finetune.mining.child import mine_in_child
from finetune.mining.negatives import MiningOptions, batches
from finetune.mining.run import MINED, TEXTS
from finetune.mining.spec import ListReport, MiningReport, MiningSpec, Vectors
from finetune.models import Dataset, Mining
from finetune.records.recipe import Side
from finetune.services.files.room import require_room
from finetune.services.files.versions import made_file
from finetune.services.mining.subjects import MOST_TEXTS, embedder, pairs_of, texts_of
from finetune.services.models import gateway
from finetune.services.models.gateway import Still, Target
from finetune.services.models.patience import patiently
from finetune.storage import fetch_file, mining_prefix
from finetune.work import leases
from finetune.work.isolation import isolation
from finetune.work.kinds import Lease
from finetune.work.pulse import Pulse
from finetune.work.sharing import SharingKind, still_wanted
from finetune.work.signals import LeaseLost, Stopped, Wishes
from finetune.workspace import private_folder
from tenants.access import Principal
from tenants.actor import Actor
from tenants.database.scope import tenant_scope
from tenants.roles import Role, Scope
from tenants.services.files import Kept, chunks, keep
from tenants.services.vaults import drop_when_committed, open_vault, vault_for
from tenants.vault.errors import KeyDestroyed
from tenants.vault.vault import Vault

PART_TEXTS = 512  # whose vectors are kept together
INPUTS, CHARACTERS = 64, 100_000  # of one request: the tenant's own must still find a place
_TOO_MUCH = ("context_length_exceeded", "request_too_costly", "rate_limit_exceeded")


class MiningKind(SharingKind):
    model = Mining
    wait_seconds = 30
    lost = "The worker that mined the file's negatives was lost."
    fix = "Ask for them again; if it fails again, tell the operator the mining's id."

    def on_claim(self, subject: Mining, lease: Lease) -> None:
        """The licence is asked here again, and at each request for vectors."""
        embedder(subject.model)

    def on_fail(self, subject: Mining, fault: Fault) -> dict[str, Any]:
        return super().on_fail(subject, fault) | without_parts(subject)

    def work(self, lease: Lease, pulse: "Pulse[Wishes]") -> None:
        try:
            _mine(lease, still_wanted(lease, pulse))
        except Stopped:
            with leases.fenced(lease) as row:
                if leases.grant_wishes(lease, row, **without_parts(row)):
                    return
            raise


MINE = MiningKind()


def without_parts(mining: Mining) -> dict[str, Any]:
    """In the transaction that ends it: its columns without vectors, which go when it commits. Those
    of a tenant without a key are gone with it."""
    try:
        vault = open_vault()
    except KeyDestroyed:
        return {}
    drop_when_committed(vault, mining.objects_named)
    return {"parts": []}


@dataclass(frozen=True)
class Text:
    """`row`: where it first stands, from 1, in the `file` or the `corpus`."""

    side: Side
    place: str
    row: int
    text: str


def _mine(lease: Lease, still: Still) -> None:
    level = isolation()  # before anything of the customer's lies in the clear
    with tenant_scope(lease.tenant_id):
        mining = Mining.objects.select_related("file", "corpus").get(id=lease.row_id)
        vault = vault_for(lease.tenant_id)
        rows = pairs_of(mining.file)
        further = texts_of(mining.corpus) if mining.corpus else None
        target = embedder(mining.model)
    with private_folder(settings.WORK_DIR, f"{lease.row_id}-{lease.epoch}") as folder:
        fetch_file(vault, rows.rows_object, folder / "rows", sha256=rows.rows_sha256)
        if further:
            corpus = folder / "corpus"
            fetch_file(vault, further.rows_object, corpus, sha256=further.rows_sha256)
        spec = MiningSpec(
            rows=folder / "rows",
            corpus=folder / "corpus" if further else None,
            options=MiningOptions.model_validate(mining.options),
            most_texts=MOST_TEXTS,
            most_bytes=settings.MAX_FILE_BYTES,
        )
        bounds: dict[str, Any] = {
            "memory_mb": settings.CHECK_MEMORY_MB,
            "seconds": settings.CHECK_SECONDS,
            "progress": lambda *_: still(),
            "level": level,
        }
        listed = mine_in_child(spec, folder / "listed", ListReport, **bounds)
        embedding = _Embedding(lease, mining, target, vault, still, _of(rows, further, target))
        dimensions = embedding.run(folder / "listed" / TEXTS, folder / "vectors", listed.texts)
        if dimensions is None:
            return
        vectors = Vectors(file=folder / "vectors", dimensions=dimensions)
        spec = spec.model_copy(update={"vectors": vectors})
        report = mine_in_child(spec, folder / "out", MiningReport, **bounds)
        _keep(lease, mining, report, folder / "out" / MINED, vault)


def _of(rows: Dataset, further: Dataset | None, target: Target) -> str:
    """What vectors are of: other rows, or other weights under the model's name, make others."""
    told = (rows.rows_sha256, further.rows_sha256 if further else "", target.fingerprint)
    return hashlib.sha256("|".join(told).encode()).hexdigest()


class _Embedding:
    """From the listed texts to their vectors in one file."""

    def __init__(
        self, lease: Lease, mining: Mining, target: Target, vault: Vault, still: Still, of: str
    ) -> None:
        self._lease, self._mining, self._target = lease, mining, target
        self._vault, self._still, self._of = vault, still, of
        worker = Actor.system("worker")
        self._by = Principal(lease.tenant_id, worker, frozenset({Scope.INFER}), Role.VIEWER)

    def run(self, listed: Path, vectors: Path, total: int) -> int | None:
        """The vectors' dimensions; None: another tenant's turn, and the rest waits."""
        began = time.monotonic()
        with listed.open("rb") as lines, vectors.open("xb") as written:
            done, size = self._taken_up(written)
            leases.tell_progress(self._lease, done=done, total=total)
            texts = (Text(*orjson.loads(line)) for line in islice(lines, done, None))
            while part := list(islice(texts, PART_TEXTS)):
                self._still()
                made, tokens = self._vectors(part)
                size = len(made) // len(part)
                written.write(made)
                done += len(part)
                self._keep(made, len(part), tokens, done)
                if done < total and MINE.gives_way(self._lease, began):
                    return None
        return size // 4

    def _taken_up(self, written: BinaryIO) -> tuple[int, int]:
        """Texts whose vectors earlier attempts have kept, and a vector's bytes. Of other rows or
        another model they are dropped."""
        done, size = 0, 0
        if any(part["of"] != self._of for part in self._mining.parts):
            with leases.fenced(self._lease) as row:
                drop_when_committed(self._vault, row.objects_named)
                row.parts = []
                row.save(update_fields=["parts"])
            self._mining.parts = []
        for part in self._mining.parts:
            made = self._vault.read_bytes(part["name"])
            written.write(made)
            done += part["texts"]
            size = len(made) // part["texts"]
        return done, size

    def _vectors(self, part: Sequence[Text]) -> tuple[bytes, int]:
        """float32, in order, and how many tokens they took."""
        made, tokens = [], 0
        for _, texts in groupby(part, lambda each: each.side):
            for batch in _batches(list(texts)):
                self._still()
                vectors, taken = self._asked(batch)
                made.append(vectors)
                tokens += taken
        return b"".join(made), tokens

    def _asked(self, batch: Sequence[Text]) -> tuple[bytes, int]:
        """Halves of what is too much for one request. Raises UserFault with the place of a text
        that is too long."""
        try:
            found, _ = async_to_sync(patiently)(
                lambda: gateway.embed(
                    target=self._target,
                    inputs=[each.text for each in batch],
                    side=batch[0].side,
                    by=self._by,
                    still=self._still,
                ),
                self._still,
            )
        except UserFault as fault:
            if fault.code not in _TOO_MUCH or fault.retry_after is not None:
                raise
            if len(batch) == 1:
                raise _placed(fault, batch[0]) from fault
            half = len(batch) // 2
            (left, some), (right, more) = self._asked(batch[:half]), self._asked(batch[half:])
            return left + right, some + more
        return b"".join(map(base64.b64decode, found.vectors)), found.prompt_tokens

    def _keep(self, made: bytes, texts: int, tokens: int, done: int) -> None:
        with tenant_scope(self._lease.tenant_id):
            require_room(len(made))
        name = f"{mining_prefix(self._lease.row_id)}{secrets.token_hex(8)}.f32"
        self._vault.put_bytes(name, made)
        part = {"name": name, "texts": texts, "bytes": len(made), "of": self._of}
        try:
            with leases.fenced(self._lease) as row:
                row.parts = [*row.parts, part]
                row.done, row.tokens = done, F("tokens") + tokens
                row.save(update_fields=["parts", "done", "tokens"])
                leases.made_progress(self._lease)
        except LeaseLost:
            self._vault.delete(name)
            raise


def _batches(texts: Sequence[Text]) -> Iterator[Sequence[Text]]:
    at = 0
    for batch in batches([each.text for each in texts], INPUTS, CHARACTERS):
        yield texts[at : at + len(batch)]
        at += len(batch)


def _placed(fault: UserFault, text: Text) -> UserFault:
    return UserFault(
        "text_too_long",
        f"The {text.side} of row {text.row} of the {text.place} cannot be embedded: "
        f"{fault.message}",
        where=f"row {text.row}",
        fix="Shorten it, or name a model that reads longer texts.",
        param=text.place,
    )


def _keep(lease: Lease, mining: Mining, report: MiningReport, made: Path, vault: Vault) -> None:
    with tenant_scope(lease.tenant_id):
        require_room(report.rows_bytes)
    with made.open("rb") as source, closing(source):
        kept: Kept = keep(vault=vault, pieces=chunks(source), limit=report.rows_bytes)
    ended = False
    try:
        with leases.fenced(lease) as row:
            gone = without_parts(row)
            if not leases.grant_wishes(lease, row, **gone):
                leases.finish(
                    lease,
                    result=made_file(mining.file, kept, "mined"),
                    report=report.model_dump(mode="json"),
                    **gone,
                )
                ended = True
    finally:
        if not ended:  # cancelled meanwhile, or the lease lost
            vault.delete(kept.object_name)
