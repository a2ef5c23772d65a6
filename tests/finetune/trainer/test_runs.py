"""A run folder through the real process: it ends, fails and goes on as promised."""

import itertools
import json
import math
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from finetune.api.wire.job_create import JobCreate, WireHyperparameters
from finetune.sandbox.start import Child
from finetune.states import ExitCode
from finetune.trainer import optim
from finetune.trainer.__main__ import _fault as fault_of
from finetune.trainer.events import EventLog
from finetune.trainer.lifeline import Stop
from finetune.trainer.loop import evaluate, prepare
from finetune.trainer.objectives.pretrain import PRETRAIN
from finetune.trainer.objectives.sft import SFT
from finetune.trainer.spec import RunSpec
from tests.conftest import ROOT
from tests.finetune.trainer.runs import (
    HALTING,
    chunks,
    error,
    events,
    finish,
    forked,
    halted,
    let_go,
    make_run,
    report,
    result_hash,
    start,
    train_interrupted,
    write_jsonl,
)
from tests.fixtures.waiting import is_alive, until
from tests.tiny import build_tiny_base

STEPS = 10  # 20 rows, 4 a step, 2 epochs
SETTINGS = {"save_every": 3, "eval_every": 4, "adapter": {"r": 4, "dropout": 0.1}}


@pytest.fixture(scope="module")
def undisturbed(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_run(tmp_path_factory.mktemp("undisturbed") / "run", tiny_base, **SETTINGS)
    assert finish(folder) == ExitCode.DONE
    return folder


def test_a_run_leaves_a_peft_adapter_and_says_what_happened(
    undisturbed: Path, tiny_base: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    told = report(undisturbed)
    assert told["steps"] == STEPS
    assert told["valid_loss"] < told["base_valid_loss"]
    metrics = [event["data"] for event in events(undisturbed, "metrics")]
    assert [m["step"] for m in metrics] == list(range(1, STEPS + 1))
    assert [m["step"] for m in metrics if "valid_loss" in m] == [4, 5, 8, 10]
    assert metrics[-1]["total_steps"] == STEPS
    assert [event["seq"] for event in events(undisturbed)] == list(
        range(1, len(events(undisturbed)) + 1)
    )
    assert (undisturbed / "result" / "metrics.csv").read_text().count("\n") == STEPS + 1
    kept = sorted(int(p.name) for p in (undisturbed / "checkpoints").iterdir())
    assert kept == sorted({9, 10, told["best_step"]})
    base = AutoModelForCausalLM.from_pretrained(tiny_base)
    tuned = PeftModel.from_pretrained(base, undisturbed / "result")
    saved = load_file(undisturbed / "result" / "adapter_model.safetensors")
    assert saved
    assert all(torch.isfinite(tensor).all() for tensor in saved.values())
    assert any(tensor.abs().max() > 0 for name, tensor in saved.items() if "lora_B" in name)
    assert tuned.peft_config["default"].r == 4


def test_the_same_spec_gives_the_same_bytes_in_a_process_of_its_own(
    undisturbed: Path, tiny_base: Path, tmp_path: Path
) -> None:
    again = make_run(tmp_path / "run", tiny_base, **SETTINGS)
    process = start(again)
    _, err = process.communicate()
    assert process.returncode == ExitCode.DONE, err
    assert result_hash(again) == result_hash(undisturbed)


@contextmanager
def standing_still(run_dir: Path, *, at: int) -> "Iterator[tuple[Child, int]]":
    """The trainer, after it has told of so many steps, and the process id to signal: it waits there
    by itself, since whoever looks at it from outside may look when it is over."""
    child = forked(run_dir, str(at), module=HALTING)
    try:
        until(
            lambda: halted(run_dir),
            "it did not come so far",
            of=child.process,
            said=lambda: (run_dir.parent / "log").read_text(),
        )
        assert steps_told(run_dir) == at
        trainer = halted(run_dir)
        assert trainer is not None
        yield child, trainer
    finally:
        child.kill()


def steps_told(run_dir: Path) -> int:
    path = run_dir / "events.jsonl"
    return path.read_bytes().count(b'"type": "metrics"') if path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 2, 7])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_and_resumed_it_ends_in_the_same_bytes(
    undisturbed: Path, tiny_base: Path, tmp_path: Path, how: signal.Signals, at: int
) -> None:
    folder = make_run(tmp_path / "run", tiny_base, **SETTINGS)
    with standing_still(folder, at=at) as (child, trainer):
        os.kill(trainer, how)
        let_go(folder)
        code = child.process.wait()
    if how == signal.SIGTERM:
        assert code == ExitCode.YIELDED
        newest = max([int(p.name) for p in (folder / "checkpoints").glob("[0-9]*")] or [0])
        assert newest >= steps_told(folder)  # nothing that was told is lost
    else:
        assert code == -signal.SIGKILL
    assert finish(folder) == ExitCode.DONE
    assert result_hash(folder) == result_hash(undisturbed)
    told = [event["data"]["step"] for event in events(folder, "metrics")]
    assert told == list(range(1, STEPS + 1))  # none repeated, none missing
    numbers = [event["seq"] for event in events(folder)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_resumed_from_every_checkpoint_it_ends_in_the_same_bytes(
    undisturbed: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """In one process: yielding before each micro-batch in turn, then going on, to the end."""

    folder = make_run(tmp_path / "run", tiny_base, **SETTINGS)
    assert train_interrupted(folder, 3, most=60) >= 6
    assert result_hash(folder) == result_hash(undisturbed)


def test_a_pretraining_resumed_from_every_checkpoint_ends_in_the_same_bytes(
    tiny_base: Path, tmp_path: Path
) -> None:
    from finetune.trainer.loop import train

    text = " ".join(f"Room {n} has {n * n} lamps." for n in range(40))
    folders = [
        make_run(tmp_path / name, tiny_base, objective="pretrain", **SETTINGS)
        for name in ("whole", "parted")
    ]
    for folder in folders:
        write_jsonl(folder / "data" / "train.jsonl", chunks(tiny_base, text, 32)[:16])
    train(folders[0], Stop())
    assert train_interrupted(folders[1], 6, most=60) >= 2
    assert result_hash(folders[0]) == result_hash(folders[1])


def test_holes_differ_from_epoch_to_epoch_and_not_from_run_to_run(tmp_path: Path) -> None:
    from finetune.trainer.loop import train

    names = ["<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|file_sep|>"]
    base = build_tiny_base(tmp_path / "base", control=names)
    text = " ".join(f"Room {n} has {n * n} lamps." for n in range(40))
    asked = {"objective": "pretrain", "settings": {"fim_rate": 0.5}, "max_length": 48} | SETTINGS
    folders = [make_run(tmp_path / name, base, **asked) for name in ("whole", "parted")]
    for folder in folders:
        for name, some in (("train", slice(0, 12)), ("valid", slice(12, 15))):
            write_jsonl(folder / "data" / f"{name}.jsonl", chunks(base, text, 32)[some])
    run = prepare(
        RunSpec.read(folders[0]), PRETRAIN, folders[0], EventLog(tmp_path / "events"), Stop()
    )
    seen = []
    for step in (0, run.plan.steps_per_epoch):
        run.state.step = step
        rows = [list(run.row(number).sequences[0].input_ids) for number in range(12)]
        assert rows == [list(run.row(number).sequences[0].input_ids) for number in range(12)]
        assert 2 <= sum(len(row) > 32 for row in rows) <= 10
        seen.append((rows, [list(run.held_out(n).sequences[0].input_ids) for n in range(3)]))
    (first, valid), (second, valid_again) = seen
    assert first != second
    assert valid == valid_again, "every evaluation is of the same texts"
    train(folders[0], Stop())
    assert train_interrupted(folders[1], 4, most=60) >= 3
    assert result_hash(folders[0]) == result_hash(folders[1])
    assert events(folders[0], "metrics")[-1]["data"]["valid_loss"] > 0


def test_a_damaged_checkpoint_is_told_and_an_older_one_used(
    undisturbed: Path, tiny_base: Path, tmp_path: Path
) -> None:
    folder = make_run(tmp_path / "run", tiny_base, **SETTINGS)
    with standing_still(folder, at=7) as (child, _):
        child.kill()
    newest = max((folder / "checkpoints").glob("[0-9]*"), key=lambda p: int(p.name))
    optimizer = bytearray((newest / "optimizer.safetensors").read_bytes())
    optimizer[-1] ^= 1
    (newest / "optimizer.safetensors").write_bytes(optimizer)
    (folder / "events.jsonl").open("ab").write(b'{"seq": 99, "half a li')
    assert finish(folder) == ExitCode.DONE
    warnings = [event["message"] for event in events(folder) if event["level"] == "warn"]
    assert any("SHA-256" in text for text in warnings)
    assert result_hash(folder) == result_hash(undisturbed)


def test_the_trainer_dies_with_its_worker(tiny_base: Path, tmp_path: Path) -> None:
    """In the middle of its training, where it stands still: it cannot be over before."""
    folder = make_run(tmp_path / "run", tiny_base)
    worker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys, time\n"
            "p = subprocess.Popen(sys.argv[1:])\n"
            "print(p.pid, flush=True); time.sleep(3600)",
            *[sys.executable, "-m", HALTING, str(folder), "2"],
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    )
    assert worker.stdout is not None
    trainer = int(worker.stdout.readline())
    until(lambda: halted(folder), "it did not train", of=worker)
    assert is_alive(trainer)
    worker.kill()
    worker.wait()
    until(lambda: not is_alive(trainer), "it lives on")
    worker.stdout.close()


def test_a_single_step_trains_and_says_that_it_had_no_warm_up(
    tiny_base: Path, tmp_path: Path
) -> None:
    """Ten rows, one epoch, sixteen a step: everybody's first try."""
    folder = make_run(tmp_path / "run", tiny_base, rows=10, epochs=1, batch_size=16)
    assert finish(folder) == ExitCode.DONE
    told = report(folder)
    assert told["steps"] == 1
    assert told["valid_loss"] < told["base_valid_loss"]
    saved = load_file(folder / "result" / "adapter_model.safetensors")
    assert all(tensor.any() for name, tensor in saved.items() if "lora_B" in name)
    (event,) = [e for e in events(folder, "message") if "warmup_steps" in e["data"]]
    assert (event["level"], event["code"]) == ("info", "no_warmup")
    assert event["data"] == {"steps": 1, "warmup_steps": 0, "asked_warmup_steps": 1}


def test_a_warm_up_over_the_whole_run_is_shortened_and_told(
    tiny_base: Path, tmp_path: Path
) -> None:
    rates = {"learning_rate": 1e-2, "warmup_ratio": 1}
    folder = make_run(tmp_path / "run", tiny_base, valid=False, optim=rates)
    assert finish(folder) == ExitCode.DONE
    (event,) = [e for e in events(folder, "message") if "warmup_steps" in e["data"]]
    assert (event["level"], event["code"]) == ("warn", "warmup_shortened")
    figures = {"steps": STEPS, "warmup_steps": STEPS - 1, "asked_warmup_steps": STEPS}
    assert event["data"] == figures
    assert events(folder, "metrics")[-1]["data"]["learning_rate"] == 1e-2


def test_a_run_of_ordinary_length_says_nothing_of_its_warm_up(undisturbed: Path) -> None:
    assert not [e for e in events(undisturbed) if "warmup_steps" in e["data"]]


def test_early_stop_ends_at_the_best_and_says_so(tiny_base: Path, tmp_path: Path) -> None:
    folder = make_run(
        tmp_path / "run",
        tiny_base,
        epochs=50,
        eval_every=1,
        early_stop_patience=2,
        keep="best",
        optim={"learning_rate": 0.5, "warmup_ratio": 0, "schedule": "constant"},
    )
    assert finish(folder) == ExitCode.DONE
    told = report(folder)
    assert told["stopped_early"] is True
    assert told["steps"] == told["best_step"] + 2 < 250
    assert told["result_step"] == told["best_step"]
    assert told["valid_loss"] == told["best_valid_loss"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{not json\n", "bad_json"),
        (b'{"messages": [{"role": "user", "content": "hi"}]}\n', "nothing_trained"),
        (b'{"text": "' + b"long " * 200 + b'"}\n', "row_too_long"),
        (b'{"question": 1}\n', "bad_row"),
    ],
)
def test_bad_rows_end_in_64_with_the_line(
    tiny_base: Path, tmp_path: Path, line: bytes, code: str
) -> None:
    folder = make_run(tmp_path / "run", tiny_base, valid=False, max_length=128)
    (folder / "data" / "train.jsonl").open("ab").write(line)
    assert finish(folder) == ExitCode.DATA
    told = error(folder)
    assert (told["family"], told["code"]) == ("user", code)
    assert told["where"] == "train.jsonl line 21"
    assert told["fix"]
    assert not (folder / "result").exists()


def test_other_data_than_the_specs_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", tiny_base, valid=False, data={"train_sha256": "0" * 64})
    assert finish(folder) == ExitCode.OURS
    assert error(folder)["code"] == "data_changed"


def test_a_step_that_is_not_finite_is_skipped_and_told_and_the_third_ends_the_run(
    tiny_base: Path, tmp_path: Path
) -> None:
    """A learning rate that throws the weights beyond what float32 holds."""
    rates = {"learning_rate": 1e30, "warmup_ratio": 0, "schedule": "constant"}
    folder = make_run(tmp_path / "run", tiny_base, valid=False, optim=rates)
    assert finish(folder) == ExitCode.DATA
    told = error(folder)
    assert (told["code"], told["param"]) == ("training_diverged", "learning_rate_multiplier")
    warnings = [event for event in events(folder) if event["level"] == "warn"]
    assert [event["data"]["skipped_steps"] for event in warnings] == [1, 2, 3]
    assert not (folder / "result").exists()


def test_a_run_that_is_ruined_and_stays_finite_ends_with_a_warning(
    tiny_base: Path, tmp_path: Path
) -> None:
    spec = {"optim": {"learning_rate": 1e4, "warmup_ratio": 0}, "adapter": {"targets": ["v_proj"]}}
    folder = make_run(tmp_path / "run", tiny_base, rows=24, **spec)
    assert finish(folder) == ExitCode.DONE
    warned = report(folder)["warnings"]
    assert warned[0]["code"] == "base_at_chance"  # the tiny base's weights are random
    assert warned[0]["data"]["guessing_loss"] == pytest.approx(math.log(320), rel=0.01)
    said = [event for event in events(folder) if event["level"] == "warn"]
    assert [event["message"] for event in said] == [each["message"] for each in warned]


def test_a_run_that_learns_has_no_warning(undisturbed: Path) -> None:
    assert report(undisturbed)["warnings"] == []


@pytest.mark.parametrize("skipped", [{4, 5}, {10}, {5, 10}])
def test_a_skipped_step_is_evaluated_where_that_is_due(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skipped: set[int]
) -> None:
    clip, steps = optim.clip, itertools.count(1)

    def clipped(parameters: Sequence[torch.nn.Parameter], most: float) -> float:
        return math.inf if next(steps) in skipped else clip(parameters, most)

    monkeypatch.setattr(optim, "clip", clipped)
    folder = make_run(tmp_path / "run", tiny_base, **SETTINGS)
    assert finish(folder) == ExitCode.DONE
    metrics = [event["data"] for event in events(folder, "metrics")]
    assert [m["step"] for m in metrics if "valid_loss" in m] == [4, 5, 8, 10]
    assert {m["step"] for m in metrics if "train_loss" not in m} == skipped
    told = report(folder)
    assert (told["steps"], told["result_step"]) == (STEPS, STEPS)
    assert told["valid_loss"] == metrics[-1]["valid_loss"]
    assert told["train_loss"] is not None
    assert (folder / "checkpoints" / str(STEPS)).is_dir()


def test_a_run_whose_only_step_is_skipped_is_evaluated(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optim, "clip", lambda *_: math.inf)
    folder = make_run(tmp_path / "run", tiny_base, rows=10, epochs=1, batch_size=16)
    assert finish(folder) == ExitCode.DONE
    told = report(folder)
    assert told["valid_loss"] == told["base_valid_loss"]
    assert told["train_loss"] is None


def test_a_full_disk_is_told_and_corrupts_nothing(
    undisturbed: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """A real limit of the kernel on file size: the tensors do not fit, the events do."""
    folder = make_run(tmp_path / "run", tiny_base, **SETTINGS)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30000, before[1]))
    try:
        child = forked(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert child.process.wait() == ExitCode.OURS
    child.kill()
    assert error(folder)["code"] == "disk_full"
    assert list((folder / "checkpoints").iterdir()) == []
    assert finish(folder) == ExitCode.DONE  # with space again, it goes on
    assert not (folder / "error.json").exists()
    assert result_hash(folder) == result_hash(undisturbed)


def test_packing_trains_every_row_once_an_epoch(tiny_base: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", tiny_base, packing=True, batch_size=1, max_length=200)
    assert finish(folder) == ExitCode.DONE
    said = events(folder, "message")[0]["data"]
    assert said["rows"] == 20
    assert report(folder)["steps"] < 2 * 20
    assert report(folder)["trained_tokens"] == 2 * said["trained_tokens_per_epoch"]


def test_the_trainer_imports_no_django_and_opens_no_socket(tiny_base: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", tiny_base, epochs=1)
    watched = (
        "import sys\n"
        "def hook(event, args):\n"
        "    assert event not in ('socket.connect', 'socket.getaddrinfo'), event\n"
        "sys.addaudithook(hook)\n"
        "from finetune.trainer.__main__ import main\n"
        "code = main([sys.argv[1]])\n"
        "mine = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(mine & {'django', 'celery', 'tenants', 'privatune'}))\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", watched, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.DONE, done.stderr
    assert done.stdout.strip() == "[]"


def test_no_file_of_a_run_is_a_pickle(undisturbed: Path) -> None:
    names = {p.suffix for p in undisturbed.rglob("*") if p.is_file() and "base" not in p.parts}
    assert names <= {".json", ".jsonl", ".safetensors", ".csv"}
    for path in (undisturbed / "checkpoints").rglob("*.json"):
        json.loads(path.read_text())


def test_completion_and_text_rows_train_too(tiny_base: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", tiny_base, valid=False, epochs=1)
    rows = [{"prompt": f"say {i}:", "completion": f" {i * i}"} for i in range(6)]
    write_jsonl(folder / "data" / "train.jsonl", [*rows, {"text": "the fan is off"}])
    assert finish(folder) == ExitCode.DONE


def test_too_little_memory_is_told_with_what_a_request_can_change() -> None:
    told = fault_of(RuntimeError("DefaultCPUAllocator: not enough memory"))
    assert told.code == "out_of_memory"
    named = {word.strip(",.") for word in told.fix.split() if "_" in word}
    assert named == {"max_length", "gradient_checkpointing", "micro_batch_tokens"}
    assert named <= JobCreate.model_fields.keys() | WireHyperparameters.model_fields.keys()


def test_a_long_validation_tells_how_far_it_is(tiny_base: Path, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", tiny_base, micro_batch_tokens=1)  # a row at a time
    log = EventLog(folder / "events.jsonl")
    run = prepare(RunSpec.read(folder), SFT, folder, log, Stop())
    now = itertools.count(step=6)  # seconds between two looks at the clock
    run.clock = lambda: float(next(now))
    evaluate(run)
    log.close()
    told = [event["message"] for event in events(folder, "message")]
    assert told == [f"Validated {done} of 6 rows." for done in (2, 4)]
