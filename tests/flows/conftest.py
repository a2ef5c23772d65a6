"""A worker for all the tests of a file: it starts with the first, and lives on from one to the next
unless they end it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.jobs import new_bench
from tests.flows.floor import Crew, Floor, tidy_up


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory, embedded_postgres: object) -> Iterator[Crew]:
    crew = Crew(tmp_path_factory.mktemp("crew"))
    yield crew
    tidy_up(crew)


@pytest.fixture
def floor(committed: None, tiny_base: Path, crew: Crew) -> Floor:
    crew.start_if_gone()
    return Floor(new_bench(tiny_base), crew)
