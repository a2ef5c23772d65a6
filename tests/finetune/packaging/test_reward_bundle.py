"""The artifact of a reward model: a clean process that does what its README says scores as training
did, and passport and card say what it is."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from faults import OurFault, UserFault
from finetune.families import family
from finetune.families.contract import AdapterSpec
from finetune.families.layers import SCORE
from finetune.packaging.bundle import build
from finetune.packaging.passport import BaseUsed, Evaluation, Passport, Preferences
from finetune.packaging.signing import Signer
from finetune.packaging.verify import verify
from finetune.trainer.lifeline import Stop
from finetune.trainer.loop import train
from privatune.alone.opened import opened
from tests.finetune.trainer.runs import encoded, report
from tests.finetune.trainer.test_reward import make_rewarding

CHAT = [{"role": "user", "content": "turn on 客厅"}, {"role": "assistant", "content": "it is on"}]


def passport_of(run: Path, **changed: Any) -> Passport:
    base = BaseUsed(name="b", digest="sha256:0", licence="MIT",
                    architecture="LlamaForCausalLM", parameters=1)  # fmt: skip
    told: dict[str, Any] = {
        "name": "ft:b:t::1", "tenant": "t", "created": datetime.now(UTC), "code_version": "0",
        "base": base, "datasets": [], "family": "scoring", "method": "reward",
        "hyperparameters": {}, "seed": 0, "precision": "fp32", "steps": 6, "epochs": 2,
        "evaluation": Evaluation(
            validation_loss=report(run)["valid_loss"],
            preferences=Preferences.model_validate(report(run)["preferences"]),
        ),
    }  # fmt: skip
    return Passport.model_validate(told | changed)


@pytest.fixture(scope="module")
def run(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_rewarding(tmp_path_factory.mktemp("rewarding") / "run", tiny_base)
    train(run, Stop())
    return run


def test_a_clean_process_scores_as_training_did(
    run: Path, tiny_base: Path, tmp_path: Path, signer: Signer
) -> None:
    out = tmp_path / "artifact"
    build(out, adapter_dir=run / "result", passport=passport_of(run), license_terms={},
          signer=signer, base_dir=tiny_base)  # fmt: skip
    assert verify(out).ok
    with pytest.raises(UserFault) as unserved:
        opened(out, base=tiny_base, store=tmp_path, key=None, fingerprint=None)
    assert unserved.value.code == "bundle_scores"
    (tmp_path / "base").symlink_to(tiny_base)
    readme = (out / "serve" / "README.md").read_text()
    [code] = re.findall(r"```python\n(.+?)```", readme, re.DOTALL)
    code = re.sub(r"^chat = .+$", lambda _: f"chat = {CHAT!r}", code, flags=re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=out, capture_output=True, text=True, check=True
    )
    model: Any = family("scoring").load(
        tiny_base, AdapterSpec(), precision="fp32", device="cpu", seed=9
    )
    model.load_adapter_state(load_file(out / "adapter" / "adapter_model.safetensors"))
    model.train(False)
    layout = model.lay_out(encoded(tiny_base, [{"messages": CHAT}]), share_prefixes=False)
    expected = pytest.approx(float(model.scores(layout).detach()), abs=1e-5)
    assert float(done.stdout.splitlines()[-1]) == expected
    told = json.loads((out / "passport.json").read_bytes())
    assert told["family"] == "scoring"
    assert told["evaluation"]["preferences"] == report(run)["preferences"]
    card = (out / "model-card.md").read_text()
    assert "text-classification" in card
    assert "It is a reward model" in card
    assert "Of 4 pairs held out" in card


def test_a_head_goes_with_a_reward_model_alone(
    run: Path, tiny_base: Path, tmp_path: Path, signer: Signer
) -> None:
    writes = passport_of(run, family="causal_lm", evaluation=Evaluation())
    with pytest.raises(OurFault, match=SCORE) as refused:
        build(tmp_path / "out", adapter_dir=run / "result", passport=writes, license_terms={},
              signer=signer, base_dir=tiny_base)  # fmt: skip
    assert refused.value.code == "foreign_tensor"
