"""What control groups allow is read from the files that the kernel gives."""

from pathlib import Path

import pytest

from finetune.sandbox import groups
from finetune.trainer import cores


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(groups, "PROC", tmp_path / "cgroup")
    monkeypatch.setattr(groups, "ROOT", tmp_path / "fs")
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: set(range(8)))
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def test_without_groups_the_cores_are_those_it_may_run_on(machine: Path) -> None:
    assert cores.available_cores() == 8


def test_the_tightest_group_on_the_way_up_counts(machine: Path) -> None:
    write(machine / "cgroup", "0::/a/b")
    write(machine / "fs/a/b/cpu.max", "max 100000")
    write(machine / "fs/a/cpu.max", "250000 100000")
    write(machine / "fs/a/b/memory.max", "1000")
    assert list(groups.cpu_limits()) == [2.5]
    assert cores.available_cores() == 2
    assert list(groups.memory_limits()) == [1000]


def test_less_than_one_processor_is_one_core(machine: Path) -> None:
    write(machine / "cgroup", "0::/")
    write(machine / "fs/cpu.max", "50000 100000")
    assert cores.available_cores() == 1


def test_the_first_version_is_read_too(machine: Path) -> None:
    write(machine / "cgroup", "4:cpu,cpuacct:/x\n3:memory:/x")
    write(machine / "fs/cpu/cpu.cfs_quota_us", "300000")  # a container sees its group as the root
    write(machine / "fs/cpu/cpu.cfs_period_us", "100000")
    write(machine / "fs/memory/x/memory.limit_in_bytes", "2000")
    assert cores.available_cores() == 3
    assert list(groups.memory_limits()) == [2000]
