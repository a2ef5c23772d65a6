"""The operator brings a base in: once, under one name, and learns why when it is refused."""

from pathlib import Path

import pytest

from faults import UserFault
from finetune import selectors
from finetune.catalogue import ModelTask
from finetune.models import CatalogModel
from finetune.services.models.catalog import (
    describe_model,
    import_model,
    restore_model,
    retire_model,
)
from tenants.errors import NotFound
from tests.tiny import build_tiny_base

pytestmark = pytest.mark.django_db


def test_importing_the_same_bytes_again_changes_nothing(tiny_base: Path) -> None:
    told: list[str] = []
    first, again = (
        import_model(
            source=str(tiny_base), name="tiny", licence="MIT", actor="op", progress=told.append
        )
        for _ in range(2)
    )
    assert first == again
    assert CatalogModel.objects.filter(name="tiny").count() == 1
    assert first.digest.startswith("sha256:")
    assert told


def test_a_name_that_means_other_bytes_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    import_model(source=str(tiny_base), name="tiny", licence="MIT", actor="op")
    other = build_tiny_base(tmp_path / "other", seed=1)
    with pytest.raises(UserFault) as raised:
        import_model(source=str(other), name="tiny", licence="MIT", actor="op")
    assert raised.value.code == "model_name_taken"


def test_a_path_that_is_not_there_is_not_taken_for_a_hub_id() -> None:
    with pytest.raises(UserFault) as raised:
        import_model(source="/no/such/model", name="x", licence="MIT", actor="op")
    assert raised.value.code == "source_not_found"


def test_what_is_said_of_a_base_is_kept_and_can_be_said_anew(tiny_base: Path) -> None:
    made = import_model(
        source=str(tiny_base), name="described", licence="MIT", task=ModelTask.CODE, terms="As is.",
        actor="op",
    )  # fmt: skip
    assert (made.task, made.terms) == ("code", "As is.")
    anew = describe_model("described", licence="Apache-2.0", terms="", actor="op")
    assert (anew.licence, anew.task, anew.terms) == ("Apache-2.0", "code", "")


def test_a_retired_base_is_off_the_shelf_until_it_is_restored(tiny_base: Path) -> None:
    import_model(source=str(tiny_base), name="described", licence="MIT", actor="op")
    retire_model("described", actor="op")
    assert not selectors.catalogue().filter(name="described").exists()
    restore_model("described", actor="op")
    assert selectors.catalogue().filter(name="described").exists()
    for change in (retire_model, restore_model, describe_model):
        with pytest.raises(NotFound, match="no model 'tnyi'"):
            change("tnyi", actor="op")
