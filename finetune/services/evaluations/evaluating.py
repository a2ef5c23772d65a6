"""The kind of work that evaluates: questions in parts, each part's items kept in the vault before
the next, so that another worker goes on where one was stopped."""

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from asgiref.sync import async_to_sync
from django.db.models import Q, QuerySet

from finetune.events.waits import JobNotEnded, Wait
from finetune.grading.criteria import CRITERIA
from finetune.grading.questions import Question, read_questions
from finetune.models import Artifact, Evaluation
from finetune.services.evaluations import subjects
from finetune.services.evaluations.asking import Asked, Asker
from finetune.services.evaluations.examples import examples_of
from finetune.services.evaluations.report import report_of, scores_of, tags_of
from finetune.services.evaluations.request import EvaluationRequest
from finetune.services.evaluations.seen import readings_of, seen_of
from finetune.services.files.room import require_room
from finetune.services.models import gateway
from finetune.services.models.graders import judges_of, targets_of
from finetune.storage import evaluation_prefix
from finetune.work import leases
from finetune.work.kinds import Lease
from finetune.work.pulse import Pulse
from finetune.work.sharing import SharingKind, still_wanted
from finetune.work.signals import LeaseLost, Wishes
from tenants.access import Principal
from tenants.actor import Actor
from tenants.database.scope import tenant_scope
from tenants.roles import Role, Scope
from tenants.services import audit
from tenants.services.vaults import vault_for
from tenants.vault.vault import Vault

PART_ROWS = 16  # whose items are kept together


class Evaluating(SharingKind):
    model = Evaluation
    lost = "The worker that evaluated was lost."
    fix = "Create the evaluation again; if it fails again, tell the operator its id."

    def lack(self, *, tenant_id: UUID, key: UUID) -> Wait | None:
        with tenant_scope(tenant_id):
            row = Evaluation.objects.select_related("job").filter(id=key).first()
            if row is None or not subjects.is_too_early(row):
                return None
            return JobNotEnded(job=row.job.public_id)

    def admits(self, subject: Evaluation) -> bool:
        return super().admits(subject) and not subjects.is_too_early(subject)

    def ready(self, waiting: QuerySet[Any]) -> QuerySet[Any]:
        return subjects.with_model(waiting)

    def on_claim(self, subject: Evaluation, lease: Lease) -> None:
        """The licence is asked here again, and at each question."""
        if subject.job is not None and subject.artifact is None:
            subject.artifact = Artifact.objects.filter(job=subject.job, deleted_at=None).first()
            if subject.artifact is None:
                raise subjects.without_result(subject.job)
            subject.save(update_fields=["artifact"])
        gateway.resolve(name=subject.model, withheld_too=True)

    def work(self, lease: Lease, pulse: "Pulse[Wishes]") -> None:
        _evaluate(lease, pulse)


EVALUATE = Evaluating()


@dataclass(frozen=True)
class Plan:
    evaluation: Evaluation
    questions: Sequence[Question]
    sides: Sequence[Asked]
    asker: Asker


def _evaluate(lease: Lease, pulse: "Pulse[Wishes]") -> None:
    still = still_wanted(lease, pulse)
    with tenant_scope(lease.tenant_id):
        evaluation = Evaluation.objects.select_related(
            "suite", "file", "base", "artifact__job__training_data"
        ).get(id=lease.row_id)
        vault = vault_for(lease.tenant_id)
        plan = _plan(evaluation, vault, still)
    items = _kept(evaluation, vault)
    leases.tell_progress(lease, done=len(items) * len(plan.sides), total=_total(plan))
    began = time.monotonic()
    while left := plan.questions[len(items) : len(items) + PART_ROWS]:
        still()
        made = async_to_sync(plan.asker.items)(left)
        items += made
        _keep(lease, plan, vault, made)
        more = len(items) < len(plan.questions)
        if more and EVALUATE.gives_way(lease, began):
            return
    with tenant_scope(lease.tenant_id):
        readings = readings_of(evaluation.artifact)
    _finish(lease, plan, vault, items, seen_of(plan.questions, readings, vault, still))


def _total(plan: Plan) -> int:
    return len(plan.questions) * len(plan.sides)


def _plan(evaluation: Evaluation, vault: Vault, still: Any) -> Plan:
    """In the open scope."""
    request = EvaluationRequest.model_validate(evaluation.requested)
    with vault.open(evaluation.file.object_name) as lines:
        questions = list(read_questions(lines, request.messages))
    sides = _sides(evaluation, request, vault)
    criteria = CRITERIA.validate_json(json.dumps(evaluation.suite.criteria))
    by = Principal(
        evaluation.tenant_id, Actor.system("worker"), frozenset({Scope.INFER}), Role.VIEWER
    )
    asker = Asker(
        sides=sides,
        criteria=criteria,
        judges=targets_of(*map(judges_of, criteria)),
        sampling=request.sampling,
        samples=request.samples,
        by=by,
        still=still,
    )
    return Plan(evaluation, questions, sides, asker)


def _sides(evaluation: Evaluation, request: EvaluationRequest, vault: Vault) -> list[Asked]:
    """The base first, so that what a tuned model is weighed against is there when it is stopped."""
    asked = Asked("model", gateway.resolve(name=evaluation.model, withheld_too=True))
    artifact = evaluation.artifact
    if not (request.beside and artifact):
        return [asked]
    base = gateway.resolve(name=evaluation.base.name)
    examples = examples_of(artifact, vault, request.examples)
    shown = [Asked("base_with_examples", base, examples)] if examples else []
    return [Asked("base", base), *shown, asked]


def _kept(evaluation: Evaluation, vault: Vault) -> list[dict[str, Any]]:
    """The items that attempts before this one have kept."""
    parts = (vault.read_bytes(part["name"]) for part in evaluation.parts)
    return [orjson.loads(line) for part in parts for line in part.splitlines()]


def _keep(lease: Lease, plan: Plan, vault: Vault, items: list[dict[str, Any]]) -> None:
    lines = b"".join(json.dumps(item, ensure_ascii=False).encode() + b"\n" for item in items)
    with tenant_scope(lease.tenant_id):
        require_room(len(lines))
    name = f"{evaluation_prefix(lease.row_id)}{secrets.token_hex(8)}.jsonl"
    vault.put_bytes(name, lines)
    try:
        with leases.fenced(lease) as row:
            row.parts = [*row.parts, {"name": name, "rows": len(items), "bytes": len(lines)}]
            row.done = sum(part["rows"] for part in row.parts) * len(plan.sides)
            row.save(update_fields=["parts", "done"])
            leases.made_progress(lease)
    except LeaseLost:
        vault.delete(name)
        raise


def _finish(
    lease: Lease, plan: Plan, vault: Vault, items: list[dict[str, Any]], seen: int | None
) -> None:
    name = f"{evaluation_prefix(lease.row_id)}{secrets.token_hex(8)}.json"
    vault.put_bytes(name, orjson.dumps(tags_of(items)))
    ended = False
    try:
        with leases.fenced(lease) as row:
            if not leases.grant_wishes(lease, row):
                report = report_of(plan.evaluation, items, seen)
                leases.finish(lease, tags_object=name, report=report, marks=scores_of(items))
                _open_gate(plan.evaluation, report)
                ended = True
    finally:
        if not ended:  # cancelled meanwhile, or the lease lost
            vault.delete(name)


# Beside the digest's: a luckier seed, or no examples beside the base, is another question
OF_A_GATE = ("gate", "sampling", "examples", "beside")


def _open_gate(evaluation: Evaluation, report: dict[str, Any]) -> None:
    """Also of those before it that asked the same of the model and were not answered to."""
    request = EvaluationRequest.model_validate(evaluation.requested)
    gate = request.gate
    if gate is None or not gate.is_reached(report):
        return
    # Rows of before there was a choice have none
    others = Q(requested__samples=None) if request.samples == 1 else Q()
    alike = Evaluation.objects.filter(
        others | Q(requested__samples=request.samples),
        job=evaluation.job_id,
        digest=evaluation.digest,
        **{f"requested__{name}": evaluation.requested[name] for name in OF_A_GATE},
        withholds=True,
    )
    if alike.update(withholds=False):
        audit.record(
            actor=Actor.system("worker"),
            action="model.accept",
            target=evaluation.model,
            data={"evaluation": evaluation.public_id},
        )
