"""Runs that an older version began go on: its spec is read, and its checkpoint is of that spec."""

import csv
import json
import shutil
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from pydantic import Field
from safetensors.torch import load_file

from finetune.families.contract import AdapterSpec
from finetune.states import ExitCode
from finetune.trainer.lifeline import Stop, Yielded
from finetune.trainer.loop import train
from finetune.trainer.spec import OptimSpec, RunSpec
from tests.finetune.trainer.runs import events, finish, make_run, report, result_hash

# A run folder of 2026-11 stopped at step 5 of 10, to the byte: `lanes` and `thinking` had come
OLDER = Path(__file__).parent / "older"

# As the version wrote it that knew one objective, and called it `method`.
OLD_SPEC = """{
  "version": 1,
  "family": "causal_lm",
  "method": "sft",
  "base": "base",
  "base_digest": null,
  "base_name": "base",
  "data": {
    "train": "data/train.jsonl",
    "valid": "data/valid.jsonl",
    "train_sha256": null,
    "valid_sha256": null
  },
  "adapter": {
    "r": 16,
    "alpha": 32.0,
    "dropout": 0.0,
    "targets": "all-linear",
    "use_dora": false,
    "use_rslora": false
  },
  "optim": {
    "learning_rate": 0.01,
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
    "weight_decay": 0.0,
    "warmup_ratio": 0.03,
    "schedule": "cosine",
    "max_grad_norm": 1.0
  },
  "epochs": 2,
  "batch_size": 4,
  "micro_batch_tokens": 2048,
  "max_length": 1024,
  "packing": false,
  "share_prefixes": true,
  "seed": 0,
  "precision": "fp32",
  "device": "cpu",
  "threads": 1,
  "gradient_checkpointing": false,
  "eval_every": null,
  "save_every": null,
  "early_stop_patience": null,
  "keep": "last"
}"""
OLD_SHA256 = "dc590afd2a3ced026ffae358c15bb9f81f2e2597af2afcab50874cdabbe9da6f"


def test_an_old_spec_is_read_and_written_to_the_byte_and_has_its_old_digest(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(OLD_SPEC)
    spec = RunSpec.read(tmp_path)
    assert spec.objective == "sft"
    spec.write(tmp_path)
    assert (tmp_path / "spec.json").read_text() == OLD_SPEC
    assert spec.sha256 == OLD_SHA256
    # as `Job.resolved` keeps it while the job waits
    assert RunSpec.model_validate(json.loads(OLD_SPEC)) == spec
    assert spec.model_dump(mode="json") == json.loads(OLD_SPEC)


def test_a_version_that_adds_fields_leaves_a_spec_that_does_not_use_them_as_it_is() -> None:
    """Fields of a later version, in the spec and in what it holds; nobody says what is written."""

    class LaterAdapter(AdapterSpec):
        init: Literal["gaussian", "pissa"] = "gaussian"

    class LaterOptim(OptimSpec):
        betas_decay: tuple[float, ...] = Field(default=(), serialization_alias="decay")

    class Later(RunSpec):
        always_written: ClassVar = RunSpec.always_written
        adapter: LaterAdapter = LaterAdapter()
        optim: LaterOptim = LaterOptim()
        loss_scale: float | None = None

    older = (OLD_SPEC, (OLDER / "spec.json").read_text())
    for text, then in zip(older, map(RunSpec.model_validate_json, older), strict=True):
        later = Later.model_validate_json(text)
        assert later.sha256 == then.sha256
        assert later.model_dump(by_alias=False) == then.model_dump(by_alias=False)
        for used in (
            {"loss_scale": 2.0},
            {"adapter": LaterAdapter(init="pissa")},
            {"optim": LaterOptim(betas_decay=(0.5,))},
        ):
            changed = later.model_copy(update=used)
            assert changed.sha256 != then.sha256
            assert Later.model_validate(changed.model_dump(by_alias=False)) == changed


def test_the_checkpoint_that_an_older_version_wrote_is_gone_on_from(
    tiny_base: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(OLDER, run)
    (run / "base").symlink_to(tiny_base)
    state = json.loads((run / "checkpoints" / "5" / "trainer_state.json").read_text())
    assert finish(run) == ExitCode.DONE
    assert (run / "spec.json").read_bytes() == (OLDER / "spec.json").read_bytes()
    codes = [event["code"] for event in events(run)]
    assert "step_resumed" in codes
    assert [each["data"]["step"] for each in events(run, "metrics")] == [6, 7, 8, 9, 10]
    with (run / "result" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 11))
    for row, before in zip(rows, state["history"], strict=False):
        assert float(row["train_loss"]) == before["train_loss"]
    # On another processor the last bits are others, but the weights are still those that it had
    whole = make_run(tmp_path / "whole", tiny_base)
    for part in ("spec.json", "data/train.jsonl", "data/valid.jsonl"):
        shutil.copy(OLDER / part, whole / part)
    assert finish(whole) == ExitCode.DONE
    assert report(run)["train_loss"] == pytest.approx(report(whole)["train_loss"], rel=1e-3)
    theirs = load_file(whole / "result" / "adapter_model.safetensors")
    ours = load_file(run / "result" / "adapter_model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert (tensor - theirs[name]).norm() < 0.02 * theirs[name].norm(), name


def test_a_checkpoint_of_another_spec_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(OLDER, run)
    (run / "base").symlink_to(tiny_base)
    spec = RunSpec.read(run)
    spec.model_copy(update={"lanes": 1}).write(run)
    assert finish(run) == ExitCode.OURS
    told = json.loads((run / "error.json").read_text())
    assert told["code"] == "spec_changed"


def test_a_run_is_resumed_across_the_upgrade_and_ends_in_the_same_bytes(
    tiny_base: Path, tmp_path: Path
) -> None:
    class StopAtStep(Stop):
        def check(self) -> None:
            self.requested = (half / "checkpoints" / "5").exists()
            super().check()

    whole, half = (make_run(tmp_path / name, tiny_base) for name in ("whole", "half"))
    assert finish(whole) == ExitCode.DONE
    assert (half / "spec.json").read_text() == OLD_SPEC
    with pytest.raises(Yielded):
        train(half, StopAtStep())
    path = half / "checkpoints" / "5" / "trainer_state.json"
    state = json.loads(path.read_text())
    assert state["spec_sha256"] == OLD_SHA256
    state["history"] = [as_before(figures) for figures in state["history"]]
    path.write_text(json.dumps(state))
    assert finish(half) == ExitCode.DONE
    assert any(event["message"] == "Resumed from step 5." for event in events(half))
    assert result_hash(half) == result_hash(whole)


def as_before(figures: dict[str, float]) -> dict[str, float | None]:
    """A step's figures as older states hold them: null where nothing was evaluated, no weight."""
    assert {"train_loss", "train_accuracy", "weight"} <= figures.keys()
    old = {name: value for name, value in figures.items() if name != "weight"}
    return {"valid_loss": None, "valid_mean_token_accuracy": None} | old
