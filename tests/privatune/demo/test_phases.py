"""Nothing is silent for 15 seconds where no terminal is; the clock is the test's."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from privatune.cli.progress import JobBar
from privatune.demo import phases
from privatune.demo.phases import Phase, counted
from privatune.demo.stack import Operation, Starting


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=80)


def printed(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def silences(clock: Clock, console: Console, look: Callable[[], None], seconds: int) -> list[float]:
    """The times between lines while `look` is called every second."""
    last, found, lines = clock.now, [], len(printed(console))
    for _ in range(seconds):
        clock.now += 1
        look()
        if len(printed(console)) > lines:
            found.append(clock.now - last)
            last, lines = clock.now, len(printed(console))
    return [*found, clock.now - last]


def test_a_phase_is_never_silent_for_15_seconds(clock: Clock, console: Console) -> None:
    phase = Phase(console, lambda: "Applying migrations …", clock=clock)
    assert max(silences(clock, console, phase.look, 100)) < 15
    assert printed(console)[0] == "Applying migrations … (12 s)"


def test_a_phase_tells_what_the_work_is_at_now(clock: Clock, console: Console) -> None:
    said = iter(["unpack (95 MB)", "check (270 MB)"])
    phase = Phase(console, lambda: next(said), clock=clock)
    for _ in range(2):
        clock.now += 12
        phase.look()
    assert printed(console) == ["unpack (95 MB) (12 s)", "check (270 MB) (24 s)"]


def test_a_short_phase_prints_nothing(clock: Clock, console: Console) -> None:
    phase = Phase(console, lambda: "quick", clock=clock)
    clock.now += 11
    phase.look()
    assert printed(console) == []


def test_answers_are_counted(
    clock: Clock, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phases, "LOOK_SECONDS", 3600.0)  # the test looks by itself
    with counted(console, "base: questions answered", 200, clock=clock) as one_more:
        for _ in range(40):
            one_more()
    assert printed(console) == ["base: questions answered: 40 of 200"]


def test_in_a_terminal_the_line_is_live_and_leaves_nothing_behind(clock: Clock) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80)
    with Phase(terminal, lambda: "Starting PostgreSQL …", clock=clock) as phase:
        clock.now += 60
        phase.look()
    assert isinstance(terminal.file, io.StringIO)
    shown = terminal.file.getvalue()
    assert "Starting PostgreSQL … (1 min 0 s)" in shown
    assert shown.endswith("\x1b[1A\x1b[2K")  # one line up, and cleared


@pytest.fixture
def bar(clock: Clock, console: Console) -> JobBar:
    return JobBar("training", console, clock=clock)


def test_a_job_that_waits_or_packs_is_never_silent(
    clock: Clock, console: Console, bar: JobBar
) -> None:
    with bar:
        assert max(silences(clock, console, lambda: bar.state("queued"), 60)) < 15
        assert printed(console)[-1].startswith("training: queued (")
        bar.say("Checkpoint at step 200")
        assert max(silences(clock, console, lambda: bar.state("running"), 60)) < 15
    assert printed(console)[-1].startswith("training: Checkpoint at step 200 (2 min")


def test_training_tells_its_figures(clock: Clock, console: Console, bar: JobBar) -> None:
    with bar:
        for step in range(1, 61):
            clock.now += 1
            bar.metrics({"step": step, "total_steps": 200, "train_loss": 1.5, "seconds_left": 80})
            bar.state("running")
    lines = printed(console)
    assert lines[0] == "training: step 12 of 200 · loss 1.500 · 1 min 20 s left (12 s)"
    assert len(lines) == 5


def test_an_operators_command_is_followed_while_it_runs(tmp_path: Path) -> None:
    gate = tmp_path / "go"
    code = (
        "import sys; print('unpack (95 MB)', file=sys.stderr, flush=True);"
        f"open({str(gate)!r}).read(); print('[1]')"
    )
    os.mkfifo(gate)
    operation = Operation([sys.executable, "-c", code])
    with gate.open("w"):  # opens when the command has said its line and reads
        pass
    assert operation() == [1]
    assert operation.newest == "unpack (95 MB)"


def test_the_stacks_start_is_followed_in_its_log(tmp_path: Path) -> None:
    log = tmp_path / "stack.log"
    log.write_text("Starting PostgreSQL …\nApplying migrations …\n", "utf-8")
    with subprocess.Popen(
        [sys.executable, "-c", f"print({json.dumps(json.dumps({'base_url': 'http://x/v1'}))})"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        starting = Starting(process, tmp_path, log)
        assert starting.newest() == "Applying migrations …"
        assert starting.ready().base_url == "http://x/v1"
