"""What a tenant does with suites and evaluations: make, cancel, delete.

Each verb is one transaction in the open scope; a worker is nudged when it commits.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from faults import UserFault
from finetune import selectors
from finetune.grading.criteria import CRITERIA
from finetune.models import Evaluation, Suite
from finetune.purposes import Purpose
from finetune.services.evaluations import gating, subjects
from finetune.services.evaluations.evaluating import EVALUATE
from finetune.services.evaluations.request import EvaluationRequest, digest_of
from finetune.services.files import intake
from finetune.services.models import gateway
from finetune.services.models.graders import Judge, judges_of
from finetune.services.models.withholding import withholding_result
from finetune.states import LIVE_LEASES
from finetune.work import leases, nudges
from finetune.work.turns import require_turn
from tenants.access import Principal
from tenants.database.locks import lock
from tenants.database.scope import current_tenant_id
from tenants.errors import Conflict
from tenants.models import StoredFile
from tenants.names import readable
from tenants.roles import Scope
from tenants.services import audit
from tenants.services.vaults import drop_when_committed, open_vault

MOST_WAITING = 20  # evaluations of a tenant that have not ended
LARGEST_FILE = 64 << 20  # bytes of a suite's file: a worker holds its rows in memory
ASKABLE = (Purpose.EVALS, Purpose.TRAINING, Purpose.USER_DATA)


def take_turn() -> None:
    """Until the open transaction ends nobody else makes an evaluation of the tenant's, or deletes a
    suite of its: so they are counted, and named rows are still there. Before anything else is
    locked, the audit trail's end included."""
    lock(f"evaluations:{current_tenant_id()}")


def create_suite(
    *,
    name: str,
    criteria: list[Any],
    source_config: dict[str, Any],
    metadata: dict[str, str],
    by: Principal,
) -> Suite:
    """`criteria`: as `grading.criteria.shown`. Raises Refused without the scope to ask models,
    NotFound and Refused for a judging model that may not be asked."""
    by.require(Scope.INFER)
    suite = Suite.objects.create(
        name=_visible(name), criteria=criteria, source_config=source_config, metadata=metadata,
        created_by=by.actor,
    )  # fmt: skip
    audit.record(actor=by.actor, action="suite.create", target=suite.public_id)
    return suite


def suite_of(*, criteria: list[Any], name: str, by: Principal) -> Suite:
    """The tenant's own suite with these very criteria and name, or a new one."""
    found = Suite.objects.filter(name=name, criteria=criteria).order_by("created_at").first()
    config = {"type": "custom", "schema": {}}
    return found or create_suite(
        name=name, criteria=criteria, source_config=config, metadata={}, by=by
    )


def rename_suite(
    *, suite: Suite, name: str | None, metadata: dict[str, str] | None, by: Principal
) -> None:
    """What is None stays."""
    by.require_of(Scope.INFER, suite)
    suite.name = suite.name if name is None else _visible(name)
    suite.metadata = suite.metadata if metadata is None else metadata
    suite.save(update_fields=["name", "metadata"])
    audit.record(actor=by.actor, action="suite.change", target=suite.public_id)


@contextmanager
def kept_rows(*, rows: list[dict[str, Any]], by: Principal) -> Iterator[StoredFile]:
    """Rows that came in a request, as a file of the purpose `evals`. Raises Refused without the
    scope to bring files, StorageUsedUp, StorageDown."""
    lines = [json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows]
    with kept_file(filename="eval-rows.jsonl", source=lines, by=by) as file:
        yield file


@contextmanager
def kept_file(
    *, filename: str, source: BinaryIO | Iterable[bytes], by: Principal
) -> Iterator[StoredFile]:
    """For the request that asks for it: where that is refused its row is rolled back, and its bytes
    go as well. Raises as `kept_rows`, and Invalid for more than LARGEST_FILE bytes."""
    by.require(Scope.FILES_WRITE)
    vault = open_vault()
    kept = intake.keep_bytes(vault=vault, source=source, limit=LARGEST_FILE)
    try:
        yield intake.receive_file(
            filename=filename, purpose=Purpose.EVALS, kept=kept, actor=by.actor
        )
    except BaseException:
        vault.delete(kept.object_name)
        raise


def delete_suite(*, suite: Suite, by: Principal) -> None:
    """With its evaluations and their items. Raises Conflict while one of them has not ended."""
    by.require_of(Scope.INFER, suite)
    take_turn()
    suite = selectors.find(Suite.objects.all(), suite.public_id)  # another may have deleted it
    evaluations = list(Evaluation.objects.select_for_update().filter(suite=suite))
    if any(each.state in LIVE_LEASES for each in evaluations):
        raise Conflict(
            "eval_in_use",
            "An evaluation of this suite has not ended.",
            fix="Cancel it or wait for its end, then delete the suite.",
        )
    gating.require_not_withholding(evaluations)
    _drop_objects(evaluations)
    audit.record(actor=by.actor, action="suite.delete", target=suite.public_id)
    suite.delete()


def create_evaluation(
    *, suite: Suite, file: StoredFile, request: EvaluationRequest, by: Principal
) -> Evaluation:
    """Of a job that has not ended it waits for the end. Raises Refused without the scopes to ask
    models and to read files, and with a gate to change models, or without the licence to serve;
    NotFound for a model that is not the tenant's to ask, UserFault for a file of another purpose,
    a job without a result and a gate that cannot open, TooManyLive (429). The caller has taken
    the tenant's turn and locked the file."""
    by.require(Scope.INFER)
    by.require_of(Scope.FILES_READ, file)
    if file.purpose not in ASKABLE:
        raise UserFault(
            "invalid_file_purpose",
            "A suite's rows are a file that was brought, best with the purpose `evals`.",
            param="file",
        )
    if file.bytes > LARGEST_FILE:
        raise UserFault(
            "suite_too_large",
            f"The suite's file has more than {LARGEST_FILE >> 20} MB.",
            fix="Ask fewer rows.",
            param="file",
        )
    require_turn(
        Evaluation,
        MOST_WAITING,
        code="too_many_evaluations",
        said=f"{MOST_WAITING} evaluations of your organisation have not ended.",
        retry_after=60,
        fix="Wait for one of them, or cancel it.",
    )
    if request.samples > 1 and request.sampling.temperature == 0:
        raise UserFault(
            "invalid_value",
            "Several answers without a temperature are one and the same.",
            fix="Give `sampling.temperature`, 0.8 say, or leave `samples` out.",
            param="samples",
        )
    asked = subjects.find(request.model)
    for judge in judges(suite):
        gateway.resolve_judge(name=judge.model, scores=judge.scores)
    if request.gate is not None:
        gating.require_gate(request, asked, file, by)
    elif asked.job is not None and withholding_result(asked.job.id).exists():
        by.require(Scope.MODELS_WRITE)  # its answers stand in the items
    evaluation = Evaluation.objects.create(
        suite=suite,
        file=file,
        model=asked.name,
        base=asked.base,
        artifact=asked.artifact,
        job=asked.job,
        withholds=request.gate is not None,
        name=_visible(request.name),
        metadata=request.metadata,
        requested=request.model_dump(mode="json"),
        digest=digest_of(sha256=file.sha256, criteria=suite.criteria, request=request),
        created_by=by.actor,
    )
    audit.record(
        actor=by.actor,
        action="evaluation.create",
        target=evaluation.public_id,
        data={"model": asked.name, "file": file.public_id},
    )
    nudges.wake(Evaluation, evaluation.tenant_id, evaluation.id)
    return evaluation


def cancel_evaluation(*, evaluation: Evaluation, by: Principal) -> Evaluation:
    """At once while nobody works on it, else when its worker has seen it; what was answered stays,
    as one that has ended does."""
    by.require_of(Scope.INFER, evaluation)
    live = evaluation.state in LIVE_LEASES and evaluation.cancel_requested_at is None
    leases.cancel(EVALUATE, key=evaluation.id)
    if live:
        audit.record(actor=by.actor, action="evaluation.cancel", target=evaluation.public_id)
    evaluation.refresh_from_db()
    return evaluation


def delete_evaluation(*, evaluation: Evaluation, by: Principal) -> None:
    """Raises Conflict for one that has not ended."""
    by.require_of(Scope.INFER, evaluation)
    evaluation = selectors.find(Evaluation.objects.select_for_update(), evaluation.public_id)
    if evaluation.state in LIVE_LEASES:
        raise Conflict("evaluation_in_use", "The evaluation has not ended.", fix="Cancel it first.")
    gating.require_not_withholding([evaluation])
    _drop_objects([evaluation])
    audit.record(actor=by.actor, action="evaluation.delete", target=evaluation.public_id)
    evaluation.delete()


def judges(suite: Suite) -> list[Judge]:
    """The models that its criteria ask."""
    found = (judges_of(each) for each in CRITERIA.validate_json(json.dumps(suite.criteria)))
    return sorted(set().union(*found))


def _visible(name: str) -> str:
    """Raises Invalid for what hides or turns the line round; no name at all is fine."""
    return readable(name, param="name") if name else name


def _drop_objects(evaluations: list[Evaluation]) -> None:
    names = [name for each in evaluations for name in each.objects_named]
    vault = open_vault()
    drop_when_committed(vault, names)
