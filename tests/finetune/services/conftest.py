"""A tenant with a licence for a catalogue model, and files in its vault."""

from pathlib import Path

import pytest

from tests.fixtures.jobs import Bench, new_bench


@pytest.fixture
def bench(db: None, tiny_base: Path) -> Bench:
    """In the test's own transaction: nothing is committed, no nudge is sent."""
    return new_bench(tiny_base)
