"""What an evaluation left, for who may read it: items and tags out of the vault, and how two of the
same questions compare."""

import io
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO, cast

import orjson

from faults import UserFault
from finetune.grading import marks
from finetune.models import Evaluation
from tenants.access import Principal
from tenants.roles import Scope
from tenants.services import audit
from tenants.services.vaults import open_vault
from tenants.vault.vault import Vault


def open_items(*, evaluation: Evaluation, by: Principal) -> BinaryIO:
    """One JSON object a row, in the file's order: what was asked, answered, and how it was graded.
    The stream outlives the open scope; the tenant's log says who took it.

    Raises Refused without the scope to read files; ObjectMissing, ObjectDamaged, StorageDown.
    """
    by.require_of(Scope.FILES_READ, evaluation)
    audit.note(actor=by.actor, action="evaluation.read", target=evaluation.public_id)
    names = [part["name"] for part in evaluation.parts]
    return cast(BinaryIO, io.BufferedReader(_Parts(open_vault(), names)))


def items_between(
    *, evaluation: Evaluation, first: int, last: int, by: Principal
) -> list[dict[str, Any]]:
    """The items that stand at these places, from 0, the last excluded. Raises as `open_items`."""
    by.require_of(Scope.FILES_READ, evaluation)
    audit.note(actor=by.actor, action="evaluation.read", target=evaluation.public_id)
    vault, start, found = open_vault(), 0, []
    for part in evaluation.parts:
        end = start + part["rows"]
        if start < last and end > first:
            lines = vault.read_bytes(part["name"]).splitlines()
            found += lines[max(0, first - start) : last - start]
        start = end
    return [orjson.loads(line) for line in found]


def items_where(
    *,
    evaluation: Evaluation,
    keep: Callable[[dict[str, Any]], bool],
    skip: int,
    most: int,
    by: Principal,
) -> list[dict[str, Any]]:
    """The items that are kept, without the first `skip` of them; no more is read than they take.
    Raises as `open_items`."""
    by.require_of(Scope.FILES_READ, evaluation)
    audit.note(actor=by.actor, action="evaluation.read", target=evaluation.public_id)
    vault = open_vault()
    items = (
        orjson.loads(line)
        for part in evaluation.parts
        for line in vault.read_bytes(part["name"]).splitlines()
    )
    return list(islice(filter(keep, items), skip, skip + most))


def tags_of(*, evaluation: Evaluation, by: Principal) -> dict[str, Any]:
    """By side and tag, what the tag's rows scored. Empty: not evaluated to the end, or the file is
    gone. Raises as `open_items`."""
    if not evaluation.tags_object:
        return {}
    by.require_of(Scope.FILES_READ, evaluation)
    audit.note(actor=by.actor, action="evaluation.read", target=evaluation.public_id)
    told: dict[str, Any] = orjson.loads(open_vault().read_bytes(evaluation.tags_object))
    return told


def compare(*, first: Evaluation, second: Evaluation) -> dict[str, Any]:
    """The second model's scores minus the first's, row by row. Raises UserFault where they were not
    asked the same, or one has not ended well."""
    for each in (first, second):
        if not each.marks:
            raise UserFault(
                "evaluation_unfinished",
                f"The evaluation {each.public_id} has no scores.",
                fix="Compare two that have succeeded.",
            )
    if first.digest != second.digest:
        raise UserFault(
            "other_questions",
            "The two evaluations differ in rows, messages, criteria or length of answers.",
            fix="Evaluate the second model as the first was.",
            param="with",
        )
    found = marks.compare(first.marks["model"], second.marks["model"])
    verdict = "undecided"
    if found.shown:
        verdict = "better" if found.difference > 0 else "worse"
    return {
        "first": {"id": first.public_id, "model": first.model},
        "second": {"id": second.public_id, "model": second.model},
        **marks.told(found),
        "verdict": verdict,
    }


class _Parts(io.RawIOBase):
    """Objects of a vault end to end, one in memory at a time."""

    def __init__(self, vault: Vault, names: Sequence[str]) -> None:
        self._pieces: Iterator[bytes] = (vault.read_bytes(name) for name in names)
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = piece
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size
