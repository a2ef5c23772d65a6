"""Run folders on the tiny base, and the trainer as a process of its own."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune.families.causal_lm.layout import Row
from finetune.records.encode import RowEncoder, load_tokenizer
from finetune.sandbox.levels import Level
from finetune.sandbox.room import Room
from finetune.sandbox.start import Child, start_loaded
from finetune.trainer import optim
from finetune.trainer.__main__ import main
from finetune.trainer.checkpoint import Checkpoints
from finetune.trainer.data import Plan
from finetune.trainer.events import EventLog
from finetune.trainer.lanes import Lanes
from finetune.trainer.lifeline import Stop, Yielded
from finetune.trainer.loop import train
from finetune.trainer.objectives import OBJECTIVES, Objective
from finetune.trainer.run import Run, Speedometer
from finetune.trainer.spec import OptimSpec, RunSpec
from finetune.trainer.state import TrainerState
from finetune.work.launcher import LOADED, scrubbed_environment

PLACES = ["kitchen", "bedroom", "living room", "hall", "客厅"]
SYSTEM = "answers with one JSON call"


class StopAfter(Stop):
    """Lets so many checks pass, and yields at the next."""

    def __init__(self, checks: int) -> None:
        super().__init__()
        self.left = checks

    def check(self) -> None:
        self.left -= 1
        self.requested = self.left < 0
        super().check()


def bare_run(
    spec: RunSpec,
    model: Any,
    objective: Objective,
    rows: Sequence[Any],
    plan: Plan,
    folder: Path,
    *,
    lanes: int = 2,
) -> Run:
    """Without a run folder's spec and rows, for what is held to another trainer."""
    return Run(
        spec=spec,
        model=model,
        objective=objective,
        lanes=Lanes(lanes, threads=lanes),
        optimizer=optim.adamw(model.parameters, model.parameter_names, spec.optim),
        rows=rows,
        valid=[],
        plan=plan,
        state=TrainerState(spec_sha256=""),
        checkpoints=Checkpoints(folder),
        events=EventLog(folder / "events.jsonl"),
        stop=Stop(),
        speed=Speedometer(),
    )


def train_interrupted(
    run_dir: Path,
    checks: int,
    objectives: Mapping[str, Objective] = OBJECTIVES,
    *,
    most: int = 90,
    before: Callable[[], object] = lambda: None,
) -> int:
    """To its end, though it is stopped after so many checks each time; how often it was, fewer than
    `most` times. `before`: what happens before it goes on."""
    yields = 0
    while not (run_dir / "result").exists():
        before()
        try:
            train(run_dir, StopAfter(checks), objectives)
        except Yielded:
            yields += 1
            assert yields < most
    return yields


def killed_while(
    place: tuple[Any, str], at: int, work: Callable[[], object], *, done: bool = False
) -> Callable[[], None]:
    """`work` in a child that kills itself, as kill -9 does, when it comes to that call of `place`,
    or has `done` it. What is given back waits for its end."""
    if child := os.fork():

        def wait() -> None:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

        return wait
    try:
        module, name = place
        whole, calls = getattr(module, name), 0

        def deadly(*given: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            found = whole(*given, **named) if done or calls < at else None
            if calls == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        setattr(module, name, deadly)
        work()
    finally:
        os._exit(1)


def chat_rows(count: int, *, start: int = 0) -> list[dict[str, Any]]:
    """Rows of unlike lengths that begin alike, as a real file's do."""
    rows = []
    for i in range(start, start + count):
        place = PLACES[i % len(PLACES)]
        call = json.dumps({"intent": "HassTurnOn", "area": place, "n": i * i})
        question = "turn on the light in the " + place + " please" * (i % 4)
        messages = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": question},
            {"role": "assistant", "content": call},
        ]
        rows.append({"messages": messages})
    return rows


def encoded(base: Path, rows: list[dict[str, Any]]) -> list[Row]:
    encoder = RowEncoder(load_tokenizer(base))
    done = [encoder.encode(row) for row in rows]  # type: ignore[arg-type]
    return [Row(tuple(e.input_ids), tuple(e.trained)) for e in done]


def chunks(base: Path, text: str, size: int) -> list[dict[str, Any]]:
    """A document as continued pre-training takes it."""
    return list(RowEncoder(load_tokenizer(base)).chunks({"text": text}, size))  # type: ignore[arg-type]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def make_run(folder: Path, base: Path, *, valid: bool = True, rows: int = 20, **spec: Any) -> Path:
    """A run folder ready to start: spec.json, base, data."""
    (folder / "data").mkdir(parents=True)
    (folder / "base").symlink_to(base)
    write_jsonl(folder / "data" / "train.jsonl", chat_rows(rows))
    if valid:
        write_jsonl(folder / "data" / "valid.jsonl", chat_rows(6, start=100))
        spec.setdefault("data", {"valid": "data/valid.jsonl"})
    settings: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 4,
        "optim": OptimSpec(learning_rate=1e-2).model_dump(),
        "threads": 1,
    }
    RunSpec.model_validate(settings | spec).write(folder)
    return folder


def start(run_dir: Path) -> subprocess.Popen[str]:
    """The trainer, executed."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "finetune.trainer", str(run_dir)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


HALTING = "tests.finetune.trainer.halting"


def forked(run_dir: Path, *more: str, module: str = "finetune.trainer") -> Child:
    """The trainer, forked as a worker's are, without a sandbox."""
    beside = run_dir.parent
    with (beside / "log").open("ab") as log:
        return start_loaded(
            Level.NONE,
            Room(),
            module,
            [str(run_dir), *more],
            loaded=LOADED,
            cwd=beside,
            environment=scrubbed_environment(beside, threads=1),
            stdout=log,
        )


def halted(run_dir: Path) -> int | None:
    """The process id of a trainer, by the module HALTING, that stands still."""
    told = run_dir.parent / "halted"
    return int(told.read_text()) if told.exists() else None


def let_go(run_dir: Path) -> None:
    (run_dir.parent / "go").touch()


def finish(run_dir: Path) -> int:
    """The exit code of the trainer, run to its end in this process (its imports take seconds)."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        return main([str(run_dir), "--detached"])
    finally:
        signal.signal(signal.SIGTERM, before)


def events(run_dir: Path, type_: str | None = None) -> list[dict[str, Any]]:
    lines = (run_dir / "events.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    return [event for event in found if type_ in (None, event["type"])]


def result_hash(run_dir: Path) -> str:
    """Of the adapter and of the metrics: both must survive any interruption unchanged."""
    names = ("adapter_model.safetensors", "metrics.csv", "adapter_config.json")
    whole = b"".join((run_dir / "result" / name).read_bytes() for name in names)
    return hashlib.sha256(whole).hexdigest()


def report(run_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run_dir / "result" / "report.json").read_text())
    return found


def error(run_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run_dir / "error.json").read_text())
    return found
