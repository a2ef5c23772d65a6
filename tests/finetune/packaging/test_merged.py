"""The merged form: one transformers model that answers as base and adapter do, or none at all."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from faults import OurFault, UserFault
from finetune.families import family
from finetune.families.contract import AdapterSpec
from finetune.families.layers import linear_layers
from finetune.packaging import merged, reloaded
from finetune.packaging.answering import write_answering
from finetune.packaging.merged import FormInfo, build_merged
from finetune.packaging.signing import Signer
from finetune.packaging.verify import verify
from tests.finetune.families.bases import BASES

DIGEST = "sha256:" + "1" * 64


def build(out: Path, bundle: Path, signer: Signer, base: Path, **more: Any) -> FormInfo:
    info, digest = build_merged(
        out,
        bundle=bundle,
        artifact=DIGEST,
        license_terms={"licence": "MIT"},
        signer=signer,
        base_dir=base,
        **more,
    )
    told = verify(out, signer.public_pem)
    assert told.ok, told.problems
    assert told.digest == digest
    return info


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same lines, without a start of Python: services/models/test_artifacts.py has that."""

    def run(command: list[str], **_: Any) -> "subprocess.CompletedProcess[bytes]":
        reloaded.main(Path(command[-1]))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(merged.subprocess, "run", run)


def with_adapter(bundle: Path, folder: Path, **config: Any) -> Path:
    """A copy of the bundle whose adapter can be changed."""
    made = Path(shutil.copytree(bundle, folder))
    path = made / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return made


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.arange(3, 40).unsqueeze(0)).logits


def test_the_form_loads_by_itself_and_says_what_base_and_adapter_say(
    artifact: Path, signer: Signer, tiny_base: Path, tmp_path: Path, in_this_process: None
) -> None:
    out = tmp_path / "form"
    info = build(out, artifact, signer, tiny_base, shard_bytes=20_000)
    assert (info.artifact, info.types) == (DIGEST, ["float32"])
    assert info.parity.same_answers
    assert 0 <= info.parity.rounding < 1e-3 < info.parity.moved
    shards = sorted(path.name for path in (out / "model").glob("*.safetensors"))
    assert shards[0] == f"model-00001-of-{len(shards):05d}.safetensors"
    assert len(shards) > 2
    alone = AutoModelForCausalLM.from_pretrained(out / "model")
    base = AutoModelForCausalLM.from_pretrained(tiny_base)
    plain = logits(base)
    both = logits(PeftModel.from_pretrained(base, artifact / "adapter"))
    assert (logits(alone) - both).abs().max() < 1e-3 < (plain - both).abs().max()
    names = {path.name for path in out.iterdir()}
    assert names == {
        "README.md", "form.json", "license.json", "manifest.json", "model", "model.sig",
        "passport.json", "signer.pem",
    }  # fmt: skip
    stops = json.loads((out / "model" / "generation_config.json").read_text())["eos_token_id"]
    assert (
        stops
        == json.loads((artifact / "tokenizer" / "generation_config.json").read_text())[
            "eos_token_id"
        ]
    )


def test_of_dora_and_a_narrow_base_each_weight_is_what_peft_makes_of_it_rounded_once(
    artifact: Path, signer: Signer, tiny_base: Path, tmp_path: Path, in_this_process: None
) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    path = base / "model.safetensors"
    narrow = {name: tensor.bfloat16() for name, tensor in load_file(path).items()}
    save_file(narrow, path, metadata={"format": "pt"})
    bundle = with_adapter(artifact, tmp_path / "bundle", use_dora=True)
    path = bundle / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    for name in [name for name in tensors if ".lora_B." in name]:
        magnitude = name.replace("lora_B.weight", "lora_magnitude_vector")
        tensors[magnitude] = torch.linspace(0.5, 1.5, len(tensors[name]))
    save_file(tensors, path)
    info = build(tmp_path / "form", bundle, signer, base)
    assert info.types == ["bfloat16"]
    assert info.parity.max_abs_diff < 1e-3 < info.parity.rounding < info.parity.moved / 2
    found = load_file(tmp_path / "form" / "model" / "model.safetensors")
    one = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), bundle / "adapter"
    ).merge_and_unload()
    for name, tensor in one.state_dict().items():
        if name in found:
            assert torch.equal(found[name], tensor.bfloat16()), name
    assert found.keys() == narrow.keys()


@pytest.mark.parametrize("name", ["Mistral Small 3.1", "Qwen3-MoE", "Phi-3"])
def test_bases_with_eyes_experts_or_fused_layers_are_merged_too(
    name: str, tmp_path: Path, in_this_process: None
) -> None:
    base, packed, model = (tmp_path / each for each in ("base", "packed", "model"))
    kind, made = family("causal_lm"), BASES[name]
    made.write(base)
    fresh = kind.load(base, AdapterSpec(r=4), precision="fp32", device="cpu", seed=0)
    random = torch.Generator().manual_seed(0)
    packed.mkdir()
    save_file(
        {
            each: torch.randn(tensor.shape, generator=random) * 0.2
            for each, tensor in fresh.adapter_state().items()
        },
        packed / "adapter_model.safetensors",
    )
    (packed / "adapter_config.json").write_text(json.dumps(fresh.adapter_config("tiny")))
    write_answering(base, model)
    types = kind.merge(base, packed, model, shard_bytes=50_000)
    assert len(types) == len(linear_layers(base))
    expected = kind.expected(base, packed, types, tokens=merged.ANSWER_TOKENS)
    parity = merged._compared(expected, model, made.architecture, tmp_path)
    assert parity.same_answers
    assert parity.rounding < 1e-3 < parity.moved


def test_a_form_that_is_not_what_base_and_adapter_are_is_not_made(
    artifact: Path,
    signer: Signer,
    tiny_base: Path,
    tmp_path: Path,
    in_this_process: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = merged.family

    class Wrong:
        def merge(self, base_dir: Path, packed: Path, folder: Path, **more: Any) -> dict[str, str]:
            types = real("causal_lm").merge(base_dir, packed, folder, **more)
            path = folder / "model.safetensors"
            tensors = load_file(path)
            tensors["model.norm.weight"] += 0.01
            save_file(tensors, path, metadata={"format": "pt"})
            return types

        expected = staticmethod(real("causal_lm").expected)

    monkeypatch.setattr(merged, "family", lambda name: Wrong())
    with pytest.raises(OurFault, match="its logits differ") as caught:
        build(tmp_path / "form", artifact, signer, tiny_base)
    assert caught.value.code == "parity_failed"
    assert list(tmp_path.iterdir()) == []


def test_what_the_base_s_type_would_round_away_is_not_given_out_as_trained(
    artifact: Path, signer: Signer, tiny_base: Path, tmp_path: Path, in_this_process: None
) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    path = base / "model.safetensors"
    narrow = {name: tensor.bfloat16() for name, tensor in load_file(path).items()}
    save_file(narrow, path, metadata={"format": "pt"})
    faint = with_adapter(artifact, tmp_path / "bundle", lora_alpha=0.1)
    with pytest.raises(UserFault) as caught:
        build(tmp_path / "form", faint, signer, base)
    assert caught.value.code == "form_rounded_away"
    assert not (tmp_path / "form").exists()


def test_an_adapter_on_what_the_base_s_files_do_not_hold_makes_no_form(
    artifact: Path, signer: Signer, tiny_base: Path, tmp_path: Path
) -> None:
    bundle = with_adapter(artifact, tmp_path / "bundle")
    path = bundle / "adapter" / "adapter_model.safetensors"
    renamed = {name.replace("layers.1.", "layers.7."): t for name, t in load_file(path).items()}
    save_file(renamed, path)
    with pytest.raises(OurFault, match=r"no weight of model\.layers\.7\.") as caught:
        build(tmp_path / "form", bundle, signer, tiny_base)
    assert caught.value.code == "merge_incomplete"
