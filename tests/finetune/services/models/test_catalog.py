"""The operator brings a base in: once, under one name, and learns why when it is refused."""

from pathlib import Path

import pytest

from faults import UserFault
from finetune.models import CatalogModel
from finetune.services.models.catalog import import_model
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
    assert first.task == "dialogue"
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
