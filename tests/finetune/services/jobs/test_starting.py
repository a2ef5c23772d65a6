"""Going on from a model of one's own: what is taken over, what is refused, and who may not."""

import hashlib
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from faults import UserFault
from finetune.models import Artifact, CatalogModel, Checkpoint, Evaluation, Job, Run, Suite
from finetune.services.jobs import lifecycle, lineage
from finetune.services.jobs.validation import VALIDATE
from finetune.services.models.artifacts import delete_model
from finetune.services.runs import publishing
from finetune.services.runs.training import TRAIN
from finetune.states import JobState, RunState
from finetune.work import leases
from finetune.work.perform import perform
from tenants.database.scope import tenant_scope
from tenants.errors import Conflict, NotFound, Refused
from tenants.models import LicenseState
from tenants.services.licences import change_license
from tenants.services.tenants import create_key
from tenants.services.vaults import open_vault
from tests.finetune.api.test_dpo import preferences
from tests.fixtures.jobs import Bench, new_bench

ADAPTER = {"r": 4, "alpha": 8.0, "dropout": 0.0, "targets": ["q_proj"]}
ADAPTER |= {"use_dora": False, "use_rslora": False}
FILES = {
    "adapter_model.safetensors": {"sha256": "a" * 64, "bytes": 1},
    "optimizer.safetensors": {"sha256": "b" * 64, "bytes": 1},
}


def made(bench: Bench) -> Artifact:
    """A model as publishing leaves it, and one checkpoint of its job's."""
    job = bench.create(adapter={"r": 4, "alpha": 8, "targets": ["q_proj"]})
    with tenant_scope(bench.tenant.id):
        Job.objects.filter(id=job.id).update(state=JobState.SUCCEEDED)
        run = Run.objects.create(job=job, state=RunState.SUCCEEDED)
        Checkpoint.objects.create(job=job, run=run, epoch=1, step=3, prefix="x/", files=FILES)
        return Artifact.objects.create(
            job=job, base=bench.base, digest="sha256:1", adapter_sha256="c" * 64,
            model_name=f"ft:tiny:{bench.tenant.slug}::{job.id.hex[:8]}", bundle_object="b",
            bundle_bytes=1, bundle_sha256="d", adapter_object="a", adapter_config={},
            passport={"hyperparameters": {"adapter": ADAPTER}}, report={"steps": 3},
        )  # fmt: skip


def test_a_job_goes_on_with_the_models_adapter_and_says_so(bench: Bench) -> None:
    model = made(bench)
    job = bench.create(model=model.model_name)
    assert job.parent_id == model.id
    assert job.start == {
        "model": model.model_name, "step": None, "adapter_sha256": "c" * 64,
        "optimizer_sha256": None,
    }  # fmt: skip
    assert job.base_id == bench.base.id
    assert job.requested["adapter"] == ADAPTER
    [said] = bench.events(job, "job_goes_on_from")
    assert said.message == f"Training goes on from {model.model_name}."


@pytest.mark.parametrize("keeps", [False, True])
def test_a_checkpoint_is_gone_on_from_with_its_optimizer_where_that_is_asked(
    bench: Bench, keeps: bool
) -> None:
    name = f"{made(bench).model_name}:ckpt-step-3"
    job = bench.create(model=name, keep_optimizer=keeps)
    assert job.start == {
        "model": name, "step": 3, "adapter_sha256": "a" * 64,
        "optimizer_sha256": "b" * 64 if keeps else None,
    }  # fmt: skip


def withhold(bench: Bench, model: Artifact) -> None:
    file = bench.add_file(b"{}\n", purpose="evals")
    with tenant_scope(bench.tenant.id):
        Evaluation.objects.create(
            suite=Suite.objects.create(), file=file, model=model.model_name, base=bench.base,
            artifact=model, job=model.job, digest="d", withholds=True,
        )  # fmt: skip


@pytest.mark.parametrize("place", ["", ":ckpt-step-3"])
def test_from_a_model_that_is_withheld_no_job_goes_on(bench: Bench, place: str) -> None:
    """Its weights would leave by the next one's bundle."""
    model = made(bench)
    withhold(bench, model)
    with pytest.raises(Refused) as raised:
        bench.create(model=model.model_name + place)
    assert raised.value.code == "model_withheld"
    with tenant_scope(bench.tenant.id):
        Evaluation.objects.update(withholds=False)
    assert bench.create(model=model.model_name + place).parent_id == model.id


def test_an_optimizer_that_was_not_kept_is_refused(bench: Bench) -> None:
    for model in (made(bench).model_name, bench.base.name):
        with pytest.raises(UserFault) as raised:
            bench.create(model=model, keep_optimizer=True)
        assert (raised.value.code, raised.value.param) == ("optimizer_not_kept", "keep_optimizer")


@pytest.mark.parametrize(
    ("adapter", "param"),
    [({"r": 8}, "adapter.r"), ({"targets": "all-linear"}, "adapter.targets"),
     ({"r": 4, "use_dora": True}, "adapter.use_dora")],
)  # fmt: skip
def test_another_form_of_adapter_is_refused_with_the_setting(
    bench: Bench, adapter: dict[str, Any], param: str
) -> None:
    with pytest.raises(UserFault) as raised:
        bench.create(model=made(bench).model_name, adapter=adapter)
    assert (raised.value.code, raised.value.param) == ("adapter_fixed", param)


def test_equal_settings_and_another_dropout_are_no_other_adapter(bench: Bench) -> None:
    job = bench.create(model=made(bench).model_name, adapter={"r": 4, "dropout": 0.5})
    assert job.requested["adapter"] == ADAPTER | {"dropout": 0.5}


def test_what_is_not_there_any_more_is_not_found(bench: Bench) -> None:
    model = made(bench)
    for name in (f"{model.model_name}x", f"{model.model_name}:ckpt-step-4", "ft:", "ft::"):
        with pytest.raises(NotFound):
            bench.create(model=name)
    with tenant_scope(bench.tenant.id):
        Checkpoint.objects.update(files={})
        with pytest.raises(NotFound):
            lifecycle.base_of(f"{model.model_name}:ckpt-step-3")
        Artifact.objects.update(deleted_at=timezone.now())
    for name in (model.model_name, f"{model.model_name}:ckpt-step-3"):
        with pytest.raises(NotFound):
            bench.create(model=name)


def test_a_base_off_the_shelf_and_a_licence_that_is_gone_are_refused(bench: Bench) -> None:
    model = made(bench)
    change_license(
        tenant_id=bench.tenant.id, license_id=bench.license.id, actor="test",
        state=LicenseState.SUSPENDED,
    )  # fmt: skip
    with pytest.raises(Refused, match="is suspended"):
        bench.create(model=model.model_name)
    CatalogModel.objects.filter(id=bench.base.id).update(retired_at=timezone.now())
    with pytest.raises(UserFault) as raised:
        bench.create(model=model.model_name)
    assert raised.value.code == "base_retired"


def test_another_tenants_model_is_as_one_that_nobody_has(bench: Bench, tiny_base: Path) -> None:
    model, stranger = made(bench), new_bench(tiny_base)
    for name in (model.model_name, f"{model.model_name}:ckpt-step-3"):
        with pytest.raises(NotFound) as raised:
            stranger.create(model=name)
        assert raised.value.code == "model_not_found"


def test_a_model_that_a_live_job_goes_on_from_is_not_deleted(bench: Bench) -> None:
    model = made(bench)
    job = bench.create(model=model.model_name)
    with tenant_scope(bench.tenant.id):
        with pytest.raises(Conflict) as raised:
            delete_model(name=model.model_name, actor="test")
        assert raised.value.code == "model_in_use"
        lifecycle.cancel_job(job_id=job.id, actor="test")
        delete_model(name=model.model_name, actor="test")


@pytest.fixture
def committed_bench(committed: None, tiny_base: Path) -> Bench:
    """The trainer's heartbeat has a connection of its own, which must see the rows."""
    return new_bench(tiny_base)


def test_a_job_that_waits_does_not_begin_from_a_model_that_is_withheld_meanwhile(
    committed_bench: Bench,
) -> None:
    bench = committed_bench
    model = made(bench)
    job = bench.create(model=model.model_name)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    assert bench.job(job).state == JobState.QUEUED
    withhold(bench, model)
    assert leases.claim(TRAIN, tenant_id=bench.tenant.id, key=job.id, worker="test") is None
    ended = bench.job(job)
    assert (ended.state, ended.error["code"]) == (JobState.FAILED, "model_withheld")


@pytest.mark.slow
def test_a_job_that_runs_does_not_give_out_the_weights_of_a_model_that_is_withheld_meanwhile(
    committed_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = committed_bench
    model = trained(bench)
    job = bench.create(model=model.model_name, hyperparameters={"n_epochs": 1, "batch_size": 8})
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    packed = publishing._package

    def withheld_meanwhile(*args: Any) -> Any:
        withhold(bench, model)
        return packed(*args)

    monkeypatch.setattr(publishing, "_package", withheld_meanwhile)
    perform(TRAIN, tenant_id=bench.tenant.id, key=job.id)
    ended = bench.job(job)
    assert (ended.state, ended.error["code"]) == (JobState.FAILED, "model_withheld")
    with tenant_scope(bench.tenant.id):
        assert not Artifact.objects.filter(job=job).exists()


def trained(bench: Bench, **changes: Any) -> Artifact:
    told = {"seed": 1, "hyperparameters": {"n_epochs": 2, "batch_size": 4}} | changes
    job = bench.create(**told)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    perform(TRAIN, tenant_id=bench.tenant.id, key=job.id)
    ended = bench.job(job)
    assert (ended.state, ended.error) == (JobState.SUCCEEDED, None)
    with tenant_scope(bench.tenant.id):
        return Artifact.objects.select_related("job").get(job=job)


@pytest.mark.slow
def test_preferences_after_instructions_have_the_whole_chain_in_passport_and_card(
    committed_bench: Bench,
) -> None:
    bench = committed_bench
    first = trained(bench, adapter={"r": 4})
    pairs, held = (bench.add_file(preferences(count)) for count in (12, 4))
    second = trained(
        bench, model=first.model_name, method="dpo", file=pairs, validation_file=held.id
    )
    with tenant_scope(bench.tenant.id):
        links = lineage.chain(second)
        checkpoint = Checkpoint.objects.filter(job=second.job).order_by("step").first()
        vault = open_vault()
    assert [link.artifact.model_name for link in links] == [first.model_name, second.model_name]
    assert second.passport["parents"] == [first.model_name]
    [ancestor] = second.passport["lineage"]
    assert (ancestor["method"], second.passport["method"]) == ("sft", "dpo")
    assert ancestor["adapter_sha256"] == first.adapter_sha256
    assert ancestor["digest"] == first.digest
    assert ancestor["datasets"][0]["rows"] == 24
    told = second.passport["evaluation"]
    assert told["base_validation_loss"] is None
    assert told["start_validation_loss"] == pytest.approx(0.6931, abs=1e-4)
    body = vault.read_bytes(second.bundle_object)
    assert f"| 1 | sft | {first.model_name} |".encode() in body
    assert checkpoint is not None
    third = trained(
        bench, model=f"{second.model_name}:ckpt-step-{checkpoint.step}", keep_optimizer=True
    )
    assert [each["method"] for each in third.passport["lineage"]] == ["sft", "dpo"]
    assert third.passport["lineage"][1]["step"] == checkpoint.step
    spec = third.job.resolved["spec"]["start"]
    weights = vault.read_bytes(f"{checkpoint.prefix}adapter_model.safetensors")
    assert spec["adapter_sha256"] == hashlib.sha256(weights).hexdigest()
    assert third.passport["lineage"][1]["adapter_sha256"] == spec["adapter_sha256"]


@pytest.mark.slow
def test_a_job_whose_start_is_lost_fails_with_the_reason(committed_bench: Bench) -> None:
    bench = committed_bench
    first = trained(bench, adapter={"r": 4})
    with tenant_scope(bench.tenant.id):
        open_vault().delete(first.adapter_object)
    job = bench.create(model=first.model_name, seed=uuid.uuid4().int % 99)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    for _ in range(9):
        with tenant_scope(bench.tenant.id):
            Run.objects.filter(job=job).update(not_before=None)
        perform(TRAIN, tenant_id=bench.tenant.id, key=job.id)
    ended = bench.job(job)
    assert ended.state == JobState.FAILED
    assert ended.error["code"] == "start_missing"


def test_the_api_tells_each_training_of_the_chain(bench: Bench, client: Client) -> None:
    first, second = made(bench), made(bench)
    with tenant_scope(bench.tenant.id):
        start = {"model": f"{first.model_name}:ckpt-step-3", "step": 3, "adapter_sha256": "a" * 64}
        Job.objects.filter(id=second.job_id).update(parent=first, start=start, method="dpo")
        Artifact.objects.filter(id=first.id).update(
            report={"steps": 3, "base_valid_loss": 2.5, "valid_loss": 1.5},
            deleted_at=timezone.now(),
        )
        second = Artifact.objects.get(id=second.id)
        _, key = create_key(tenant_id=bench.tenant.id, name="test", actor="test")
    answer = client.get(
        f"/api/v1/artifacts/{second.public_id}/chain", headers={"Authorization": f"Bearer {key}"}
    )
    links = answer.json()["data"]
    told = [(each["model"], each["method"], each["step"], each["deleted"]) for each in links]
    assert told == [
        (first.model_name, "supervised", 3, True),
        (second.model_name, "dpo", None, False),
    ]
    assert [links[0][name] for name in ("start_valid_loss", "valid_loss")] == [2.5, 1.5]
