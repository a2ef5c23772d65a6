"""The one result: published behind the fence or not at all, exported by licence, deleted."""

import tarfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import IntegrityError, transaction
from django.test import TestCase

from finetune.families.contract import AdapterSpec
from finetune.models import Artifact, Form, Job
from finetune.packaging.request import BuiltForm
from finetune.packaging.verify import verify
from finetune.services.files.room import storage
from finetune.services.forms import asking, leaving, making
from finetune.services.forms.making import MAKE_FORM
from finetune.services.jobs import lifecycle
from finetune.services.jobs.room import DOCUMENTS
from finetune.services.jobs.validation import VALIDATE
from finetune.services.models import artifacts
from finetune.services.runs import preparation, publishing
from finetune.services.runs.lease import RunLease
from finetune.services.runs.training import TRAIN
from finetune.states import JobState, LeaseState
from finetune.trainer.adapter_size import adapter_bytes, checkpoint_bytes
from finetune.work import leases
from finetune.work.kinds import Lease
from finetune.work.perform import perform
from finetune.work.pulse import Pulse
from finetune.work.signals import LeaseLost, Stopped, Wishes
from tenants.access import Principal
from tenants.database.scope import tenant_scope
from tenants.errors import Conflict, NotFound, Refused
from tenants.models import AuditEntry, License, LicenseState, StoredFile, UsageEntry
from tenants.rights import BY_DEFAULT, Right
from tenants.services.licences import change_license
from tenants.services.vaults import open_vault
from tests.finetune.services.runs.test_runs import expire, leased, reap
from tests.fixtures.jobs import Bench, chat_rows, jsonl
from tests.fixtures.principals import somebody

pytestmark = pytest.mark.slow


class Trained:
    """A claimed job with a private folder in which the real trainer has just ended."""

    def __init__(self, bench: Bench, run_dir: Path) -> None:
        self.bench, self.run_dir = bench, run_dir
        valid = bench.add_file(jsonl(chat_rows(2) + chat_rows(1, start=9000)))
        job = bench.create(suffix="home", hyperparameters={"n_epochs": 1}, validation_file=valid.id)
        perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
        with tenant_scope(bench.tenant.id):
            row = Job.objects.get(id=job.id)
            row.resolved["machine"] = {"precision": "fp32", "device": "cpu", "threads": 1}
            row.save()
            self.vault = open_vault()
        self.job, self.lease = job, leased(bench, job)
        with tenant_scope(bench.tenant.id):
            full = Job.objects.select_related("base", "training_data", "validation_data").get(
                id=job.id
            )
        preparation.prepare(self.lease, full, self.vault, run_dir)
        from finetune.work.isolation import isolation
        from finetune.work.launcher import launch_trainer

        assert launch_trainer(run_dir, threads=1, level=isolation()).process.wait() == 0

    def publish(self, lease: RunLease | None = None) -> None:
        pulse = Pulse(lambda: None, Wishes, Wishes())
        publishing.publish(lease or self.lease, self.run_dir, self.vault, pulse)


def package_once(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The bundle is built by the first publisher and given to the later ones of the test."""
    built: dict[str, Any] = {}
    real = publishing._package

    def package(*arguments: Any) -> Any:
        if "it" not in built:
            built["it"] = real(*arguments)
        return built["it"]

    monkeypatch.setattr(publishing, "_package", package)
    return built


def test_the_result_is_published_once_and_is_what_the_customer_takes_away(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    trained = Trained(bench, run_dir)
    built = package_once(monkeypatch)
    trained.publish()
    assert built
    with pytest.raises(LeaseLost):
        trained.publish()  # its right ended with the first

    with tenant_scope(bench.tenant.id):
        artifact = Artifact.objects.get(job=trained.job)
        assert artifact.model_name == f"ft:tiny:{bench.tenant.slug}:home:{trained.job.id.hex[:8]}"
        usage = UsageEntry.objects.get(reference=trained.job.public_id)
        assert usage.tokens == bench.job(trained.job).trained_tokens
        results = StoredFile.objects.get(purpose="fine-tune-results")
        assert artifact.metrics_file == results
        csv = open_vault().read_bytes(results.object_name).decode()
        header = "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
        assert csv.splitlines()[0] == header
        assert (artifact.report["valid_rows"], artifact.report["valid_rows_in_training"]) == (3, 2)
        told = artifact.passport["evaluation"]
        assert (told["validation_rows"], told["validation_rows_in_training"]) == (3, 2)
        with pytest.raises(IntegrityError):
            _publish_again(artifact)

    _check_the_estimate(bench, artifact, run_dir)
    _check_the_bundle(bench, artifact, tmp_path)
    form = _check_the_form(bench, artifact, tmp_path)
    _check_deletion(bench, artifact, form)


def _check_the_estimate(bench: Bench, artifact: Artifact, run_dir: Path) -> None:
    """What the job's storage was asked for is what it took, and no multiple of it."""
    told = adapter_bytes(settings.MODEL_STORE / bench.base.path, AdapterSpec())
    assert 0.9 * artifact.adapter_bytes < told <= artifact.adapter_bytes
    for folder in (run_dir / "checkpoints").iterdir():
        size = sum(file.stat().st_size for file in folder.iterdir())
        # The good state of a short run is the beginning, which the optimizer knows nothing of yet
        assert checkpoint_bytes(told, watched=False) < size
        assert size < 1.1 * checkpoint_bytes(told, watched=True) < 1.6 * size
    assert artifact.bundle_bytes - artifact.adapter_bytes < DOCUMENTS
    with tenant_scope(bench.tenant.id):
        now = storage()
    assert now.models == artifact.bundle_bytes + artifact.adapter_bytes
    assert now.reserved == 0, "the job has ended"


def _publish_again(artifact: Artifact) -> None:
    with transaction.atomic():
        Artifact.objects.create(
            job=artifact.job,
            base=artifact.base,
            model_name="another",
            digest="x",
            adapter_sha256="x",
            bundle_object="x",
            bundle_bytes=0,
            bundle_sha256="x",
            adapter_object="x",
            adapter_config={},
            passport={},
        )


def _check_the_bundle(bench: Bench, artifact: Artifact, tmp_path: Path) -> None:
    with tenant_scope(bench.tenant.id):
        stream = artifacts.open_bundle(artifact=artifact, by=somebody(artifact.tenant_id))
        taken = AuditEntry.objects.get(action="artifact.download")
        assert (taken.actor, taken.target) == ("system:test", artifact.model_name)
        weights, config = artifacts.load_adapter(artifact=artifact, by=somebody(artifact.tenant_id))
    bundle = tmp_path / "bundle.tar"
    with stream:  # after the scope has closed
        bundle.write_bytes(stream.read())
    report = verify(bundle, artifacts.public_key_pem())
    assert report.ok, report.problems
    assert report.trust == "key"
    assert report.digest == artifact.digest
    with tarfile.open(bundle) as archive:
        member = archive.extractfile("adapter/adapter_model.safetensors")
        assert member is not None
        assert member.read() == weights
    assert config["base_model_name_or_path"] == "tiny"
    set_state(bench, LicenseState.SUSPENDED)
    with tenant_scope(bench.tenant.id), pytest.raises(Refused, match="is suspended"):
        artifacts.open_bundle(artifact=artifact, by=somebody(artifact.tenant_id))
    set_state(bench, LicenseState.ACTIVE)


def set_state(bench: Bench, state: LicenseState) -> None:
    change_license(tenant_id=bench.tenant.id, license_id=bench.license.id, actor="t", state=state)


def make(form: Form, pulse: Pulse[Wishes]) -> Form:
    """As work/perform.py, in the test's transaction: no other connection would see the row."""
    lease = leases.claim(MAKE_FORM, tenant_id=form.tenant_id, key=form.id, worker="w")
    assert lease is not None
    try:
        MAKE_FORM.run(lease, pulse)
    except Stopped:
        leases.give_back(lease)
    with tenant_scope(form.tenant_id):
        return Form.objects.select_related("artifact__base").get(id=form.id)


def _shorten(by: Principal, form: Form) -> None:
    """The licence, and take it back: what was made under the longer one is not given out."""
    assert leaving.may_leave(form=form)
    licence = License.objects.get()
    with transaction.atomic():
        License.objects.update(valid_until=licence.valid_from + timedelta(days=9000))
        with pytest.raises(Conflict, match="a licence that has changed"):
            leaving.open_form(form=form, by=by)
        assert not leaving.may_leave(form=form)
        assert asking.request_form(artifact=form.artifact, form="merged", by=by) != form
        assert not Form.objects.filter(id=form.id).exists(), "it is made anew"
        transaction.set_rollback(True)
    License.objects.update(token_budget=12345)
    assert asking.request_form(artifact=form.artifact, form="merged", by=by) == form


def _check_the_form(bench: Bench, artifact: Artifact, tmp_path: Path) -> Form:
    by = somebody(artifact.tenant_id)

    def ask() -> Form:
        with tenant_scope(bench.tenant.id):
            return asking.request_form(artifact=artifact, form="merged", by=by)

    with pytest.raises(Refused, match="does not include the right to merge"):
        ask()
    with tenant_scope(bench.tenant.id):
        License.objects.update(rights=list(Right))
    beginning = ask()
    assert ask() == beginning
    with tenant_scope(bench.tenant.id):
        assert storage().reserved == artifact.base.bytes + artifact.bundle_bytes
    cancelled = make(beginning, Pulse(lambda: None, Wishes, Wishes(cancel=True)))
    assert cancelled.state == LeaseState.WAITING, "nobody has asked for the end in its row"
    with tenant_scope(bench.tenant.id):
        asking.cancel_form(form=cancelled, by=by)
        assert storage().reserved == 0
        assert Form.objects.get().state == LeaseState.CANCELLED
        with pytest.raises(Conflict, match="no bytes"):
            leaving.open_form(form=cancelled, by=by)
    form = make(ask(), Pulse(lambda: None, Wishes, Wishes()))
    assert form.state == LeaseState.SUCCEEDED, form.error
    assert form.id != beginning.id
    assert (form.info["artifact"], form.done) == (artifact.digest, form.total)
    with tenant_scope(bench.tenant.id):
        assert storage().models == (artifact.bundle_bytes + artifact.adapter_bytes + form.bytes)
        stream = leaving.open_form(form=form, by=by)
        assert AuditEntry.objects.get(action="form.download").data["sha256"] == form.sha256
        _shorten(by, form)
    taken = tmp_path / "form.tar"
    with stream:
        taken.write_bytes(stream.read())
    report = verify(taken, artifacts.public_key_pem())
    assert report.ok, report.problems
    assert report.digest == form.digest
    _check_a_lost_lease(form, taken)
    for rights in (list(BY_DEFAULT), list(Right)):
        with tenant_scope(bench.tenant.id):
            License.objects.update(rights=rights)
        assert leaving.may_leave(form=form) == (Right.MERGE in rights)
    return form


def _check_a_lost_lease(form: Form, tar: Path) -> None:
    """A worker that was presumed dead, and is done all the same, leaves nothing."""
    with tenant_scope(form.tenant_id):
        vault = open_vault()
    late = Lease(MAKE_FORM, form.tenant_id, form.id, form.id, form.epoch + 1)
    built = BuiltForm.model_validate(
        {"info": form.info, "digest": "another", "sha256": form.sha256, "bytes": form.bytes}
    )
    with pytest.raises(LeaseLost):
        making._keep(late, form, built, {}, tar, vault)
    assert list(vault.list("forms/")) == [form.object_name]


def _check_deletion(bench: Bench, artifact: Artifact, form: Form) -> None:
    with tenant_scope(bench.tenant.id):
        with TestCase.captureOnCommitCallbacks(execute=True):
            artifacts.delete_model(name=artifact.model_name, actor="t")
        assert not Form.objects.exists()
        assert form.object_name not in open_vault().list("forms/")
        with pytest.raises(NotFound):
            artifacts.delete_model(name=artifact.model_name, actor="t")


def test_nothing_is_published_by_who_lost_the_lease_or_after_a_cancellation(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = Trained(bench, tmp_path)
    package_once(monkeypatch)
    expire(trained.lease)
    reap(trained.lease)
    fresh = leased(bench, trained.job)
    with pytest.raises(LeaseLost):
        trained.publish()
    with tenant_scope(bench.tenant.id):
        assert not Artifact.objects.exists()
        lifecycle.cancel_job(job_id=trained.job.id, actor="t")
    trained.publish(fresh)
    assert bench.job(trained.job).state == JobState.CANCELLED
    assert list(trained.vault.list("artifacts/")) == []
    with tenant_scope(bench.tenant.id):
        assert not Artifact.objects.exists()
        assert not UsageEntry.objects.exists()
        assert not leases.is_due(TRAIN, tenant_id=bench.tenant.id, key=trained.job.id)
