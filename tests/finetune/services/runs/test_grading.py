"""A customer's Python as the grader of a training: run beside it, in a sandbox of its own."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from faults import OurFault, UserFault
from finetune.sandbox.levels import require
from finetune.services.jobs.validation import VALIDATE
from finetune.services.runs import grading
from finetune.services.runs.grading import Keeper, kept
from finetune.services.runs.training import TRAIN
from finetune.states import JobState
from finetune.trainer.rewards import ASKED, FOLDER, TOLD
from finetune.trainer.spec import RunSpec
from finetune.work.perform import perform
from tenants.database.scope import tenant_scope
from tests.fixtures.jobs import jsonl, new_bench
from tests.fixtures.waiting import until

SOURCE = "def grade(sample, item):\n    return sample['output_text'].count(item['letter'])\n"


def python(source: str) -> dict[str, Any]:
    return {"type": "python", "name": "p", "source": source}


def ask(folder: Path, name: str, *letters: str) -> None:
    samples = [{"sample": {"output_text": "eel"}, "item": {"letter": each}} for each in letters]
    (folder / f".{name}").write_text(json.dumps({"name": name, "samples": samples}))
    os.replace(folder / f".{name}", folder / f"{name}{ASKED}")


def spec_of(source: str) -> RunSpec:
    return RunSpec(grader=python(source))


def graded(run_dir: Path, source: str, *letters: str) -> Any:
    with kept(run_dir, spec_of(source), require("require")):
        ask(run_dir / FOLDER, "1", *letters)
        told = run_dir / FOLDER / f"1{TOLD}"
        until(told.exists, "nothing was told")
        (found,) = json.loads(told.read_text())
    return found


@pytest.fixture
def keeper(tmp_path: Path) -> Any:
    with kept(tmp_path, spec_of(SOURCE), require("require")) as found:
        yield found


def test_each_answer_of_a_step_is_graded_and_one_that_fails_stands_alone(tmp_path: Path) -> None:
    source = SOURCE.replace("return", "assert item['letter'] != 'x'; return")
    first, second, third = graded(tmp_path, source, "e", "x", "l")
    assert (first[0], third[0]) == (2, 1)
    assert "AssertionError" in second[1]
    assert not (tmp_path / FOLDER / f"1{ASKED}").exists()


def test_a_source_that_ends_its_process_costs_that_answer_alone(tmp_path: Path) -> None:
    source = SOURCE.replace("return", "import os; item['letter'] == 'x' and os._exit(3); return")
    first, second, third = graded(tmp_path, source, "e", "x", "l")
    assert first == [2, None, False]
    assert "ended without an answer" in second[1]
    assert third[1:] == [None, False]


def test_a_training_that_ends_takes_the_source_that_runs_with_it(tmp_path: Path) -> None:
    source = "import time\ndef grade(sample, item):\n    time.sleep(500)\n"
    with kept(tmp_path, spec_of(source), require("require")) as keeper:
        ask(tmp_path / FOLDER, "1", "e")
        until(lambda: keeper._child is not None, "it did not begin")
        began = time.monotonic()
    assert time.monotonic() - began < 400
    assert keeper._child.poll() is not None
    assert not (tmp_path / FOLDER / f"1{TOLD}").exists()


@pytest.mark.parametrize("what", ["damaged", "a link"])
def test_what_cannot_be_read_ends_the_attempt_and_not_in_waiting_for_ever(
    tmp_path: Path, keeper: Keeper, what: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text('{"samples": []}')
    asked = tmp_path / FOLDER / f"1{ASKED}"
    if what == "damaged":
        asked.write_text("{")
    else:
        asked.symlink_to(secret)
    until(lambda: keeper._broken is not None, "it was read")
    with pytest.raises(OurFault) as refused:
        keeper.require()
    assert refused.value.code == "grader_unavailable"


def test_more_than_can_be_graded_at_once_is_the_customers_to_mend(
    tmp_path: Path, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was cut off, taken for a fault of ours, and tried again."""
    monkeypatch.setattr(grading, "LARGEST", 100)
    ask(tmp_path / FOLDER, "1", "e" * 100)
    until(lambda: keeper._broken is not None, "it was read")
    with pytest.raises(UserFault) as refused:
        keeper.require()
    assert refused.value.code == "too_much_to_grade"


@pytest.mark.slow
def test_a_job_learns_what_a_customers_python_rewards(committed: None, tiny_base: Path) -> None:
    bench = new_bench(tiny_base)
    rows = [
        {"messages": [{"role": "user", "content": f"Say it {n}"}], "letter": "e"} for n in range(8)
    ]
    job = bench.create(
        file=bench.add_file(jsonl(rows)),
        method="reinforcement",
        grader=python(SOURCE),
        max_length=128,
        hyperparameters={"n_epochs": 2, "batch_size": 4},
        settings={"max_completion_tokens": 8, "num_generations": 4},
    )
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    perform(TRAIN, tenant_id=bench.tenant.id, key=job.id)
    ended = bench.job(job)
    assert (ended.state, ended.error) == (JobState.SUCCEEDED, None)
    with tenant_scope(bench.tenant.id):
        metrics = list(job.events.filter(type="metrics").values_list("data", flat=True))
    assert len(metrics) == 4
    assert all(each["train_grader_errors"] == 0 for each in metrics)
    assert any(each["train_reward"] > 0 for each in metrics)
