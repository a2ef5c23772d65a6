"""The kind of work that takes a pipeline's next step: reads the files of all stages and reserves
their tokens, makes the next stage's job, or ends. A step is one transaction, so a worker that dies
has taken it or not; the end of a stage's job, or the sweeper, calls for the next."""

from faults import Fault, UserFault
from finetune.events import StageOfPipeline
from finetune.models import Artifact, Estimate, Job, Pipeline, Stage
from finetune.services.files.checking import CHECK, why_waiting
from finetune.services.jobs.judges import asker
from finetune.services.jobs.lifecycle import create_job
from finetune.services.jobs.request import JobRequest
from finetune.services.jobs.steps import note
from finetune.services.jobs.validation import file_fault, is_done
from finetune.services.pipelines import wishes
from finetune.services.pipelines.judges import settled
from finetune.services.pipelines.position import WAITING, At, Position, position
from finetune.services.pipelines.request import field, placed
from finetune.services.pipelines.reserving import reserve
from finetune.services.runs import pace
from finetune.states import DatasetState
from finetune.work import leases, nudges
from finetune.work.kinds import Lease, OperationKind
from finetune.work.perform import perform
from finetune.work.pulse import Pulse
from finetune.work.signals import Wishes
from finetune.work.turns import TooManyLive
from tenants.database.scope import tenant_scope

ACTOR = "system:worker"
READ_SECONDS = 5  # until files that others read are looked at again


class Advancing(OperationKind):
    model = Pipeline
    lost = "The worker that was at it was lost."
    fix = "Try the pipeline again; if it fails again, tell the operator its id."

    def admits(self, subject: Pipeline) -> bool:
        return position(subject).at not in WAITING

    def run(self, lease: Lease, pulse: "Pulse[Wishes]") -> None:
        try:
            if _prepared(lease) and not _ended(lease):
                leases.wait(lease, reason=None, seconds=0)
        except TooManyLive as busy:
            leases.wait(lease, reason=None, seconds=busy.retry_after)


ADVANCE = Advancing()


def _prepared(lease: Lease) -> bool:
    """Whether all stages' tokens are promised; else it waits for files that others read.

    Raises UserFault for a file that is no good, Refused for a licence without so many tokens."""
    with tenant_scope(lease.tenant_id):
        pipeline = Pipeline.objects.get(id=lease.row_id)
        if pipeline.reserved_at is not None:
            return True
        unread = wishes.readings(wishes.open_stages(pipeline))
    for _, _, data in unread:
        perform(CHECK, tenant_id=lease.tenant_id, key=data.id)
    with leases.fenced(lease) as pipeline:
        stages = wishes.open_stages(pipeline)
        found = wishes.readings(stages)
        for stage, name, data in found:
            if data.state == DatasetState.REFUSED:
                raise placed(file_fault(data, name), stage.number)
        waiting = [data for _, _, data in found if not is_done(data)]
        if not waiting:
            reserve(pipeline, stages)
            if pipeline.paused_at is not None:
                _measure(pipeline, stages)
            return True
    leases.wait(lease, reason=why_waiting(waiting[0]), seconds=READ_SECONDS)
    return False


def _measure(pipeline: Pipeline, stages: list[tuple[Stage, Job]]) -> None:
    """Of one that is held: what nobody has measured is tried, as of a wish for an estimate."""
    for stage, job in stages:
        if pace.known(job) is None:
            estimate = Estimate.objects.create(
                requested=stage.request, seed=stage.seed, created_by=pipeline.created_by
            )
            nudges.wake(Estimate, estimate.tenant_id, estimate.id)


def _ended(lease: Lease) -> bool:
    """Takes the step that is due. Raises UserFault where a stage ends the pipeline."""
    with leases.fenced(lease) as pipeline:
        if leases.grant_wishes(lease, pipeline):
            return True
        found = position(pipeline)
        if found.at == At.READY:
            _begin(pipeline, found)
        elif found.at == At.DONE:
            leases.finish(lease, done=pipeline.total)
            return True
    if found.at in (At.STOPPED, At.SHUT):
        raise _fault(found)
    return False


def _begin(pipeline: Pipeline, found: Position) -> None:
    """Makes the stage's job, on the result of the stage before."""
    stage = found.stage
    assert stage is not None  # what is ready is a stage
    request = JobRequest.model_validate(stage.request)
    model = found.result.model_name if found.result else pipeline.model
    grader = settled(request.grader, _made(pipeline))
    wish = request.model_copy(update={"model": model, "seed": stage.seed, "grader": grader})
    try:
        job = create_job(request=wish, actor=ACTOR, by=asker(pipeline.tenant_id))
    except TooManyLive:
        raise
    except UserFault as fault:
        raise placed(fault, stage.number) from fault
    stage.job = job
    stage.save(update_fields=["job"])
    Pipeline.objects.filter(id=pipeline.id).update(done=stage.number - 1)
    told = StageOfPipeline(number=stage.number, of=pipeline.total or 0, pipeline=pipeline.public_id)
    note(job, told)


def _made(pipeline: Pipeline) -> dict[int, str]:
    """By stage, the names of models that can be had."""
    found = Artifact.objects.filter(job__stages__pipeline=pipeline, deleted_at=None)
    return dict(found.values_list("job__stages__number", "model_name"))


def _fault(found: Position) -> Fault:
    stage = found.stage
    assert stage is not None
    assert stage.job is not None  # it has ended
    if found.at == At.SHUT:
        return UserFault(
            "gate_not_passed",
            f"Stage {stage.number} made its validation rows no better, so the next does not begin.",
            fix="Change its data or settings in a new pipeline, or try the stage again.",
            param=field(stage.number, "gate"),
        )
    error = stage.job.error or {}
    reason = error.get("message") or "It was cancelled."
    return UserFault(
        "stage_failed",
        f"Stage {stage.number}, the job {stage.job.public_id}, has no result. {reason}",
        where=error.get("where"),
        fix=error.get("fix") or "Try the pipeline again from this stage.",
        param=field(stage.number, error.get("param")),
    )
