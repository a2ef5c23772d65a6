"""What torch has no deterministic algorithm for is told, or ends a run that is to be strict."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from faults import OurFault
from finetune.states import ExitCode
from finetune.trainer.determinism import MOST, watched
from finetune.trainer.lifeline import Stop, Yielded
from finetune.trainer.loop import train
from finetune.trainer.objectives.sft import SFT
from tests.finetune.trainer.runs import StopAfter, events, finish, make_run, report


def put() -> None:
    """An operation of which torch says so on a CPU, too."""
    torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))


def test_an_operation_without_a_deterministic_algorithm_is_told_once_and_every_time_anew() -> None:
    for _ in range(2):  # two runs of one process: Python shows a place's warning once by default
        with warnings.catch_warnings(record=True) as shown, watched(strict=False) as found:
            put()
            put()
            warnings.warn("something else", stacklevel=1)
        assert found == ["put_ does not have a deterministic implementation"]
        assert len(shown) == 2
    assert not torch.are_deterministic_algorithms_enabled()


def test_what_torch_says_of_attention_on_a_gpu_is_told_in_its_first_clause() -> None:
    said = (
        "Flash Attention defaults to a non-deterministic algorithm. To explicitly enable "
        "determinism call torch.use_deterministic_algorithms(True, warn_only=False)."
    )
    with warnings.catch_warnings(record=True), watched(strict=False) as found:
        for number in range(MOST + 5):
            warnings.warn(said if number < 2 else f"{number} is no deterministic one", stacklevel=1)
    assert found[0] == "Flash Attention defaults to a non-deterministic algorithm"
    assert len(found) == MOST


def test_strict_ends_at_such_an_operation_and_lets_other_errors_be() -> None:
    with watched(strict=True):
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.backends.cuda.cudnn_sdp_enabled()
    with pytest.raises(OurFault, match="put_ does not have") as told, watched(strict=True):
        put()
    assert told.value.code == "not_deterministic"
    with pytest.raises(RuntimeError, match="shape"), watched(strict=True):
        raise RuntimeError("shape")


def with_put(*given: Any) -> Any:
    put()
    return SFT.sums(*given)


UNORDERED = {"sft": replace(SFT, sums=with_put)}


def test_a_run_says_whether_it_was_deterministic_and_remembers_it_when_it_goes_on(
    tiny_base: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", tiny_base, valid=False, epochs=1)
    with pytest.raises(Yielded):
        train(run, StopAfter(3), UNORDERED)
    assert finish(run) == ExitCode.DONE  # elsewhere, where all have one
    told = report(run)
    assert told["deterministic"] is False
    assert told["nondeterministic"] == ["put_ does not have a deterministic implementation"]
    assert [each["code"] for each in told["warnings"]] == ["not_deterministic"]
    assert "put_" in events(run, "message")[-2]["message"]
    strict = make_run(tmp_path / "strict", tiny_base, valid=False, epochs=1, deterministic=True)
    with pytest.raises(OurFault, match="put_"):
        train(strict, Stop(), UNORDERED)
    assert finish(strict) == ExitCode.DONE
    assert (report(strict)["deterministic"], report(strict)["nondeterministic"]) == (True, [])
