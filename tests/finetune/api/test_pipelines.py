"""Pipelines over our own API: what is made, what is refused and where, what a strange body does."""

import random
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from tenants.database.scope import tenant_scope
from tenants.models import StoredFile
from tenants.roles import ALL_SCOPES
from tenants.services.tenants import create_key
from tests.finetune.api.test_fuzz import NASTY, spoiled
from tests.finetune.services.pipelines import test_pipelines as pipelines
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench

pytestmark = pytest.mark.django_db
CLIENT = Client(raise_request_exception=False)


@pytest.fixture
def bench(tiny_base: Path) -> Bench:
    return new_bench(tiny_base)


@pytest.fixture
def key(bench: Bench) -> str:
    with tenant_scope(bench.tenant.id):
        _, secret = create_key(
            tenant_id=bench.tenant.id, name="test", actor="test", scopes=ALL_SCOPES
        )
    return secret


def send(key: str, path: str, body: Any = None, *, raw: str | None = None) -> tuple[int, Any]:
    answer = CLIENT.post(
        f"/api/v1/pipelines{path}", raw if raw is not None else body or {},
        content_type="application/json", headers={"Authorization": f"Bearer {key}"},
    )  # fmt: skip
    return answer.status_code, answer.json()


def stages(bench: Bench) -> list[dict[str, Any]]:
    ids = [bench.add_file(jsonl(chat_rows(8, start=at))).public_id for at in (0, 50)]
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}}
    return [
        {"training_file": ids[0], "method": method, "gate": "approval"},
        {"training_file": ids[1]},
    ]


def test_what_is_asked_comes_back_with_its_stages_and_can_be_steered(
    bench: Bench, key: str
) -> None:
    asked = {"model": "tiny", "name": "two", "adapter": {"r": 4}, "metadata": {"a": "b"}, "seed": 0}
    status, made = send(key, "", asked | {"stages": stages(bench)})
    assert status == 200, made
    assert (made["status"], made["model"], made["metadata"]) == ("preparing", "tiny", {"a": "b"})
    assert [(each["number"], each["gate"], each["status"]) for each in made["stages"]] == [
        (1, "approval", "waiting"), (2, "none", "waiting"),
    ]  # fmt: skip
    assert made["estimate"]["licence"]["reserved"] is None
    assert made["fine_tuned_model"] is None
    for verb, code in (("approve", "nothing_to_approve"), ("retry", "pipeline_not_failed"),
                       ("resume", "pipeline_not_paused")):  # fmt: skip
        status, told = send(key, f"/{made['id']}/{verb}")
        assert (status, told["code"]) == (400, code)
    status, ended = send(key, f"/{made['id']}/cancel")
    assert (status, ended["status"]) == (200, "cancelled")
    with tenant_scope(bench.tenant.id):
        assert StoredFile.objects.filter(deleted_at=None).count() == 2


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"gate": "sometimes"}, "invalid_value", "stages.1.gate"),
        ({"seed": 1}, "unsupported_parameter", "seed"),
        ({"metadata": {}}, "unsupported_parameter", "stages.1.metadata"),
        ({"colour": 1}, "unknown_parameter", "stages.1.colour"),
        ({"training_file": "file-0"}, "file_not_found", "stages.1.training_file"),
        ({"method": {"type": "dpo"}}, "wrong_kind_of_record", "stages.1.training_file"),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 99}}}},
            "invalid_value",
            "stages.1.method.supervised.hyperparameters.n_epochs",
        ),
    ],
)
def test_what_is_wrong_with_a_stage_is_told_with_its_place(
    bench: Bench, key: str, change: dict[str, Any], code: str, param: str
) -> None:
    from tests.finetune.services.jobs.test_validation import check

    asked = stages(bench)
    if code == "wrong_kind_of_record":
        file, _ = check(bench, jsonl(chat_rows(4)))
        change = change | {"training_file": file.public_id}
    asked[1] |= change
    status, told = send(key, "", {"model": "tiny", "stages": asked})
    assert status in (400, 404), told
    assert (told["code"], told.get("param")) == (code, param)


def test_a_strange_body_is_told_and_breaks_nothing(bench: Bench, key: str) -> None:
    chance = random.Random(3)
    sensible = {"model": "tiny", "stages": stages(bench), "auto_start": False, "name": "a"}
    for _ in range(60):
        status, told = send(key, "", raw=spoiled(sensible, chance))
        assert status < 500, told
    for nasty in NASTY:
        status, told = send(key, "", raw=f'{{"model": "tiny", "stages": {nasty}}}')
        assert status == 400, told


def test_a_job_tells_the_pipeline_whose_stage_it_is(bench: Bench, key: str) -> None:
    """One that was asked for by itself tells none; a list leaves it out, as it does the phase."""
    pipeline = pipelines.ask(bench, "none", "none")
    pipelines.advance(bench, pipeline)
    staged, alone = pipelines.job_of(bench, pipeline, 1), bench.create()
    headers = {"Authorization": f"Bearer {key}"}

    def told(path: str) -> Any:
        return CLIENT.get(f"/v1/fine_tuning/jobs{path}", headers=headers).json()

    assert told(f"/{staged.public_id}")["pipeline"] == {
        "id": pipeline.public_id, "stage": 1, "stages": 2,
    }  # fmt: skip
    assert told(f"/{alone.public_id}")["pipeline"] is None
    assert all("pipeline" not in each for each in told("")["data"])
