"""An artifact holds all that its owner needs, loads with stock tools, and is the same each time."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from faults import OurFault
from finetune.packaging.bundle import build, tar
from finetune.packaging.card import model_card
from finetune.packaging.manifest import Manifest
from finetune.packaging.passport import Change, Passport
from finetune.packaging.serve import serve_files
from finetune.packaging.signing import generate_key, load_signer
from finetune.packaging.verify import verify

IDS = torch.tensor([[5, 17, 80, 3]])


def test_the_artifact_has_every_promised_part(artifact):
    names = {p.relative_to(artifact).as_posix() for p in artifact.rglob("*") if p.is_file()}
    assert names == {
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "license.json",
        "manifest.json",
        "model-card.md",
        "model.sig",
        "passport.json",
        "sbom.cdx.json",
        "serve/README.md",
        "signer.pem",
        "tokenizer/chat_template.jinja",
        "tokenizer/config.json",
        "tokenizer/generation_config.json",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
        "training/metrics.csv",
        "training/report.json",
        "training/validation_rows.csv",
    }


def test_plain_peft_loads_the_adapter_and_computes_the_same(artifact, adapter, tiny_base):
    trained = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), adapter)
    loaded = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_base), artifact / "adapter"
    )
    plain = AutoModelForCausalLM.from_pretrained(tiny_base)
    assert torch.equal(loaded(IDS).logits, trained(IDS).logits)
    assert not torch.allclose(loaded(IDS).logits, plain(IDS).logits)


def test_the_same_input_gives_the_same_digest(
    built, adapter, passport, signer, tiny_base, tmp_path
):
    terms = {"licence": "Apache-2.0", "may": ["train", "export", "serve"]}
    again = build(
        tmp_path / "again",
        adapter_dir=adapter,
        passport=passport,
        license_terms=terms,
        signer=signer,
        base_dir=tiny_base,
    )
    assert again.digest == built[1].digest


def test_the_tar_is_a_function_of_the_files(artifact, tmp_path):
    copy = Path(shutil.copytree(artifact, tmp_path / "elsewhere", copy_function=shutil.copyfile))
    (copy / "passport.json").chmod(0o600)
    assert tar(artifact, tmp_path / "one.tar") == tar(copy, tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_stock_tar_unpacks_what_verifies(artifact, tmp_path):
    tar(artifact, tmp_path / "a.tar")
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "xf", tmp_path / "a.tar", "-C", tmp_path / "unpacked"], check=True)
    assert verify(tmp_path / "unpacked").ok


def test_stock_model_signing_accepts_the_artifact(artifact, tmp_path):
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(artifact)]
    options = ["--signature", str(artifact / "model.sig")]
    options += ["--public_key", str(artifact / "signer.pem")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_documents_say_what_the_passport_knows(artifact, passport, built):
    told = Passport.model_validate_json((artifact / "passport.json").read_text())
    assert told == built[1].passport
    assert told.model_copy(update={"parity": {}}) == passport
    card = (artifact / "model-card.md").read_text()
    assert card.startswith("---\n")
    assert "base_model: " in card
    assert "validation loss | 0.6000" in card
    assert "a\\|b&lt;c>" in card
    bill = json.loads((artifact / "sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    versions = {part["name"]: part["version"] for part in bill["components"]}
    assert versions["torch"] == torch.__version__
    refs = {part["bom-ref"] for part in bill["components"]}
    assert {ref for edge in bill["dependencies"] for ref in edge["dependsOn"]} <= refs
    described = bill["components"][0]
    assert (described["name"], described["version"]) == ("tiny", passport.base.digest)
    assert described["externalReferences"][0]["url"] == (
        f"https://huggingface.co/acme/tiny/tree/{'0' * 40}"
    )
    handed_on = {file["name"]: file["hashes"][0]["content"] for file in described["components"]}
    assert handed_on.keys() == {name for name in built[1].files if name.startswith("tokenizer/")}
    assert handed_on.items() <= built[1].files.items()
    assert Manifest.model_validate_json((artifact / "manifest.json").read_text()).files.keys() == (
        built[1].files.keys()
    )


def test_the_card_tells_two_readings_of_one_file_apart(passport):
    (used,) = passport.datasets
    assert "a\\|b&lt;c>" in model_card(passport, "MIT")  # an older one, which tells no reading
    readings = [
        used.model_copy(update={"rows_sha256": digit * 64, "columns": {"instruction": name}})
        for digit, name in (("2", "frage"), ("3", "a|b"))
    ]
    card = model_card(passport.model_copy(update={"datasets": readings}), "MIT")
    assert f"`{'2' * 64}`, columns instruction=frage |" in card
    assert f"`{'3' * 64}`, columns instruction=a\\|b |" in card


def test_the_card_says_first_that_validation_rows_were_trained_on(passport):
    shared = {"validation_rows": 40, "validation_rows_in_training": 3}
    found = passport.evaluation.model_copy(update=shared)
    told = model_card(passport.model_copy(update={"evaluation": found}), "MIT")
    assert "3 of the 40 validation rows are in the training data, too" in told
    assert "of the 40" not in model_card(passport, "MIT")


def test_the_card_tells_the_change_with_its_interval_where_it_was_measured(passport):
    assert "permutation" not in model_card(passport, "MIT")
    change = Change(rows=40, difference=-0.25, interval=(-0.3, -0.21), p_value=0.0002)
    found = passport.evaluation.model_copy(update={"validation_change": change})
    told = model_card(passport.model_copy(update={"evaluation": found}), "MIT")
    assert "changed by -0.2500 against the base over 40 rows" in told
    assert "95% interval -0.3000 to -0.2100; paired permutation test p = 0.0002" in told


def test_the_card_says_what_a_roll_back_left_out(passport: Passport) -> None:
    assert "rolled back" not in model_card(passport, "MIT")
    found = {"rollbacks": 3, "skipped_rows": [4, 9], "rate_factor": 0.5}
    told = model_card(passport.model_copy(update=found), "MIT")
    assert "rolled back 3 times; training rows left out for it: 2;" in told
    assert "0.5 times what was planned" in told


def test_passport_and_card_say_which_objective_ran_under_the_keys_of_the_format(artifact):
    told = json.loads((artifact / "passport.json").read_text())
    assert (told["format"], told["family"], told["method"]) == (
        "privatune-passport/1",
        "causal_lm",
        "sft",
    )
    assert sorted(told) == [
        "base", "code_version", "created", "datasets", "deterministic", "epochs",
        "evaluation", "family", "format", "hyperparameters", "isolation", "lineage", "method",
        "name",
        "nondeterministic", "parents", "parity",
        "precision", "printed_day", "rate_factor", "receipt", "rollbacks", "seconds",
        "seed", "skipped_rows", "split", "steps", "tenant",
    ]  # fmt: skip
    assert "\nMethod sft, 200 steps over 2 epochs" in (artifact / "model-card.md").read_text()


def test_an_artifact_is_published_whole_or_not_at_all(adapter, passport, tiny_base, tmp_path):
    class Broken:
        public_pem = "x"

        def sign(self, folder, signature):
            raise RuntimeError("no key today")

    with pytest.raises(RuntimeError):
        build(
            tmp_path / "out",
            adapter_dir=adapter,
            passport=passport,
            license_terms={},
            signer=Broken(),
            base_dir=tiny_base,
        )
    assert not list(tmp_path.iterdir())


def test_a_place_that_is_taken_stays_as_it_is(artifact, adapter, passport, signer, tiny_base):
    with pytest.raises(OurFault) as fault:
        build(
            artifact,
            adapter_dir=adapter,
            passport=passport,
            license_terms={},
            signer=signer,
            base_dir=tiny_base,
        )
    assert fault.value.code == "artifact_exists"
    assert verify(artifact).ok


def test_an_adapter_with_nan_is_never_signed(adapter, passport, signer, tiny_base, tmp_path):
    broken = Path(shutil.copytree(adapter, tmp_path / "broken"))
    tensors = load_file(broken / "adapter_model.safetensors")
    next(iter(tensors.values()))[0, 0] = float("nan")
    save_file(tensors, broken / "adapter_model.safetensors")
    with pytest.raises(OurFault) as fault:
        build(
            tmp_path / "out",
            adapter_dir=broken,
            passport=passport,
            license_terms={},
            signer=signer,
            base_dir=tiny_base,
        )
    assert fault.value.code == "adapter_broken"


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.model.embed_tokens.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight",
        "base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight",
        "base_model.model.lm_head.lora_A.weight",
    ],
)
def test_nothing_but_an_adapter_of_the_bases_layers_is_packed(
    adapter, passport, signer, tiny_base, tmp_path, name
):
    """The base is licensed; its weights never leave with what was trained on it."""
    larger = Path(shutil.copytree(adapter, tmp_path / "larger"))
    tensors = load_file(larger / "adapter_model.safetensors")
    save_file(tensors | {name: torch.ones(2, 2)}, larger / "adapter_model.safetensors")
    with pytest.raises(OurFault) as fault:
        build(
            tmp_path / "out",
            adapter_dir=larger,
            passport=passport,
            license_terms={},
            signer=signer,
            base_dir=tiny_base,
        )
    assert fault.value.code == "foreign_tensor"
    assert name in fault.value.message
    assert not (tmp_path / "out").exists()


def test_a_signer_never_shows_its_key():
    pem = generate_key()
    assert pem.decode().split("\n")[1] not in repr(load_signer(pem))


def test_only_a_p256_key_signs():
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for pem in (key, b"nonsense"):
        with pytest.raises(OurFault) as fault:
            load_signer(pem)
        assert fault.value.code == "signing_key"


@pytest.mark.parametrize(("thinking", "value"), [("on", True), ("off", False)])
def test_the_bundle_says_how_a_model_that_can_think_was_trained_to_be_asked(
    passport, thinking, value
):
    plain = serve_files(passport, {"r": 8}, "thinking")["serve/README.md"]
    assert "thinking" not in plain
    told = passport.model_copy(update={"hyperparameters": {"thinking": thinking}})
    text = serve_files(told, {"r": 8}, "enable_thinking")["serve/README.md"]
    assert f"add_generation_prompt=True, enable_thinking={value}, return_tensors" in text
    assert f'"chat_template_kwargs": {{"enable_thinking": {str(value).lower()}}}' in text
