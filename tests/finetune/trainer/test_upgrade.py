"""Runs that an older version began go on: its spec is read, and its checkpoint is of that spec."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from finetune.states import ExitCode
from finetune.trainer.lifeline import Stop, Yielded
from finetune.trainer.loop import train
from finetune.trainer.spec import RunSpec
from tests.finetune.trainer.runs import events, finish, make_run, result_hash

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
    assert sha256(spec.model_dump_json().encode()).hexdigest() == OLD_SHA256
    # as `Job.resolved` keeps it while the job waits
    assert RunSpec.model_validate(json.loads(OLD_SPEC)) == spec
    assert spec.model_dump(mode="json") == json.loads(OLD_SPEC)


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
