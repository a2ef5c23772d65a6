"""A tenant with a licence for a catalogue model, and files in its vault."""

import uuid
from pathlib import Path

import pytest

from tests.fixtures.jobs import Bench, new_bench


@pytest.fixture(scope="session")
def tiny_path(tiny_base: Path) -> Path:
    return tiny_base


@pytest.fixture
def bench(db: None, tiny_path: Path) -> Bench:
    """In the test's own transaction: nothing is committed, no nudge is sent."""
    return new_bench(tiny_path, name=f"tiny-{uuid.uuid4().hex[:6]}")
