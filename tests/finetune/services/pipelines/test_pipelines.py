"""Pipelines: every step once, tokens promised before the first, gates, and steering the whole."""

import uuid
from pathlib import Path
from typing import Any

import pytest

from faults import UserFault
from finetune.events import JobFailed, JobQueued, JobStarted, JobSucceeded
from finetune.models import Artifact, Estimate, Job, Pipeline, Run, Stage
from finetune.services.files import intake
from finetune.services.jobs.steps import step
from finetune.services.jobs.validation import VALIDATE
from finetune.services.models.artifacts import delete_model
from finetune.services.pipelines import advancing, lifecycle
from finetune.services.pipelines.advancing import ADVANCE
from finetune.services.pipelines.position import At, is_better, position
from finetune.services.pipelines.request import PipelineRequest, StageRequest, check_pipeline
from finetune.services.pipelines.told import status_of, told
from finetune.states import JobState
from finetune.work.perform import perform
from tenants.database.scope import tenant_scope
from tenants.errors import Conflict, NotFound
from tenants.models import AuditEntry
from tenants.services.licences import change_license
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench
from tests.fixtures.principals import somebody

ADAPTER = {"r": 4, "alpha": 8.0, "dropout": 0.0, "targets": "all-linear"}
ADAPTER |= {"use_dora": False, "use_rslora": False}
BETTER = {"rows": 6, "difference": -0.5, "interval": [-0.7, -0.3], "p_value": 0.01}
EPOCH = {"n_epochs": 1}


def ask(bench: Bench, *gates: str, **changes: Any) -> Pipeline:
    """As many stages, each with a file of its own."""
    adapter = {"r": 4, "alpha": 8}
    stages = []
    for number, gate in enumerate(gates):
        held_out = bench.add_file(jsonl(chat_rows(6, start=900))) if gate == "better" else None
        file = bench.add_file(jsonl(chat_rows(12, start=100 * number)))
        job = bench.request(
            file=file, adapter=adapter, hyperparameters=EPOCH,
            validation_file=held_out.id if held_out else None,
        )  # fmt: skip
        stages.append(StageRequest(job=job, gate=gate))  # type: ignore[arg-type]
    request = PipelineRequest(stages=tuple(stages), **changes)
    with tenant_scope(bench.tenant.id):
        return lifecycle.create_pipeline(request=request, by=somebody(bench.tenant.id))


def advance(bench: Bench, pipeline: Pipeline) -> Pipeline:
    """Does what a worker does."""
    perform(ADVANCE, tenant_id=bench.tenant.id, key=pipeline.id)
    return fresh(bench, pipeline)


def fresh(bench: Bench, pipeline: Pipeline) -> Pipeline:
    with tenant_scope(bench.tenant.id):
        return Pipeline.objects.select_related("base", "license").get(id=pipeline.id)


def stages(bench: Bench, pipeline: Pipeline) -> list[Stage]:
    with tenant_scope(bench.tenant.id):
        rows = Stage.objects.filter(pipeline=pipeline).order_by("number")
        return list(rows.select_related("job"))


def status(bench: Bench, pipeline: Pipeline) -> str:
    with tenant_scope(bench.tenant.id):
        return status_of(Pipeline.objects.get(id=pipeline.id))


def job_of(bench: Bench, pipeline: Pipeline, number: int) -> Job:
    job = stages(bench, pipeline)[number - 1].job
    assert job is not None
    return job


def succeed(bench: Bench, job: Job, **report: Any) -> Artifact:
    """As publishing ends a job."""
    with tenant_scope(bench.tenant.id):
        artifact = Artifact.objects.create(
            job=job, base=bench.base, digest="sha256:1", adapter_sha256=uuid.uuid4().hex * 2,
            model_name=f"ft:tiny:{bench.tenant.slug}::{job.id.hex[:8]}", bundle_object="b",
            bundle_bytes=1, bundle_sha256="d", adapter_object="a", adapter_config={},
            passport={"hyperparameters": {"adapter": ADAPTER}}, report={"steps": 3} | report,
        )  # fmt: skip
        begin(job)
        step(job, JobState.SUCCEEDED, JobSucceeded(model="m", artifact="a", digest="d"))
        return artifact


def begin(job: Job) -> None:
    step(job, JobState.QUEUED, JobQueued())
    step(job, JobState.RUNNING, JobStarted(run="r", epoch=1, isolation="none"))


def test_each_stage_goes_on_from_the_result_of_the_one_before(bench: Bench) -> None:
    pipeline = ask(bench, "none", "none")
    assert status(bench, pipeline) == "preparing"
    advance(bench, pipeline)
    first = job_of(bench, pipeline, 1)
    assert (first.parent_id, first.state) == (None, JobState.VALIDATING_FILES)
    assert stages(bench, pipeline)[1].job is None
    assert bench.events(first, "stage_of_pipeline")[0].message == (
        f"Stage 1 of 2 of {pipeline.public_id}."
    )
    result = succeed(bench, first)
    advance(bench, pipeline)
    second = job_of(bench, pipeline, 2)
    assert second.parent_id == result.id
    assert second.requested["adapter"]["r"] == 4
    last = succeed(bench, second)
    ended = advance(bench, pipeline)
    assert (ended.state, ended.done, ended.total) == ("succeeded", 2, 2)
    with tenant_scope(bench.tenant.id):
        assert told(ended)["fine_tuned_model"] == last.model_name


def test_a_worker_that_comes_again_or_dies_takes_no_step_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = ask(bench, "none", "none")
    noted = advancing.note

    def dies(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(advancing, "note", dies)  # the job is made by then
    advance(bench, pipeline)
    with tenant_scope(bench.tenant.id):
        assert not Job.objects.exists()
        Pipeline.objects.update(not_before=None)
    monkeypatch.setattr(advancing, "note", noted)
    for _ in range(3):
        epoch = advance(bench, pipeline).epoch
    with tenant_scope(bench.tenant.id):
        assert Job.objects.count() == 1
    assert epoch == 2, "what waits for a job is not claimed"


def test_all_stages_tokens_are_promised_or_nothing_begins(bench: Bench) -> None:
    pipeline = ask(bench, "none", "none")
    advance(bench, pipeline)
    tokens = [stage.trained_tokens or 0 for stage in stages(bench, pipeline)]
    assert min(tokens) > 0
    for budget, state in ((sum(tokens) - 1, "failed"), (sum(tokens), "waiting")):
        other = new_bench(Path(bench.base.source))
        change_license(
            tenant_id=other.tenant.id, license_id=other.license.id, actor="t", token_budget=budget
        )
        asked = advance(other, ask(other, "none", "none"))
        assert asked.state == state
        with tenant_scope(other.tenant.id):
            assert Job.objects.count() == (state == "waiting")
    assert asked.error is None
    job = other.create(file=other.add_file(jsonl(chat_rows(12))), hyperparameters=EPOCH)
    perform(VALIDATE, tenant_id=other.tenant.id, key=job.id)
    refused = other.job(job)
    assert refused.state == JobState.FAILED, "what is promised to a pipeline is not given twice"
    first = job_of(other, asked, 1)
    perform(VALIDATE, tenant_id=other.tenant.id, key=first.id)
    assert other.job(first).state == JobState.QUEUED, "its own promise does not stand in its way"


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        (BETTER, True),
        (BETTER | {"interval": None}, True),
        (BETTER | {"interval": [-0.7, 0.1]}, False),
        (BETTER | {"difference": 0.2, "interval": [0.1, 0.3]}, False),
        (None, False),
    ],
)
def test_better_is_what_chance_does_not_explain(change: Any, passes: bool) -> None:
    assert is_better({"validation_change": change}) == passes


def test_a_stage_that_made_nothing_better_ends_it_and_can_be_tried_again(bench: Bench) -> None:
    pipeline = ask(bench, "better", "none")
    advance(bench, pipeline)
    first = job_of(bench, pipeline, 1)
    succeed(bench, first, validation_change=BETTER | {"interval": [-0.7, 0.1]})
    ended = advance(bench, pipeline)
    assert ended.state == "failed"
    assert (ended.error or {})["code"] == "gate_not_passed"
    assert (ended.error or {})["param"] == "stages.0.gate"
    with tenant_scope(bench.tenant.id):
        again = lifecycle.retry_pipeline(pipeline_id=pipeline.id, by=somebody(bench.tenant.id))
    assert (again.state, again.error, again.reserved_at) == ("waiting", None, None)
    advance(bench, pipeline)
    second = job_of(bench, pipeline, 1)
    assert second.id != first.id
    succeed(bench, second, validation_change=BETTER)
    advance(bench, pipeline)
    assert job_of(bench, pipeline, 2).parent_id is not None


def test_a_stage_waits_for_a_persons_yes(bench: Bench) -> None:
    pipeline = ask(bench, "approval", "none")
    with tenant_scope(bench.tenant.id), pytest.raises(UserFault) as raised:
        lifecycle.approve_pipeline(pipeline_id=pipeline.id, actor="test")
    assert raised.value.code == "nothing_to_approve"
    advance(bench, pipeline)
    succeed(bench, job_of(bench, pipeline, 1))
    advance(bench, pipeline)
    assert status(bench, pipeline) == "awaiting_approval"
    assert stages(bench, pipeline)[1].job is None
    with tenant_scope(bench.tenant.id):
        lifecycle.approve_pipeline(pipeline_id=pipeline.id, actor="ann")
    advance(bench, pipeline)
    assert job_of(bench, pipeline, 2).state == JobState.VALIDATING_FILES
    assert stages(bench, pipeline)[0].approved_by == "ann"


def test_a_job_that_fails_ends_it_with_its_reason_and_is_made_again(bench: Bench) -> None:
    pipeline = ask(bench, "none", "none")
    advance(bench, pipeline)
    result = succeed(bench, job_of(bench, pipeline, 1))
    advance(bench, pipeline)
    second = job_of(bench, pipeline, 2)
    error = {"code": "x", "message": "It broke.", "param": "training_file", "where": "line 3"}
    with tenant_scope(bench.tenant.id):
        step(second, JobState.FAILED, JobFailed(error="x", reason="It broke."), error=error)
    ended = advance(bench, pipeline)
    assert ended.state == "failed"
    told_ = ended.error or {}
    assert (told_["code"], told_["param"]) == ("stage_failed", "stages.1.training_file")
    assert (told_["where"], "It broke." in told_["message"]) == ("line 3", True)
    with tenant_scope(bench.tenant.id):
        lifecycle.retry_pipeline(pipeline_id=pipeline.id, by=somebody(bench.tenant.id))
    advance(bench, pipeline)
    again = job_of(bench, pipeline, 2)
    assert again.id != second.id
    assert again.parent_id == result.id, "what the stages before made is kept"
    with tenant_scope(bench.tenant.id), pytest.raises(UserFault) as raised:
        lifecycle.retry_pipeline(pipeline_id=pipeline.id, by=somebody(bench.tenant.id))
    assert raised.value.code == "pipeline_not_failed"


def test_cancelling_ends_the_job_under_way_and_begins_no_other(bench: Bench) -> None:
    pipeline = ask(bench, "none", "none")
    advance(bench, pipeline)
    with tenant_scope(bench.tenant.id):
        ended = lifecycle.cancel_pipeline(pipeline_id=pipeline.id, actor="test")
        again = lifecycle.cancel_pipeline(pipeline_id=pipeline.id, actor="test")
    assert ended.state == again.state == "cancelled"
    assert job_of(bench, pipeline, 1).state == JobState.CANCELLED
    advance(bench, pipeline)
    assert stages(bench, pipeline)[1].job is None
    with tenant_scope(bench.tenant.id):
        acts = AuditEntry.objects.filter(target=pipeline.public_id).order_by("seq")
        assert list(acts.values_list("action", flat=True)) == ["pipeline.create", "pipeline.cancel"]
        with pytest.raises(UserFault) as raised:
            lifecycle.pause_pipeline(pipeline_id=pipeline.id, actor="test")
    assert raised.value.code == "pipeline_ended"


def test_paused_while_files_are_read_the_job_is_held_and_goes_on_with_the_whole(
    bench: Bench,
) -> None:
    pipeline = ask(bench, "none", "none")
    advance(bench, pipeline)
    with tenant_scope(bench.tenant.id):
        lifecycle.pause_pipeline(pipeline_id=pipeline.id, actor="test")
    first = job_of(bench, pipeline, 1)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=first.id)
    assert bench.job(first).state == JobState.PAUSED
    assert status(bench, pipeline) == "paused"
    with tenant_scope(bench.tenant.id):
        lifecycle.resume_pipeline(pipeline_id=pipeline.id, actor="test")
        assert Run.objects.filter(job=first).count() == 1
    assert bench.job(first).state == JobState.QUEUED


def test_paused_between_two_stages_the_next_begins_when_it_is_resumed(bench: Bench) -> None:
    pipeline = ask(bench, "none", "none")
    advance(bench, pipeline)
    with tenant_scope(bench.tenant.id):
        lifecycle.pause_pipeline(pipeline_id=pipeline.id, actor="test")
    succeed(bench, job_of(bench, pipeline, 1))
    advance(bench, pipeline)
    assert (status(bench, pipeline), stages(bench, pipeline)[1].job) == ("paused", None)
    with tenant_scope(bench.tenant.id):
        lifecycle.resume_pipeline(pipeline_id=pipeline.id, actor="test")
    advance(bench, pipeline)
    assert job_of(bench, pipeline, 2).state == JobState.VALIDATING_FILES


def test_a_held_one_tells_what_it_takes_and_starts_when_it_is_resumed(bench: Bench) -> None:
    pipeline = ask(bench, "none", "none", auto_start=False)
    held = advance(bench, pipeline)
    assert held.reserved_at is not None
    assert (status(bench, pipeline), stages(bench, pipeline)[0].job) == ("paused", None)
    with tenant_scope(bench.tenant.id):
        found = told(held)
        wanted = Estimate.objects.count()
    parts = [stage["expected"]["trained_tokens"] for stage in found["stages"]]
    assert found["estimate"]["trained_tokens"] == sum(parts) > 0
    assert found["estimate"]["licence"]["reserved"] == sum(parts)
    assert wanted in (0, 2), "what nobody measured is tried"
    with tenant_scope(bench.tenant.id):
        lifecycle.resume_pipeline(pipeline_id=pipeline.id, actor="test")
    advance(bench, pipeline)
    assert job_of(bench, pipeline, 1).state == JobState.VALIDATING_FILES


def test_what_it_still_needs_is_not_deleted(bench: Bench) -> None:
    pipeline = ask(bench, "none", "none")
    advance(bench, pipeline)
    result = succeed(bench, job_of(bench, pipeline, 1))
    file = stages(bench, pipeline)[1].training_file_id
    with tenant_scope(bench.tenant.id):
        with pytest.raises(Conflict) as raised:
            intake.delete_file(file_id=file, actor="test")
        assert raised.value.code == "file_in_use"
        with pytest.raises(Conflict) as raised:
            delete_model(name=result.model_name, actor="test")
        assert raised.value.code == "model_in_use"
        lifecycle.cancel_pipeline(pipeline_id=pipeline.id, actor="test")
        intake.delete_file(file_id=file, actor="test")
        delete_model(name=result.model_name, actor="test")


def test_a_file_that_cannot_be_used_ends_it_before_the_first_stage(bench: Bench) -> None:
    pipeline = ask(bench, "none", "none")
    bad = bench.add_file(b'{"messages": []}\n')
    with tenant_scope(bench.tenant.id):
        second = Stage.objects.get(pipeline=pipeline, number=2)
        second.request |= {"training_file": str(bad.id)}
        second.training_file = bad
        second.save()
    ended = advance(bench, pipeline)
    assert ended.state == "failed"
    assert (ended.error or {})["param"] == "stages.1.training_file"
    assert stages(bench, pipeline)[0].job is None


@pytest.mark.parametrize(
    ("gates", "param"),
    [(("none",), "stages"), (("none",) * 9, "stages"), (("none", "approval"), "stages.1.gate")],
)
def test_what_is_no_pipeline_is_refused_with_its_place(
    bench: Bench, gates: tuple[str, ...], param: str
) -> None:
    with pytest.raises(UserFault) as raised:
        ask(bench, *gates)
    assert raised.value.param == param


def test_another_tenants_pipeline_is_not_found(bench: Bench) -> None:
    pipeline = ask(bench, "none", "none")
    with tenant_scope(uuid.uuid4()):
        for verb in ("cancel", "pause", "resume", "approve", "retry"):
            act = getattr(lifecycle, f"{verb}_pipeline")
            by: Any = somebody(bench.tenant.id) if verb == "retry" else "test"
            with pytest.raises(NotFound):
                act(pipeline_id=pipeline.id, **{"by" if verb == "retry" else "actor": by})
    with tenant_scope(bench.tenant.id):
        assert position(pipeline).at == At.PREPARING


def test_a_stage_trains_on_one_file(bench: Bench) -> None:
    further = ({"file": uuid.uuid4()},)
    stage = StageRequest(job=bench.request())
    several = StageRequest(job=bench.request(further_files=further))
    check_pipeline(PipelineRequest(stages=(stage, stage)))
    with pytest.raises(UserFault) as raised:
        check_pipeline(PipelineRequest(stages=(stage, several)))
    assert (raised.value.code, raised.value.param) == ("settings_clash", "stages.1.training_files")
