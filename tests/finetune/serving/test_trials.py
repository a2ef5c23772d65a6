"""Grammars that ask for too much are ended with the process that tries them."""

import json
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from faults import UserFault
from finetune.serving.bases import Base
from finetune.serving.structured import kept
from finetune.serving.structured.asked import constraint_of
from finetune.serving.structured.kept import Kept
from finetune.serving.structured.trials import Trials
from tests.fixtures.waiting import until

from .conftest import ask

LIGHT = 'start: %json {"type": "boolean"}'
# Forty seconds of a processor; a new one whenever it is asked for
DEAR = 'start: %json {"type": "number", "multipleOf": 999983}'


@pytest.fixture
def trials(base: Base) -> Iterator[Trials]:
    given = {
        "tokenizer": base.tokenizer.backend_tokenizer.to_str(),
        "size": len(base.tokenizer),
        "stops": [2],
    }
    trials = Trials(lambda: given)
    yield trials
    if trials._running is not None:
        trials._running.stop()


def process_of(trials: Trials) -> psutil.Process:
    assert trials._running is not None
    return psutil.Process(trials._running._process.pid)


def test_what_takes_too_long_is_ended_and_the_next_is_tried(trials: Trials) -> None:
    assert trials.run(DEAR).killed
    before = process_of(trials).pid
    after = trials.run(LIGHT)
    assert (after.killed, after.error) == (False, None)
    assert process_of(trials).pid == before


def test_what_takes_too_much_memory_is_ended(trials: Trials) -> None:
    names = [f"{'name' * 40}{number}" for number in range(300_000)]
    assert trials.run(f"start: %json {json.dumps({'enum': names})}").killed
    assert not trials.run(LIGHT).killed


def test_a_grammars_own_fault_is_told(trials: Trials) -> None:
    told = trials.run("start: missing")
    assert told.error is not None
    assert "missing" in told.error


def test_a_process_that_is_gone_is_started_again(trials: Trials) -> None:
    assert not trials.run(LIGHT).killed
    gone = process_of(trials)
    gone.kill()
    assert not trials.run(LIGHT).killed
    assert process_of(trials).pid != gone.pid


def test_it_has_none_of_our_variables_and_ends_with_whoever_asked(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "a secret")
    trials.run(LIGHT)
    process = process_of(trials)
    assert set(process.environ()) <= {"PYTHONPATH", "LC_CTYPE"}  # Python sets the second itself
    assert trials._running is not None
    stdin = trials._running._process.stdin
    assert stdin is not None
    stdin.close()
    until(lambda: not process.is_running(), "it outlives its input")


def test_a_schema_that_takes_too_long_is_refused_with_what_to_do(base: Base) -> None:
    form: Any = {"json_schema": {"type": "integer", "multipleOf": 999_983}, "place": "here"}
    with pytest.raises(UserFault) as caught:
        constraint_of(base, ask(prompt="turn on", form=form))
    assert (caught.value.code, caught.value.param) == ("schema_too_large", "here")
    assert "`multipleOf`" in str(caught.value.fix)


def test_who_asks_for_much_puts_out_what_is_their_own() -> None:
    shelf = Kept()
    shelf.put("quiet", "a", 1, 10)
    for number in range(2 * kept.COUNT):
        shelf.put("loud", str(number), number, 10)
    assert shelf.get("quiet", "a") == 1
    assert shelf.get("loud", "a") is None  # what another asked for is not told by its haste
    assert shelf.get("loud", "0") is None
    assert shelf.get("loud", str(2 * kept.COUNT - 1)) is not None
    shelf.put("loud", "fat", 1, 2 * kept.KB)
    assert shelf.get("loud", "fat") == 1
    assert shelf.get("loud", str(2 * kept.COUNT - 1)) is None
