"""/api/v1/minings with a real model: the platform finds the negatives that the command finds on
one's own machine, keeps what it has, and leaves nothing of what nobody wants any more."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db.models.functions import Now
from typer.testing import CliRunner

from finetune.models import Mining
from finetune.services.files.room import storage
from finetune.services.mining import asking, making
from finetune.services.mining.making import MINE
from finetune.work import leases
from finetune.work.perform import perform
from privatune.cli.app import app
from tenants.database.scope import tenant_scope
from tenants.models import AuditEntry, License, LicenseState, StoredFile
from tenants.services.licences import change_license
from tenants.services.vaults import object_store
from tests.finetune.api.conftest import ROOT, TINY
from tests.finetune.api.customers import Customer, chat_rows, new_customer
from tests.finetune.api.test_embeddings import EMBEDS
from tests.finetune.api.test_embeddings import embeds as embeds  # noqa: PLC0414  the fixture
from tests.finetune.api.test_embeddings import folder as folder  # noqa: PLC0414  the fixture
from tests.fixtures.waiting import stop

ROOMS = ("kitchen", "hall", "attic", "cellar", "garden")
ROWS = [
    {
        "query": f"turn on the {thing} in the {room}",
        "positive": f"turn on the {thing} in the {room} now",
        "tags": [room],
    }
    for room in ROOMS
    for thing in ("light", "fan", "heater", "lamp")
]
CORPUS = [{"text": f"the {room} is cold"} for room in ROOMS]
ASKED: dict[str, Any] = {"num_negatives": 2, "relative_margin": 0.003}


@pytest.fixture
def miner(base_url: str, embeds: str, tiny_model: str, model_server: None) -> Customer:
    return new_customer(base_url, models=[embeds, tiny_model])


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def brought(customer: Customer, content: bytes) -> str:
    sent = customer.client().files.create(file=("rows.jsonl", content), purpose="fine-tune")
    customer.check_files()
    return sent.id


def post(customer: Customer, path: str = "", **body: Any) -> httpx.Response:
    with customer.http() as http:
        return http.post(f"/api/v1/minings{path}", json=body or None)


def get(customer: Customer, path: str) -> dict[str, Any]:
    with customer.http() as http:
        answer = http.get(f"/api/v1{path}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def asked(customer: Customer, rows: bytes = lines(ROWS), **body: Any) -> str:
    made = post(customer, file=brought(customer, rows), model=EMBEDS, **(ASKED | body))
    assert made.status_code == 200, made.text
    assert made.json()["state"] == "waiting"
    name: str = made.json()["id"]
    return name


def work(customer: Customer) -> None:
    """Does what a worker does."""
    with tenant_scope(customer.tenant_id):
        waiting = list(Mining.objects.filter(state="waiting").values_list("id", flat=True))
    for row_id in waiting:
        perform(MINE, tenant_id=customer.tenant_id, key=row_id)
    customer.check_files()


def files(customer: Customer) -> int:
    with tenant_scope(customer.tenant_id):
        return StoredFile.objects.filter(deleted_at=None).count()


def vectors(customer: Customer) -> list[str]:
    return list(object_store().list(f"{customer.tenant_id}/minings/"))


def test_the_new_file_has_the_negatives_that_the_command_finds(
    miner: Customer, tmp_path: Path
) -> None:
    corpus = brought(miner, lines(CORPUS))
    name = asked(miner, corpus=corpus)
    source = get(miner, f"/minings/{name}")["file"]
    work(miner)
    found = get(miner, f"/minings/{name}")
    assert (found["state"], found["error"]) == ("succeeded", None)
    assert found["texts_done"] == found["texts_total"] == 20 + 20 + 5
    made = miner.client().files.retrieve(found["result"])
    assert (made.status, made.purpose) == ("processed", "fine-tune")
    content = miner.client().files.content(made.id).read()

    pairs, further, output = (tmp_path / each for each in ("pairs.jsonl", "more.jsonl", "new"))
    pairs.write_bytes(lines(ROWS))
    further.write_bytes(lines(CORPUS))
    done = CliRunner().invoke(
        app,
        ["files", "mine", str(pairs), "--model", EMBEDS, "--corpus", str(further), "--output",
         str(output), "--num-negatives", "2", "--relative-margin", "0.003", "--json"],
        env={"PRIVATUNE_BASE_URL": f"{miner.base_url}/v1", "PRIVATUNE_API_KEY": miner.key},
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert content == output.read_bytes()
    assert miner.client().files.content(source).read() == lines(ROWS), "it stays as it is"
    local, report = json.loads(done.stdout), found["report"]
    assert report["skipped"] == local["skipped"] != {}
    assert report["negatives"] == local["negatives"] > 0
    given = [len(json.loads(line).get("negatives", [])) for line in content.splitlines()]
    assert report["rows_by_negatives"] == {str(n): given.count(n) for n in sorted(set(given))}
    assert found["tokens"] > 45

    [version] = get(miner, f"/files/{made.id}/versions")["data"]
    assert (version["id"], version["file"], version["result"]) == (name, source, made.id)
    assert [each["id"] for each in get(miner, "/minings")["data"]] == [name]
    assert vectors(miner) == []
    with tenant_scope(miner.tenant_id):
        [entry] = AuditEntry.objects.filter(action="file.mine")
        assert AuditEntry.objects.filter(action="model.ask", target=EMBEDS).exists()
    assert (entry.target, entry.data["mining"], entry.data["model"]) == (source, name, EMBEDS)


KILLED = """
import sys, time, uuid
import django
django.setup()
from finetune.services.mining import making
from finetune.work.perform import perform
making.PART_TEXTS = 8
kept = making._Embedding._keep
def keep(*args):
    kept(*args)
    print("kept", flush=True)
    time.sleep(3600)
making._Embedding._keep = keep
perform(making.MINE, tenant_id=uuid.UUID(sys.argv[1]), key=uuid.UUID(sys.argv[2]))
"""


def test_a_worker_killed_in_the_middle_costs_no_vector_and_makes_no_second_file(
    miner: Customer,
) -> None:
    whole = asked(miner)
    work(miner)
    name = asked(miner)
    with tenant_scope(miner.tenant_id):
        row = Mining.objects.get(state="waiting")
    worker = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(miner.tenant_id), str(row.id)],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings",
                          "PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}"},
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"kept\n"
        worker.kill()
        worker.wait()
    finally:
        stop(worker)
    assert get(miner, f"/minings/{name}")["texts_done"] == 8
    with tenant_scope(miner.tenant_id):
        assert storage().reports > 0, "its vectors are counted while they lie there"
        Mining.objects.filter(id=row.id).update(lease_until=Now())
    leases.reap(MINE, tenant_id=miner.tenant_id, row_id=row.id)
    before = files(miner)
    work(miner)
    found, first = (get(miner, f"/minings/{each}") for each in (name, whole))
    assert found["state"] == "succeeded"
    assert found["tokens"] == first["tokens"], "no text was embedded twice"
    assert found["report"]["rows_sha256"] == first["report"]["rows_sha256"]
    assert files(miner) == before + 1
    assert vectors(miner) == []


def after_a_part(monkeypatch: pytest.MonkeyPatch, do: Any) -> None:
    """So many texts a part that there are several; `do` once the first is kept."""
    monkeypatch.setattr(making, "PART_TEXTS", 8)
    kept = making._Embedding._keep

    def keep(*args: Any) -> None:
        kept(*args)
        monkeypatch.setattr(making._Embedding, "_keep", kept)
        do()

    monkeypatch.setattr(making._Embedding, "_keep", keep)


def test_cancelled_in_the_middle_it_leaves_nothing(
    miner: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, before = asked(miner), files(miner)
    waiting = asked(miner)
    assert post(miner, f"/{waiting}/cancel").json()["state"] == "cancelled"

    def cancel() -> None:
        assert vectors(miner)
        assert post(miner, f"/{name}/cancel").json()["state"] == "leased"

    after_a_part(monkeypatch, cancel)
    work(miner)
    found = get(miner, f"/minings/{name}")
    assert (found["state"], found["result"]) == ("cancelled", None)
    assert (files(miner), vectors(miner)) == (before + 1, [])
    assert post(miner, f"/{name}/cancel").json()["state"] == "cancelled"


def test_a_file_deleted_meanwhile_takes_its_vectors_along(
    miner: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = asked(miner)
    source = get(miner, f"/minings/{name}")["file"]
    after_a_part(monkeypatch, lambda: miner.client().files.delete(source))
    work(miner)
    found = get(miner, f"/minings/{name}")
    assert (found["state"], found["error"]["code"]) == ("failed", "file_deleted")
    assert (files(miner), vectors(miner)) == (0, [])


def test_a_licence_that_ends_meanwhile_ends_it(
    miner: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = asked(miner)

    def suspend() -> None:
        with tenant_scope(miner.tenant_id):
            held = License.objects.get(model=EMBEDS)
        change_license(
            tenant_id=miner.tenant_id, license_id=held.id, state=LicenseState.SUSPENDED,
            actor="test",
        )  # fmt: skip

    after_a_part(monkeypatch, suspend)
    work(miner)
    found = get(miner, f"/minings/{name}")
    assert (found["state"], found["result"], vectors(miner)) == ("failed", None, [])
    assert found["error"]["code"].startswith("licen")


def test_a_text_that_is_too_long_is_named_by_its_row(miner: Customer) -> None:
    long = [*ROWS[:3], {"query": "light " * 300, "positive": "on"}]
    name = asked(miner, lines(long))
    work(miner)
    error = get(miner, f"/minings/{name}")["error"]
    assert (error["code"], error["where"]) == ("text_too_long", "row 4")
    assert error["message"].startswith("The query of row 4 of the file")
    assert vectors(miner) == []


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"model": TINY}, 400, "model_writes", "model"),
        ({"model": "nobody's"}, 404, "model_not_found", "model"),
        ({"file": "chat"}, 400, "wrong_format", "file"),
        ({"corpus": "pairs"}, 400, "wrong_format", "corpus"),
        ({"corpus": "file-0"}, 404, "file_not_found", "corpus"),
        ({"num_negatives": 0}, 400, "invalid_value", "num_negatives"),
        ({"num_negatives": 101}, 400, "invalid_value", "num_negatives"),
        ({"range_min": 3, "range_max": 4}, 400, "invalid_value", "range_max"),
        ({"margin": 1}, 400, "unknown_parameter", "margin"),
    ],
)
def test_what_cannot_be_mined_is_refused(
    body: dict[str, Any], status: int, code: str, param: str | None, miner: Customer
) -> None:
    names = {"chat": chat_rows(2), "pairs": lines(ROWS[:2])}
    given = {key: brought(miner, names[each]) if each in names else each
             for key, each in body.items()}  # fmt: skip
    if "file" not in given:
        given["file"] = brought(miner, lines(ROWS[:2]))
    refused = post(miner, **({"model": EMBEDS} | given))
    told = refused.json()
    assert (refused.status_code, told["code"], told.get("param")) == (status, code, param), told


def test_who_may_not_ask_models_or_asks_for_too_many_is_refused(
    miner: Customer, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = new_customer(base_url, scopes=["files:read", "files:write"], models=[EMBEDS])
    refused = post(writes, file=brought(writes, lines(ROWS[:2])), model=EMBEDS)
    assert (refused.status_code, "infer" in refused.text) == (403, True)
    with tenant_scope(miner.tenant_id):
        source = brought(miner, lines(ROWS[:2]))
        file = StoredFile.objects.get()
        Mining.objects.bulk_create(
            Mining(file=file, model=EMBEDS, tenant_id=miner.tenant_id)
            for _ in range(asking.MOST_WAITING)
        )
    too_many = post(miner, file=source, model=EMBEDS)
    assert (too_many.status_code, too_many.json()["code"]) == (429, "too_many_minings")
