"""Profiles and scrubs under their leases: made once, gone with their file, and of nobody else's."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from faults import UserFault
from finetune.models import Dataset, Profile, Scrub
from finetune.profiling.personal import Kind
from finetune.services.files import datasets, intake, profiling, scrubbing
from finetune.services.files.checking import CHECK
from finetune.services.files.columns import map_columns
from finetune.services.files.orphans import remove_orphans
from finetune.services.files.profiling import PROFILE
from finetune.services.files.room import storage
from finetune.services.files.scrubbing import SCRUB
from finetune.services.files.versions import versions_of
from finetune.states import LeaseState
from finetune.work.perform import perform
from finetune.workspace import in_use
from tenants.database.scope import tenant_scope
from tenants.errors import Refused
from tenants.models import AuditEntry, StoredFile
from tenants.roles import Role
from tenants.services.vaults import object_store, open_vault
from tests.finetune.services.test_words import quoted
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench
from tests.fixtures.principals import somebody

SECRET = "canary4711"
ROWS = [
    *chat_rows(3),
    {
        "messages": [
            {"role": "user", "content": f"Who is {SECRET}@corp.io? Call 13800138000."},
            {"role": "assistant", "content": "Nobody."},
        ]
    },
]


def checked(bench: Bench, rows: list[dict[str, Any]], **more: Any) -> StoredFile:
    file = bench.add_file(jsonl(rows), status="uploaded", **more)
    with tenant_scope(bench.tenant.id):
        reading = datasets.request_check(file=file)
    perform(CHECK, tenant_id=bench.tenant.id, key=reading.id)
    return file


def profiled(bench: Bench, file: StoredFile, against: StoredFile | None = None) -> Profile:
    with tenant_scope(bench.tenant.id):
        by = somebody(bench.tenant.id)
        profile = profiling.request_profile(file=file, against=against, by=by)
    perform(PROFILE, tenant_id=bench.tenant.id, key=profile.id)
    with tenant_scope(bench.tenant.id):
        return Profile.objects.get(id=profile.id)


def scrubbed(bench: Bench, file: StoredFile, *kinds: Kind) -> Scrub:
    with tenant_scope(bench.tenant.id):
        by = somebody(bench.tenant.id)
        scrub = scrubbing.request_scrub(file=file, kinds=kinds or tuple(Kind), by=by)
    perform(SCRUB, tenant_id=bench.tenant.id, key=scrub.id)
    with tenant_scope(bench.tenant.id):
        scrub = Scrub.objects.select_related("file", "result").get(id=scrub.id)
        for reading in Dataset.objects.filter(state="pending"):
            perform(CHECK, tenant_id=bench.tenant.id, key=reading.id)
    return scrub


def findings(bench: Bench, profile: Profile) -> list[Any]:
    with tenant_scope(bench.tenant.id):
        profile = Profile.objects.select_related("file").get(id=profile.id)
        with profiling.open_findings(profile=profile, by=somebody(bench.tenant.id)) as lines:
            return [json.loads(line) for line in lines]


def test_a_profile_is_made_once_and_says_no_word_of_the_file(bench: Bench) -> None:
    file = checked(bench, ROWS)
    profile = profiled(bench, file)
    assert profile.state == LeaseState.SUCCEEDED
    assert profile.report is not None
    assert profile.report["personal"] == {
        "email": {"rows": 1, "places": 1}, "phone": {"rows": 1, "places": 1},
    }  # fmt: skip
    assert [(each["row"], each["finding"]) for each in findings(bench, profile)] [:2] == [
        (4, "email"), (4, "phone"),
    ]  # fmt: skip
    assert profiled(bench, file).epoch == profile.epoch == 1
    assert quoted(bench, SECRET) == []
    assert in_use(settings.WORK_DIR) == []
    with tenant_scope(bench.tenant.id):
        assert storage().reports >= profile.findings_bytes > 0
    remove_orphans(older_than_s=-60)
    assert findings(bench, profile)


def test_against_a_validation_file_and_against_an_evaluations(bench: Bench) -> None:
    file = checked(bench, chat_rows(4))
    other = checked(bench, chat_rows(2, start=3))
    suite = bench.add_file(
        b'{"item": {"question": "turn on the light in the kitchen 0"}}\n', purpose="evals"
    )
    for against, equal in ((other, 1), (suite, 1)):
        report = profiled(bench, file, against).report
        assert report is not None
        assert report["held_out"]["equal"] == equal
    with tenant_scope(bench.tenant.id):
        assert Profile.objects.count() == 2


@pytest.mark.parametrize("code", ["invalid_file_purpose", "file_not_ready", "invalid_value"])
def test_what_cannot_be_profiled_is_refused(bench: Bench, code: str) -> None:
    file = checked(bench, chat_rows(2))
    wrong = {
        "invalid_file_purpose": (bench.add_file(b"x", purpose="user_data"), None),
        "file_not_ready": (bench.add_file(b"{}"), None),
        "invalid_value": (file, file),
    }
    with pytest.raises(UserFault) as caught:
        profiled(bench, *wrong[code])
    assert caught.value.code == code


def test_who_may_not_read_files_sees_no_finding(bench: Bench) -> None:
    file = checked(bench, ROWS)
    profile, scrub = profiled(bench, file), scrubbed(bench, file)
    nobody = somebody(bench.tenant.id, role=Role.VIEWER, scopes=frozenset())
    with tenant_scope(bench.tenant.id):
        for look in (
            lambda: profiling.open_findings(profile=profile, by=nobody),
            lambda: profiling.rows_by_tag(profile=profile, by=nobody),
            lambda: scrubbing.changed_rows(scrub=scrub, after=0, limit=1, by=nobody),
            lambda: scrubbing.request_scrub(file=file, kinds=(), by=nobody),
            lambda: profiling.request_profile(file=file, against=None, by=nobody),
        ):
            with pytest.raises(Refused):
                look()


def test_a_scrub_makes_a_new_file_and_shows_what_it_changed(bench: Bench) -> None:
    file = checked(bench, ROWS)
    scrub = scrubbed(bench, file)
    made = scrub.result
    assert made is not None
    with tenant_scope(bench.tenant.id):
        by = somebody(bench.tenant.id)
        old, new = (
            [json.loads(line) for line in open_vault().read_bytes(each.object_name).splitlines()]
            for each in (file, StoredFile.objects.get(id=made.id))
        )
        rows = scrubbing.changed_rows(scrub=scrub, after=0, limit=5, by=by)
        assert scrubbing.changed_rows(scrub=scrub, after=4, limit=5, by=by) == []
        line = versions_of(made)
        assert versions_of(file) == line == [scrub]
        assert (line[0].file, line[0].result) == (file, made)
        assert StoredFile.objects.get(id=made.id).status == "processed"
        actions = list(AuditEntry.objects.filter(action="file.scrub").values_list("target", "data"))
    assert (old, new[:3]) == (ROWS, ROWS[:3])
    after = "Who is [EMAIL]? Call [PHONE]."
    assert new[3]["messages"][0]["content"] == after
    [change] = rows[0].changes or []
    assert (rows[0].row, change.field, change.after) == (4, "messages[0].content", after)
    assert change.before == ROWS[3]["messages"][0]["content"]
    assert [change.before[each.start : each.end] for each in change.masks] == [
        f"{SECRET}@corp.io", "13800138000",
    ]  # fmt: skip
    assert [target for target, _ in actions] == [file.public_id]
    assert scrub.report is not None
    assert (scrub.report["rows"], scrub.report["changed"]) == (4, 1)


@pytest.mark.usefixtures("committed")
def test_a_deleted_file_takes_its_profiles_and_changes_and_leaves_the_line(
    tiny_base: Path,
) -> None:
    bench = new_bench(tiny_base)
    file = checked(bench, ROWS)
    profiled(bench, file)
    scrub = scrubbed(bench, file)
    with tenant_scope(bench.tenant.id):
        by = somebody(bench.tenant.id)
        made = StoredFile.objects.get(id=scrub.result_id)
        profiling.request_profile(file=made, against=file, by=by)
        intake.delete_file(file_id=file.id, actor="system:test")
        assert not Profile.objects.exists()
        kept = Scrub.objects.get()
        assert (kept.findings_object, kept.report["changed"]) == ("", 1)
        with pytest.raises(UserFault, match="cannot be shown"):
            scrubbing.changed_rows(scrub=kept, after=0, limit=1, by=by)
    left = {name.split("/")[1] for name in object_store().list(f"{bench.tenant.id}/")}
    assert left == {"objects", "datasets"}


@pytest.mark.usefixtures("committed")
def test_a_file_deleted_meanwhile_stops_a_scrub_and_leaves_nothing(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = new_bench(tiny_base)
    file = checked(bench, ROWS)
    real = scrubbing.profile_in_child

    def deleted_meanwhile(*args: Any, **options: Any) -> Any:
        report = real(*args, **options)
        with tenant_scope(bench.tenant.id):
            intake.delete_file(file_id=file.id, actor="system:test")
        return report

    monkeypatch.setattr(scrubbing, "profile_in_child", deleted_meanwhile)
    scrub = scrubbed(bench, file)
    assert (scrub.state, scrub.error["code"], scrub.result) == ("failed", "file_deleted", None)
    assert list(object_store().list(f"{bench.tenant.id}/")) == []


def test_a_file_that_is_read_otherwise_is_profiled_anew(bench: Bench) -> None:
    rows = [{"question": "why?", "answer": "so"}]
    file = bench.add_file(jsonl(rows), status="uploaded")
    with tenant_scope(bench.tenant.id):
        reading = datasets.request_check(file=file)
    perform(CHECK, tenant_id=bench.tenant.id, key=reading.id)
    for columns in (
        {"instruction": "question", "output": "answer"},
        {"prompt": "question", "completion": "answer"},
    ):
        with tenant_scope(bench.tenant.id):
            map_columns(file=file, columns=columns, actor="system:test")
            assert not Profile.objects.exists()
        perform(CHECK, tenant_id=bench.tenant.id, key=reading.id)
        assert profiled(bench, file).report["rows"] == 1  # type: ignore[index]


ROLES = ("assistant", "user", "assistant")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a bob@corp.io", "completion": "b"},
        {"text": "bob@corp.io says"},
        {"instruction": "i", "input": "bob@corp.io", "output": "o"},
        {
            "conversations": [
                {"from": "human", "value": "bob@corp.io"},
                {"from": "gpt", "value": "b"},
            ]
        },
        {"prompt": "p bob@corp.io", "chosen": "c", "rejected": "r"},
        {
            "input": {"messages": [{"role": "user", "content": "bob@corp.io"}]},
            "preferred_output": [{"role": "assistant", "content": "a"}],
            "non_preferred_output": [{"role": "assistant", "content": "b"}],
        },
        {
            side: [
                {"role": "user", "content": "bob@corp.io"},
                *({"role": role, "content": f"{side} {role}"} for role in ROLES),
            ]
            for side in ("chosen", "rejected")
        },
        {
            "messages": [{"role": "user", "content": "bob@corp.io"}],
            "reference": {"name": "bob@corp.io"},
        },
        {
            "prompt": [{"role": "user", "content": "bob@corp.io"}],
            "completion": [{"role": "assistant", "content": "b"}],
            "label": True,
        },
        {"prompt": "bob@corp.io", "completion": "b", "label": False},
    ],
    ids=[
        *("completion", "text", "alpaca", "sharegpt", "chosen", "preference", "conversations"),
        *("prompt", "rated", "rated texts"),
    ],
)
def test_rows_of_each_format_are_read_again_as_they_were(bench: Bench, row: dict[str, Any]) -> None:
    file = checked(bench, [row])
    scrub = scrubbed(bench, file)
    with tenant_scope(bench.tenant.id):
        before, after = (
            json.loads(open_vault().read_bytes(Dataset.objects.get(file=each).rows_object))
            for each in (scrub.file, scrub.result)
        )
    assert after == json.loads(json.dumps(before).replace("bob@corp.io", "[EMAIL]"))


def test_more_than_may_wait_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "MOST_WAITING", 1)
    monkeypatch.setattr(scrubbing, "MOST_WAITING", 1)
    file, other = checked(bench, chat_rows(2)), checked(bench, chat_rows(3))
    with tenant_scope(bench.tenant.id):
        by = somebody(bench.tenant.id)
        profiling.request_profile(file=file, against=None, by=by)
        profiling.request_profile(file=file, against=None, by=by)
        scrubbing.request_scrub(file=file, kinds=(Kind.EMAIL,), by=by)
        for ask in (
            lambda: profiling.request_profile(file=other, against=None, by=by),
            lambda: scrubbing.request_scrub(file=other, kinds=(Kind.EMAIL,), by=by),
        ):
            with pytest.raises(UserFault) as caught:
                ask()
            assert caught.value.status == 429
