"""The adapter loads with old versions of peft, down to the one that the artifact names."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from finetune.packaging.manifest import Manifest
from finetune.packaging.needs import OLDEST, lowest_peft
from finetune.states import ExitCode
from tests.finetune.trainer.runs import finish, make_run

# What LoraConfig knew, and the classes that it is made of, in peft 0.7.1
KNOWN = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "fan_in_fan_out",
    "inference_mode", "init_lora_weights", "layers_pattern", "layers_to_transform", "loftq_config",
    "lora_alpha", "lora_dropout", "megatron_config", "megatron_core", "modules_to_save",
    "peft_type", "r", "rank_pattern", "revision", "target_modules", "task_type",
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "0.7.1": {"r": 4},
    "0.8.2": {"r": 4, "use_rslora": True},
    "0.9.0": {"r": 4, "use_dora": True, "use_rslora": True},
}
LOADING = """
import sys, torch
import peft
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
base, adapter, out, version = sys.argv[1:]
assert peft.__version__ == version, peft.__version__
model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
save_file({"logits": model.eval()(torch.tensor([[5, 17, 80, 3]])).logits}, out)
"""


@pytest.fixture(scope="module", params=KINDS)
def trained(
    request: pytest.FixtureRequest, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """(the lowest version, the result of a training)."""
    run = make_run(
        tmp_path_factory.mktemp("run") / "run",
        tiny_base,
        valid=False,
        rows=8,
        adapter=KINDS[request.param],
    )
    assert finish(run) == ExitCode.DONE
    return request.param, run / "result"


def config_of(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text())
    return config


def test_the_adapter_says_nothing_that_the_lowest_version_does_not_know(trained):
    version, result = trained
    config = config_of(result)
    assert config.keys() - KNOWN == {key for key in KINDS[version] if key.startswith("use_")}
    assert lowest_peft(config) == version
    assert {"peft_type", "task_type", "r", "lora_alpha", "lora_dropout", "target_modules"} <= (
        config.keys()
    )


def test_readme_and_manifest_name_it(artifact):
    manifest = Manifest.model_validate_json((artifact / "manifest.json").read_bytes())
    assert manifest.needs == {"peft": f">={OLDEST}"}
    assert f"| peft {OLDEST} or later" in (artifact / "serve" / "README.md").read_text()


@pytest.mark.slow
def test_the_lowest_version_computes_the_same(trained, tiny_base, tmp_path):
    version, result = trained
    target = tmp_path / "peft"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(target)]
    got = subprocess.run([*pip, f"peft=={version}"], capture_output=True, text=True, check=False)
    if got.returncode:
        pytest.skip(f"peft {version} cannot be installed here: {got.stderr[-300:]}")
    command = [sys.executable, "-c", LOADING, tiny_base, result, tmp_path / "logits", version]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    base = AutoModelForCausalLM.from_pretrained(tiny_base)
    now = PeftModel.from_pretrained(base, result).eval()(torch.tensor([[5, 17, 80, 3]])).logits
    torch.testing.assert_close(load_file(tmp_path / "logits")["logits"], now)
