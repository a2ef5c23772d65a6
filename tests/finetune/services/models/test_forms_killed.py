"""A worker that is killed with -9 while it makes a form: it is tried again, nothing half-made is
published, and nothing stays on the disk or in the vault."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from django.conf import settings
from django.utils import timezone

from finetune.models import Artifact, Form
from finetune.packaging.bundle import tar
from finetune.packaging.verify import verify
from finetune.services.forms import asking, making
from finetune.services.forms.making import MAKE_FORM
from finetune.services.models import artifacts
from finetune.states import LeaseState
from finetune.storage import fetch_file, form_object, form_prefix, store_file
from finetune.work import leases
from finetune.work.perform import perform
from finetune.workspace import PLACE, remove_leftovers
from privatune.env import Process, misplaced
from tenants.database.scope import tenant_scope
from tenants.models import License
from tenants.rights import Right
from tenants.services.vaults import open_vault
from tests.finetune.packaging.conftest import (  # noqa: F401  fixtures
    adapter,
    artifact,
    built,
    passport,
    signer,
)
from tests.finetune.services.jobs.test_starting import made
from tests.fixtures.jobs import Bench, new_bench
from tests.fixtures.principals import somebody
from tests.fixtures.waiting import until

pytestmark = [pytest.mark.usefixtures("committed"), pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[4]
WORKER = """
import sys, django
django.setup()
from uuid import UUID
from finetune.services.forms.making import MAKE_FORM
from finetune.work.perform import perform

perform(MAKE_FORM, tenant_id=UUID(sys.argv[1]), key=UUID(sys.argv[2]))
"""


@contextmanager
def worker(form: Form, said: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process of its own, as a trainer's."""
    unknown = misplaced(os.environ, Process.TRAINER)
    environment = {key: value for key, value in os.environ.items() if key not in unknown} | {
        "PRIVATUNE_PROCESS": "trainer",
        "DJANGO_SETTINGS_MODULE": "privatune.settings",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}",
    }
    command = [sys.executable, "-c", WORKER, str(form.tenant_id), str(form.id)]
    with said.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL


def mine(form: Form) -> list[Path]:
    return list((settings.WORK_DIR / PLACE).glob(f"{form.id}-*"))


def packing(form: Form) -> bool:
    """Its weights are being written."""
    return any(path.name.startswith(".form-") for each in mine(form) for path in each.glob(".*"))


def in_the_vault(form: Form) -> list[str]:
    with tenant_scope(form.tenant_id):
        return list(open_vault().list(form_prefix(form.id)))


def alive(form: Form) -> list[psutil.Process]:
    """Processes that have its folder in their command line."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if str(form.id) in line:
            found.append(process)
    return found


def again(form: Form) -> Form:
    with tenant_scope(form.tenant_id):
        Form.objects.update(not_before=None)
    perform(MAKE_FORM, tenant_id=form.tenant_id, key=form.id)
    with tenant_scope(form.tenant_id):
        return Form.objects.get(id=form.id)


def ask(model: Artifact, form: str) -> Form:
    with tenant_scope(model.tenant_id):
        return asking.request_form(artifact=model, form=form, by=somebody(model.tenant_id))


def check(form: Form, tmp_path: Path) -> None:
    """It is whole, and all that there is."""
    assert form.state == LeaseState.SUCCEEDED, form.error
    assert form.epoch == 2
    assert in_the_vault(form) == [form.object_name]
    assert not mine(form)
    with tenant_scope(form.tenant_id):
        vault = open_vault()
    fetch_file(vault, form.object_name, tmp_path / "form.tar", sha256=form.sha256)
    report = verify(tmp_path / "form.tar", artifacts.public_key_pem())
    assert report.ok, report.problems
    assert report.digest == form.digest


@pytest.fixture
def model(tiny_base: Path, artifact: Path, tmp_path: Path) -> Artifact:  # noqa: F811
    """One whose bundle lies in the vault, of a tenant that may have the base."""
    bench: Bench = new_bench(tiny_base)
    found = made(bench)
    sha256 = tar(artifact, tmp_path / "bundle.tar")
    with tenant_scope(bench.tenant.id):
        store_file(open_vault(), "bundles/one", tmp_path / "bundle.tar")
        found.bundle_object, found.bundle_sha256 = "bundles/one", sha256
        found.save()
        License.objects.update(rights=list(Right))
    return found


def test_a_form_whose_worker_is_killed_is_made_by_another_and_nothing_is_left(
    model: Artifact, tmp_path: Path
) -> None:
    form = ask(model, "gguf-q8_0")
    with worker(form, tmp_path / "said") as process:
        until(
            lambda: packing(form),
            "it does not get there",
            of=process,
            said=(tmp_path / "said").read_text,
        )
    until(lambda: not alive(form), "what it had started lives on")
    [left] = [path.name for path in mine(form) if path.is_dir()]
    assert left in remove_leftovers(settings.WORK_DIR)
    assert not mine(form)
    with tenant_scope(form.tenant_id):
        form = Form.objects.get()
        assert (form.state, form.object_name) == (LeaseState.LEASED, "")
        # As if it had died a moment later: stored, and of no row
        open_vault().put_bytes(form_object(form.id, form.epoch), b"a tar")
        Form.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    leases.reap(MAKE_FORM, tenant_id=form.tenant_id, row_id=form.id)
    form = again(form)
    check(form, tmp_path)
    assert form.info["evaluation"]["divergence"] < form.info["evaluation"]["moved"]


def test_a_form_whose_packing_is_killed_is_made_again(
    model: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = ask(model, "merged")
    looked = making.Watched.__call__

    def kill(self: making.Watched) -> None:
        if packing(form):
            for process in alive(form):
                process.kill()
        looked(self)

    with monkeypatch.context() as patched:
        patched.setattr(making.Watched, "__call__", kill)
        died = again(form)
    assert died.state == LeaseState.WAITING
    assert died.attempts == 1
    assert not mine(form)
    assert in_the_vault(form) == []
    check(again(form), tmp_path)
