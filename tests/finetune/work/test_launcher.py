"""What the launcher says when its processes fail. What they can see: tests/finetune/sandbox."""

import json
from pathlib import Path

import pytest

from faults import OurFault
from finetune.sandbox.levels import require
from finetune.work.launcher import launch_packaging, probe_machine


def test_packaging_that_fails_says_so_by_code_and_file(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    child = launch_packaging(
        tmp_path, base_dir=base, key=b"no key", threads=1, level=require("require")
    )
    assert child.process.wait() == 70
    assert json.loads((tmp_path / "error.json").read_bytes())["code"] == "signing_key"


def test_a_machine_that_cannot_be_probed_says_why(tmp_path: Path) -> None:
    with pytest.raises(OurFault, match=r"could not be probed: .*config"):
        probe_machine("causal_lm", tmp_path, tmp_path, threads=1, rows=1, level=require("require"))
