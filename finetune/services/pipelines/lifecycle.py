"""What a tenant does with a pipeline: create, cancel, pause, resume, approve, try again.

Each verb is one transaction in the open scope. The pipeline is locked before any job of its.
"""

import secrets
from uuid import UUID

from django.utils import timezone

from faults import UserFault
from finetune.models import Job, Pipeline, Stage
from finetune.services.jobs import lifecycle as jobs
from finetune.services.jobs.lifecycle import Admitted, admit
from finetune.services.jobs.request import MAX_SEED, JobRequest
from finetune.services.pipelines.advancing import ADVANCE
from finetune.services.pipelines.judges import require_asking
from finetune.services.pipelines.position import At, Position, position, stages_of
from finetune.services.pipelines.request import PipelineRequest, check_pipeline, placed
from finetune.states import LIVE_JOB_STATES, LIVE_LEASES, JobState, LeaseState
from finetune.trainer.objectives import METHODS
from finetune.work import leases, nudges
from finetune.work.turns import require_turn
from tenants.access import Principal
from tenants.errors import NotFound
from tenants.names import readable
from tenants.rights import Right
from tenants.services import audit
from tenants.services.licences import require_license

MOST_LIVE = 20  # pipelines of a tenant that have not ended
PAUSABLE = (JobState.QUEUED, JobState.RUNNING)


def create_pipeline(*, request: PipelineRequest, by: Principal) -> Pipeline:
    """A pipeline that waits for a worker, with its stages.

    Raises what creating the first stage's job would, of every stage and with its place, and
    TooManyLive for too many that have not ended.
    """
    check_pipeline(request)
    require_turn(
        Pipeline,
        MOST_LIVE,
        code="too_many_pipelines",
        said=f"{MOST_LIVE} pipelines of your organisation have not ended.",
        retry_after=60,
        fix="Wait for one of them, or cancel it.",
    )
    asked = _admitted(request, by)
    first = asked[0]
    pipeline = Pipeline.objects.create(
        base=first.base,
        license=require_license(model=first.base.name, right=Right.TRAIN, tokens=1),
        parent=first.start.artifact if first.start else None,
        model=request.model,
        name=readable(request.name, param="name") if request.name else "",
        metadata=request.metadata,
        total=len(asked),
        paused_at=None if request.auto_start else timezone.now(),
        created_by=by.actor,
    )
    for number, (each, stage) in enumerate(zip(asked, request.stages, strict=True), 1):
        seed = each.request.seed
        Stage.objects.create(
            pipeline=pipeline,
            number=number,
            request=each.request.model_dump(mode="json"),
            gate=stage.gate,
            training_file=each.training,
            validation_file=each.validation,
            seed=secrets.randbelow(MAX_SEED) if seed is None else seed,
        )
    data = {"model": request.model, "stages": len(asked)}
    audit.record(actor=by.actor, action="pipeline.create", target=pipeline.public_id, data=data)
    nudges.wake(Pipeline, pipeline.tenant_id, pipeline.id)
    return pipeline


def cancel_pipeline(*, pipeline_id: UUID, actor: str) -> Pipeline:
    """With the job of the stage that is under way; results of stages before it stay.

    Cancelling twice is no error. Raises NotFound, or UserFault when it has already ended.
    """
    pipeline = _locked(pipeline_id)
    if pipeline.state == LeaseState.CANCELLED or pipeline.cancel_requested_at is not None:
        return pipeline
    _require_live(pipeline)
    for job in _under_way(pipeline):
        jobs.cancel_job(job_id=job.id, actor=actor)
    leases.cancel(ADVANCE, key=pipeline.id)
    audit.record(actor=actor, action="pipeline.cancel", target=pipeline.public_id)
    return _woken(pipeline)


def pause_pipeline(*, pipeline_id: UUID, actor: str) -> Pipeline:
    """Nothing of it goes on: a job that runs stops at its next checkpoint, no other begins.

    Pausing twice is no error. Raises NotFound, or UserFault when it has already ended.
    """
    pipeline = _locked(pipeline_id)
    _require_live(pipeline)
    if pipeline.paused_at is not None:
        return pipeline
    for job in _under_way(pipeline):
        if job.state in PAUSABLE:
            jobs.pause_job(job_id=job.id, actor=actor)
    Pipeline.objects.filter(id=pipeline.id).update(paused_at=timezone.now())
    audit.record(actor=actor, action="pipeline.pause", target=pipeline.public_id)
    return _woken(pipeline)


def resume_pipeline(*, pipeline_id: UUID, actor: str) -> Pipeline:
    """Goes on where it was paused, or starts one that was held.

    Raises NotFound, Refused without the licence, or UserFault `pipeline_not_paused`.
    """
    pipeline = _locked(pipeline_id)
    _require_live(pipeline)
    if pipeline.paused_at is None:
        raise UserFault(
            "pipeline_not_paused",
            "The pipeline is not paused.",
            fix="Resume one that is paused or was made with `auto_start: false`.",
        )
    Pipeline.objects.filter(id=pipeline.id).update(paused_at=None)
    for job in _under_way(pipeline):
        if job.state == JobState.PAUSED or job.pause_requested_at is not None:
            jobs.resume_job(job_id=job.id, actor=actor)
    audit.record(actor=actor, action="pipeline.resume", target=pipeline.public_id)
    return _woken(pipeline)


def approve_pipeline(*, pipeline_id: UUID, actor: str) -> Pipeline:
    """A person's yes to the stage that waits for it. Raises NotFound, or UserFault
    `nothing_to_approve`."""
    pipeline = _locked(pipeline_id)
    found = position(pipeline)
    if pipeline.state not in LIVE_LEASES or found.at != At.AWAITING or found.stage is None:
        raise UserFault(
            "nothing_to_approve",
            "No stage of the pipeline waits for approval.",
            fix="Approve while its status is `awaiting_approval`.",
        )
    Stage.objects.filter(id=found.stage.id).update(
        approved_at=timezone.now(), approved_by=actor[:120]
    )
    audit.record(
        actor=actor,
        action="pipeline.approve",
        target=pipeline.public_id,
        data={"stage": found.stage.number},
    )
    return _woken(pipeline)


def retry_pipeline(*, pipeline_id: UUID, by: Principal) -> Pipeline:
    """From the stage that ended it; what the stages before it made is gone on from. The tokens of
    the stages that are left are reserved anew. Raises NotFound, Refused where models judge in them
    and may not be asked, or UserFault `pipeline_not_failed`."""
    pipeline = _locked(pipeline_id)
    if pipeline.state != LeaseState.FAILED:
        raise UserFault(
            "pipeline_not_failed",
            "Only a pipeline that has failed can be tried again.",
            fix="Create another pipeline.",
        )
    for stage in stages_of(pipeline):
        if stage.job is None or stage.job.state != JobState.SUCCEEDED:
            require_asking(JobRequest.model_validate(stage.request), pipeline.base, by)
    found = _again(pipeline)
    Pipeline.objects.filter(id=pipeline.id).update(
        state=LeaseState.WAITING, error=None, attempts=0, finished_at=None, not_before=None,
        wait_reason="", cancel_requested_at=None, paused_at=None, reserved_at=None,
    )  # fmt: skip
    number = found.stage.number if found.stage else 1
    audit.record(
        actor=by.actor,
        action="pipeline.retry",
        target=pipeline.public_id,
        data={"stage": number},
    )
    return _woken(pipeline)


def _again(pipeline: Pipeline) -> Position:
    """The stage that ended it gets another job."""
    found = position(pipeline)
    if found.at in (At.STOPPED, At.SHUT) and found.stage is not None:
        Stage.objects.filter(id=found.stage.id).update(job=None)
    return found


def _admitted(request: PipelineRequest, by: Principal) -> list[Admitted]:
    """Each stage as a job of its own: on the model until one has made what writes, the others on
    its base with the first one's adapter, as they will go on with that."""
    asked: list[Admitted] = []
    writes = False
    for number, stage in enumerate(request.stages, 1):
        job = stage.job
        if asked:
            job = job.model_copy(update={"keep_optimizer": False})
        if writes:
            first = asked[0]
            own = {"model": first.base.name, "adapter": first.request.adapter}
            job = job.model_copy(update=own)
        writes |= METHODS[job.method].family != "scoring"
        try:
            asked.append(admit(job))
            require_asking(job, asked[0].base, by)
        except UserFault as fault:
            raise placed(fault, number) from fault
    return asked


def _locked(pipeline_id: UUID) -> Pipeline:
    pipeline = Pipeline.objects.select_for_update().filter(id=pipeline_id).first()
    if pipeline is None:
        raise NotFound(Pipeline.public.missing, "No such pipeline.")
    return pipeline


def _require_live(pipeline: Pipeline) -> None:
    if pipeline.state not in LIVE_LEASES:
        raise UserFault(
            "pipeline_ended",
            f"The pipeline has already ended: it is {pipeline.state}.",
            fix="Try a failed one again, or create another.",
        )


def _under_way(pipeline: Pipeline) -> list[Job]:
    """At most one."""
    jobs_of = [stage.job for stage in stages_of(pipeline)]
    return [job for job in jobs_of if job is not None and job.state in LIVE_JOB_STATES]


def _woken(pipeline: Pipeline) -> Pipeline:
    """As it is now; a worker looks what is to be done."""
    nudges.wake(Pipeline, pipeline.tenant_id, pipeline.id)
    pipeline.refresh_from_db()
    return pipeline
