"""The form of a new pipeline: what is filled in is made, what is refused is said at its field."""

import re
from pathlib import Path
from typing import Any

import pytest

from finetune.models import Pipeline, Stage
from tenants.database.scope import tenant_scope
from tenants.roles import Role
from tenants.services.tenants import add_member
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench
from tests.fixtures.people import browser_of, new_person

pytestmark = pytest.mark.django_db


@pytest.fixture
def bench(tiny_base: Path) -> Bench:
    return new_bench(tiny_base)


def ask(bench: Bench, language: str = "en", **filled: Any) -> Any:
    person = new_person()
    add_member(tenant_id=bench.tenant.id, user=person, role=Role.ENGINEER, actor="test")
    fields = {re.sub(r"^s(\d)_", r"\1-", name): value for name, value in filled.items()}
    form = {"model": "tiny", "adapter": "quick", "name": "in stages"} | fields
    address = f"/t/{bench.tenant.slug}/pipelines/new"
    return browser_of(person).post(address, form, headers={"accept-language": language})


def file_of(bench: Bench, start: int) -> str:
    return str(bench.add_file(jsonl(chat_rows(12, start=start))).id)


def beside(page: str, field: str) -> str:
    """What is said at the field of that name."""
    after = page.partition(f'name="{field}"')[2]
    found = re.search(r'role="alert">([^<]+)<', after.partition("form-label")[0])
    return found[1] if found else ""


def test_two_stages_are_made_as_they_were_filled_in(bench: Bench) -> None:
    answer = ask(
        bench,
        s0_training_file=file_of(bench, 0), s0_validation_split="0.25", s0_gate="better",
        s1_training_file=file_of(bench, 100), s1_method="supervised", s1_n_epochs="3",
        hold="1",
    )  # fmt: skip
    assert answer.status_code == 302, answer.content.decode()
    with tenant_scope(bench.tenant.id):
        pipeline = Pipeline.objects.get()
        first, second = Stage.objects.order_by("number")
    assert answer["location"].endswith(f"/pipelines/{pipeline.id}/")
    assert (pipeline.name, pipeline.paused_at is not None) == ("in stages", True)
    assert (first.gate, second.gate) == ("better", "none")
    assert first.request["validation_split"] == 0.25
    assert first.request["adapter"]["r"] == 8
    assert second.request["hyperparameters"]["n_epochs"] == 3


@pytest.mark.parametrize(
    ("language", "said"),
    [("en", "Choose the data of this stage."), ("zh-hans", "请选择此阶段的数据。")],
)
def test_a_stage_that_was_left_out_is_named(bench: Bench, language: str, said: str) -> None:
    answer = ask(bench, language, s0_training_file=file_of(bench, 0))
    assert beside(answer.content.decode(), "1-training_file") == said
    gap = ask(
        bench, language, s0_training_file=file_of(bench, 0), s2_training_file=file_of(bench, 9)
    )
    assert beside(gap.content.decode(), "1-training_file") == said
    with tenant_scope(bench.tenant.id):
        assert not Pipeline.objects.exists()


def test_what_the_service_refuses_is_said_at_its_stage_and_nothing_is_lost(bench: Bench) -> None:
    answer = ask(
        bench,
        s0_training_file=file_of(bench, 0), s0_gate="better",
        s1_training_file=file_of(bench, 100), s1_n_epochs="7",
    )  # fmt: skip
    page = answer.content.decode()
    assert beside(page, "0-validation_file")
    assert not beside(page, "1-validation_file")
    assert 'value="7"' in page
    assert 'value="in stages"' in page
