"""A trained-looking adapter of the tiny base, its passport, a signer and the artifact of them."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from finetune.packaging.bundle import BundleInfo, build
from finetune.packaging.passport import BaseUsed, DatasetUsed, Evaluation, Passport
from finetune.packaging.signing import Signer, generate_key, load_signer


@pytest.fixture(scope="session")
def adapter(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result folder as the trainer leaves it; both LoRA factors are away from zero."""
    folder = tmp_path_factory.mktemp("result")
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    torch.manual_seed(1)
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear"))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    tuned.save_pretrained(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "tiny"
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "metrics.csv").write_text("step,train_loss,train_accuracy\n1,2.5,0.1\n")
    return folder


@pytest.fixture(scope="session")
def passport() -> Passport:
    return Passport(
        name="ft:tiny:acme:lights:abc",
        tenant="acme",
        created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        code_version="0.1.0",
        base=BaseUsed(
            name="tiny",
            digest="sha256:" + "0" * 64,
            licence="Apache-2.0",
            source="test",
            architecture="LlamaForCausalLM",
            parameters=28832,
        ),
        datasets=[DatasetUsed(role="train", name="a|b<c>", sha256="1" * 64, rows=800)],
        family="causal_lm",
        method="sft",
        hyperparameters={"learning_rate": 1e-3, "batch_size": 8},
        seed=0,
        precision="fp32",
        steps=200,
        epochs=2,
        evaluation=Evaluation(train_loss=0.5, validation_loss=0.6, metrics={"exact": 0.7}),
    )


@pytest.fixture(scope="session")
def signer() -> Signer:
    return load_signer(generate_key())


@pytest.fixture(scope="session")
def built(
    adapter: Path, passport: Passport, signer: Signer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, BundleInfo]:
    out = tmp_path_factory.mktemp("artifacts") / "artifact"
    terms = {"licence": "Apache-2.0", "may": ["train", "export", "serve"]}
    return out, build(
        out, adapter_dir=adapter, passport=passport, license_terms=terms, signer=signer
    )


@pytest.fixture(scope="session")
def artifact(built: tuple[Path, BundleInfo]) -> Path:
    return built[0]
