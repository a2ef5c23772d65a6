"""Some of the completions that a training by rewards draws: kept with its steps, each step's once,
within bounds, and never followed out of the run's folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from faults import OurFault
from finetune.models import StepSample
from finetune.services.jobs.samples import ALTOGETHER, MOST
from finetune.services.jobs.validation import VALIDATE
from finetune.services.runs.attempt import Taking
from finetune.services.runs.history import History
from finetune.services.runs.samples import LEAST, Sampler
from finetune.services.runs.tail import EventTail
from finetune.services.runs.training import TRAIN
from finetune.states import JobState
from finetune.storage import sample_object
from finetune.trainer.spec import RunSpec
from finetune.work import leases
from finetune.work.perform import perform
from tenants.database.scope import tenant_scope
from tenants.services.vaults import open_vault
from tenants.vault.errors import StorageDown
from tenants.vault.vault import Vault
from tests.finetune.services.runs.test_history import Desk
from tests.fixtures.jobs import Bench, jsonl, new_bench

GRADER = {
    "type": "string_check", "name": "letter", "operation": "like",
    "input": "{{ sample.output_text }}", "reference": "{{ item.letter }}",
}  # fmt: skip


def drawn(text: str = "hello", **changes: Any) -> dict[str, Any]:
    """A line of the trainer's."""
    return {
        "row": 3, "line": 5, "ids": [1, 2, 3], "text": text, "reasoning": "", "tool_calls": [],
        "truncated": True, "reward": 0.5, "scores": {"a": 0.5}, "errors": {}, "advantage": -1.0,
        "deviation": 0.1, "old": [0.0], "reference": None,
    } | changes  # fmt: skip


def draw(run_dir: Path, step: int, *lines: dict[str, Any]) -> None:
    folder = run_dir / "rollouts"
    folder.mkdir(exist_ok=True)
    (folder / f"{step - 1}.jsonl").write_bytes(jsonl(list(lines)))


@pytest.fixture
def desk(bench: Bench, tmp_path: Path) -> Desk:
    return Desk(bench, tmp_path)


def taking(desk: Desk, iterations: int = 1, lease: Any = None) -> Taking:
    history = History(lease or desk.lease, desk.vault, Sampler(iterations))
    return Taking(EventTail(desk.run_dir / "events.jsonl"), history, desk.run_dir)


def kept(desk: Desk) -> dict[int, list[str]]:
    with tenant_scope(desk.bench.tenant.id):
        rows = StepSample.objects.filter(job=desk.job).order_by("step")
        return {
            row.step: [
                json.loads(line)["text"]
                for line in desk.vault.read_bytes(row.object_name).splitlines()
            ]
            for row in rows
        }


def test_only_what_draws_is_sampled() -> None:
    assert Sampler.of(RunSpec(objective="sft")) is None
    spec = RunSpec(objective="reinforcement", settings={"num_iterations": 3.0}, grader=GRADER)
    assert Sampler.of(spec) == Sampler(3)


def test_a_steps_completions_are_kept_with_its_metrics_and_encrypted(
    desk: Desk, settings: Any
) -> None:
    draw(desk.run_dir, 1, drawn("rhabarber"), drawn("b"))
    desk.metrics(1)
    assert taking(desk).take()
    assert kept(desk) == {1: ["rhabarber", "b"]}
    with tenant_scope(desk.bench.tenant.id):
        row = StepSample.objects.get(job=desk.job)
    assert row.object_name == sample_object(desk.lease.run_id, 1, 1)
    first = json.loads(desk.vault.read_bytes(row.object_name).splitlines()[0])
    assert first == {
        "row": 5, "text": "rhabarber", "reasoning": "", "tool_calls": [], "shortened": False,
        "tokens": 3, "truncated": True, "reward": 0.5, "scores": {"a": 0.5}, "grader_errors": {},
        "advantage": -1.0,
    }  # fmt: skip
    objects = [path for path in (settings.DATA / "objects").rglob("*") if path.is_file()]
    assert objects
    assert not [path for path in objects if b"rhabarber" in path.read_bytes()]
    assert not [message for message in desk.told() if "rhabarber" in message]


def test_steps_that_are_done_again_after_a_crash_are_not_kept_again(desk: Desk) -> None:
    for number in (1, 2):
        draw(desk.run_dir, number, drawn(f"first {number}"))
        desk.metrics(number)
    taking(desk).take()
    leases.retry(desk.lease, fault=OurFault("x", "x"), exit_code=-9)
    lease = desk.claim()
    (desk.run_dir / "events.jsonl").unlink()
    desk.seq = 0
    for number in (2, 3):
        draw(desk.run_dir, number, drawn(f"again {number}"))
        desk.metrics(number)
    taking(desk, lease=lease).take()
    assert kept(desk) == {1: ["first 1"], 2: ["first 2"], 3: ["again 3"]}


def test_what_several_steps_learn_from_is_of_the_first_of_them(desk: Desk) -> None:
    draw(desk.run_dir, 1, drawn("a"))
    draw(desk.run_dir, 4, drawn("b"))
    for number in (1, 2, 3, 5):  # the fourth was skipped, and is not told
        desk.metrics(number)
    desk.checkpoint(5)
    assert taking(desk, iterations=3).take()
    assert kept(desk) == {1: ["a"], 4: ["b"]}


def test_while_the_storage_is_down_nothing_is_lost_or_doubled(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, down = Vault.put_bytes, True

    def put(self: Vault, name: str, data: bytes) -> Any:
        if down:
            raise StorageDown("its address", "no answer")
        return real(self, name, data)

    monkeypatch.setattr(Vault, "put_bytes", put)
    monkeypatch.setattr("finetune.services.runs.attempt.RETRY_SECONDS", 0)
    draw(desk.run_dir, 1, drawn("a"))
    desk.metrics(1)
    worker = taking(desk)
    assert not worker.take()
    assert kept(desk) == {}
    down = False
    assert worker.take()
    assert kept(desk) == {1: ["a"]}
    assert desk.told() == ["Step 1/9"]


def test_no_link_is_followed_out_of_the_folder(desk: Desk) -> None:
    secret = desk.run_dir / "secret"
    secret.write_bytes(jsonl([drawn("another's")]))
    draw(desk.run_dir, 2)
    (desk.run_dir / "rollouts" / "0.jsonl").symlink_to(secret)
    with pytest.raises(OSError, match="symbolic links"):
        Sampler(1).lines(desk.run_dir, 1, 9)


def test_a_step_keeps_so_many_and_a_job_of_any_length_so_much(tmp_path: Path) -> None:
    long = drawn("汉" * 9000, reasoning="r" * 9000, errors={"other_error": "e" * 9000})
    draw(tmp_path, 1, *[long] * 40)
    few = Sampler(1).lines(tmp_path, 1, 10)
    assert len(few) == MOST
    assert 50_000 < len(b"".join(few)) <= 64 << 10
    first = json.loads(few[0])
    assert first["shortened"] is True
    assert set(first["text"]) == {"汉"}
    many = Sampler(1).lines(tmp_path, 1, 4096)
    assert 4096 * len(b"".join(many)) <= ALTOGETHER
    (one,) = Sampler(1).lines(tmp_path, 1, 10**6)
    assert len(one) <= LEAST
    assert Sampler(1).lines(tmp_path, 2, 10) == []


def test_a_short_answer_is_whole_and_odd_signs_have_room(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    draw(
        tmp_path, 1, drawn("ok", reasoning="so", tool_calls=[call], line=0), drawn("\x01" * 70_000)
    )
    whole, odd = map(json.loads, Sampler(1).lines(tmp_path, 1, 1))
    assert (whole["shortened"], whole["tool_calls"], whole["row"]) == (False, [call], 4)
    assert odd["shortened"] is True
    assert 0 < len(json.dumps(odd["text"])) < 32 << 10


@pytest.mark.slow
def test_a_job_by_rewards_leaves_a_sample_of_each_step(committed: None, tiny_base: Path) -> None:
    bench = new_bench(tiny_base)
    rows = [
        {"messages": [{"role": "user", "content": f"Say it {n}"}], "letter": "e"} for n in range(8)
    ]
    job = bench.create(
        file=bench.add_file(jsonl(rows)),
        method="reinforcement",
        grader=GRADER,
        max_length=128,
        hyperparameters={"n_epochs": 2, "batch_size": 4},
        settings={"max_completion_tokens": 8, "num_generations": 4, "num_iterations": 2},
    )
    assert job.room_bytes > ALTOGETHER
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    perform(TRAIN, tenant_id=bench.tenant.id, key=job.id)
    ended = bench.job(job)
    assert (ended.state, ended.error, ended.total_steps) == (JobState.SUCCEEDED, None, 8)
    with tenant_scope(bench.tenant.id):
        kept = list(StepSample.objects.filter(job=job).order_by("step"))
        vault = open_vault()
        told = [json.loads(x) for x in vault.read_bytes(kept[0].object_name).splitlines()]
        metrics = job.events.filter(type="metrics").order_by("seq").first()
    assert [each.step for each in kept] == [1, 3, 5, 7]
    assert [each.completions for each in kept] == [16] * 4
    assert len({each["row"] for each in told}) == 4
    assert all(1 <= each["row"] <= 8 and 0 < each["tokens"] <= 8 for each in told)
    assert metrics is not None
    mean = sum(each["reward"] for each in told) / 16
    assert metrics.data["train_reward"] == pytest.approx(mean)
