"""Creating a job and moving its state: what is refused, what is written with each step."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from faults import OurFault, UserFault
from finetune import events
from finetune.models import Event, Job, Run
from finetune.records.kinds import RecordKind
from finetune.services.jobs import lifecycle
from finetune.services.jobs.budget import require_budget
from finetune.services.jobs.steps import step
from finetune.services.runs.publishing import model_name
from finetune.states import JOB_STEPS, JobState, RunState
from finetune.trainer.objectives import METHODS
from tenants.database.scope import tenant_scope
from tenants.errors import NotFound, Refused
from tenants.models import AuditEntry, LicenseState
from tenants.services.licences import change_license, charge
from tests.finetune.services.jobs.test_validation import check
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench


def test_a_new_job_is_validating_with_its_first_events_and_an_audit_entry(bench: Bench) -> None:
    job = bench.create(suffix="home", metadata={"team": "a"})
    with tenant_scope(bench.tenant.id):
        assert job.state == JobState.VALIDATING_FILES
        assert [e.seq for e in job.events.order_by("seq")] == [1, 2]
        assert job.events_count == 2
        assert 0 <= job.seed < 2**31
        assert AuditEntry.objects.filter(action="job.create", target=job.public_id).count() == 1
        assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("suffix", "named"),
    [("home", "home"), ("my bot: v2/é", "my-bot-v2"), ("客服", ""), ("x" * 64, "x" * 64)],
)
def test_a_suffix_is_kept_and_the_name_has_what_an_address_bears(
    bench: Bench, suffix: str, named: str
) -> None:
    job = bench.create(suffix=suffix)
    assert job.suffix == suffix
    name = model_name(job, bench.tenant)
    assert name == f"ft:{bench.base.name}:{bench.tenant.slug}:{named}:{job.id.hex[:8]}"


def test_a_given_seed_is_kept(bench: Bench) -> None:
    assert bench.create(seed=7).seed == 7


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"batch_size": 257}}, "hyperparameters.batch_size"),
        (
            {"hyperparameters": {"learning_rate_multiplier": 0.0}},
            "hyperparameters.learning_rate_multiplier",
        ),
        (
            {"hyperparameters": {"learning_rate_multiplier": float("nan")}},
            "hyperparameters.learning_rate_multiplier",
        ),
        ({"suffix": ""}, "suffix"),
        ({"suffix": "a\nb"}, "suffix"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"max_length": 513}, "max_length"),
        ({"adapter": {"r": 0}}, "adapter.r"),
        ({"adapter": {"rank": 8}}, "adapter.rank"),
        ({"evaluation": {"keep": "best"}}, "validation_file"),
        ({"evaluation": {"keep": "first"}}, "evaluation.keep"),
        ({"metadata": {"k" * 65: "v"}}, "metadata." + "k" * 64),
        ({"metadata": {str(i): "v" for i in range(17)}}, "metadata"),
    ],
)
def test_a_value_out_of_range_is_named(bench: Bench, changes: dict[str, Any], param: str) -> None:
    with pytest.raises(UserFault) as raised:
        bench.create(**changes)
    assert raised.value.param == param
    assert raised.value.status == 400


@pytest.mark.parametrize(
    ("targets", "wrong", "near"),
    [
        (["q_proj", "v_porj"], "v_porj", "'v_proj'"),
        (["layers.1.self_attn.q_prj"], "layers.1.self_attn.q_prj", "layers.1.self_attn.q_proj'"),
        (["zzz"], "zzz", "'q_proj'"),
        (["self_attn"], "self_attn", "'q_proj'"),  # a module, and no linear layer
        # Not adapters' places: the bundle would carry the licensed base's whole table
        (["embed_tokens"], "embed_tokens", "'q_proj'"),
        (["q_proj", "lm_head"], "lm_head", "'q_proj'"),
        (["proj"], "proj", "_proj'"),
        (["x" * 9999], "x" * 64, "'q_proj'"),
    ],
)
def test_a_target_that_is_no_layer_of_the_base_is_refused_with_the_nearest(
    bench: Bench, targets: list[str], wrong: str, near: str
) -> None:
    with pytest.raises(UserFault) as raised:
        bench.create(adapter={"targets": targets})
    assert (raised.value.code, raised.value.param) == ("unknown_layer", "adapter.targets")
    assert f"linear layer {wrong!r} for" in raised.value.message
    assert near in raised.value.message
    assert raised.value.status == 400


@pytest.mark.parametrize(
    "targets", [["q_proj", "v_proj"], ["self_attn.q_proj"], ["model.layers.0.mlp.up_proj"]]
)
def test_targets_are_matched_as_peft_matches_them(bench: Bench, targets: list[str]) -> None:
    job = bench.create(adapter={"targets": targets})
    assert job.requested["adapter"] == {"targets": targets}


def test_a_file_that_does_not_serve_is_refused_with_what_to_do(bench: Bench) -> None:
    data = jsonl(chat_rows(12))
    for status, purpose, code in (
        ("error", "fine-tune", "invalid_training_file"),
        ("processed", "user_data", "invalid_file_purpose"),
    ):
        file = bench.add_file(data, status=status, purpose=purpose)
        with pytest.raises(UserFault) as raised:
            bench.create(file=file)
        assert (raised.value.code, raised.value.param) == (code, "training_file")
        assert raised.value.fix


def test_an_unknown_model_or_file_is_not_found(bench: Bench) -> None:
    with pytest.raises(NotFound) as raised:
        bench.create(model="nobody-has-this")
    assert raised.value.param == "model"
    with pytest.raises(NotFound):
        bench.create(model="ft:tiny:x::00000000")
    with pytest.raises(NotFound) as raised:
        bench.create(training_file=uuid.uuid4())
    assert raised.value.param == "training_file"


def test_without_a_licence_to_train_a_job_is_refused(bench: Bench) -> None:
    change_license(
        tenant_id=bench.tenant.id,
        license_id=bench.license.id,
        actor="test",
        state=LicenseState.SUSPENDED,
    )
    with pytest.raises(Refused, match="is suspended"):
        bench.create()


def test_a_used_up_budget_is_refused_at_submit(bench: Bench) -> None:
    change_license(
        tenant_id=bench.tenant.id, license_id=bench.license.id, actor="test", token_budget=10
    )
    with tenant_scope(bench.tenant.id):
        charge(licence=bench.license, kind="train", tokens=10, reference="earlier")
    with pytest.raises(Refused, match="has 0 left"):
        bench.create()


def test_every_step_that_the_table_lacks_is_refused_and_writes_nothing(bench: Bench) -> None:
    job = bench.create()
    for origin in JobState:
        for to in JobState:
            with tenant_scope(bench.tenant.id):
                Job.objects.filter(id=job.id).update(state=origin)
                before = Event.objects.filter(job=job).count()
                if to in JOB_STEPS[origin]:
                    assert step(job, to, events.TrainingDone(steps=1)).state == to
                    assert Event.objects.filter(job=job).count() == before + 1
                else:
                    with pytest.raises(OurFault, match="cannot become"):
                        step(job, to, events.TrainingDone(steps=1))
                    assert Event.objects.filter(job=job).count() == before


def test_a_job_that_is_not_running_is_cancelled_at_once(bench: Bench) -> None:
    job = bench.create()
    with tenant_scope(bench.tenant.id):
        step(job, JobState.QUEUED, events.JobQueued())
        run = Run.objects.create(job=job)
        cancelled = lifecycle.cancel_job(job_id=job.id, actor="test")
        again = lifecycle.cancel_job(job_id=job.id, actor="test")
        run.refresh_from_db()
    assert cancelled.state == again.state == JobState.CANCELLED
    assert cancelled.finished_at is not None
    assert run.state == RunState.CANCELLED
    assert bench.messages(job).count("The fine-tuning job was cancelled.") == 1


def test_a_queued_job_pauses_and_resumes_as_a_new_run(bench: Bench) -> None:
    job = bench.create()
    with tenant_scope(bench.tenant.id):
        step(job, JobState.QUEUED, events.JobQueued())
        Run.objects.create(job=job)
        assert lifecycle.pause_job(job_id=job.id, actor="test").state == JobState.PAUSED
        assert not Run.objects.filter(job=job, state=RunState.WAITING).exists()
        assert lifecycle.resume_job(job_id=job.id, actor="test").state == JobState.QUEUED
        assert Run.objects.filter(job=job, state=RunState.WAITING).count() == 1


@pytest.mark.parametrize("verb", ["cancel_job", "pause_job", "resume_job"])
def test_a_job_that_has_ended_stays_as_it_is(bench: Bench, verb: str) -> None:
    job = bench.create()
    with tenant_scope(bench.tenant.id):
        step(job, JobState.FAILED, events.JobFailed(error="x", reason="x"))
        with pytest.raises(UserFault) as raised:
            getattr(lifecycle, verb)(job_id=job.id, actor="test")
    assert raised.value.status == 400
    assert bench.job(job).state == JobState.FAILED


def test_another_tenants_job_is_not_found(bench: Bench) -> None:
    job = bench.create()
    with tenant_scope(uuid.uuid4()), pytest.raises(NotFound):
        lifecycle.cancel_job(job_id=job.id, actor="test")


def test_a_file_of_another_kind_of_record_than_the_method_takes_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = RecordKind("pair", lambda record, encode: encode(record))
    monkeypatch.setitem(METHODS, "preference", replace(METHODS["supervised"], records=pairs))
    file, _ = check(bench, jsonl(chat_rows(4)))
    with pytest.raises(UserFault) as refused:
        bench.create(file=file, method="preference")
    assert (refused.value.code, refused.value.param) == ("wrong_kind_of_record", "training_file")
    assert refused.value.status == 400
    assert bench.create(file=file, method="supervised").method == "supervised"


def test_a_job_is_made_while_another_is_held_to_the_licence(
    committed: None, tiny_base: Path
) -> None:
    """Its licence is named by a foreign key, which is looked at as it is committed: had it to wait
    there, the two would wait for each other, and one of them would fail."""
    bench = new_bench(tiny_base)
    first, request = bench.create(), bench.request()

    def make_another() -> Any:
        try:
            with tenant_scope(bench.tenant.id):
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL lock_timeout = '5s'")
                return lifecycle.create_job(request=request, actor="test").license_id
        finally:
            connection.close()

    with tenant_scope(bench.tenant.id), ThreadPoolExecutor(1) as pool:
        Job.objects.filter(id=first.id).update(
            resolved={"spec": {"epochs": 1}, "trained_tokens": 1}
        )
        require_budget(Job.objects.get(id=first.id))
        assert pool.submit(make_another).result() == bench.license.id
