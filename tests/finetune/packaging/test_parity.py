"""What goes out answers as what was trained: the packed files are held to what training said."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from faults import OurFault, UserFault
from finetune.families.contract import PROBES
from finetune.packaging.bundle import build
from finetune.packaging.parity import FLOOR, compare_adapters
from finetune.states import ExitCode
from finetune.trainer.spec import OptimSpec
from tests.finetune.trainer.runs import finish, make_run, result_hash

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
KINDS: dict[str, dict[str, Any]] = {
    "lora": {"adapter": {"r": 4}},
    "rslora in bf16": {"adapter": {"r": 4, "use_rslora": True}, "precision": "bf16"},
    "dora": {"adapter": {"r": 4, "use_dora": True}},
    "the best, not the last": {"adapter": {"r": 4}, "eval_every": 1, "keep": "best"},
}


@pytest.fixture(scope="module", params=KINDS)
def trained(
    request: pytest.FixtureRequest, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any]:
    """(RUN_DIR/result of a real training, its precision)."""
    settings = KINDS[request.param]
    folder = make_run(tmp_path_factory.mktemp("run") / "run", tiny_base, rows=8, **settings)
    assert finish(folder) == ExitCode.DONE
    return folder / "result", settings.get("precision", "fp32")


@pytest.fixture
def packed(trained: tuple[Path, Any], tmp_path: Path) -> Path:
    folder = tmp_path / "packed"
    folder.mkdir()
    for name in (WEIGHTS, CONFIG):
        shutil.copyfile(trained[0] / name, folder / name)
    return folder


def refusal(base: Path, trained: tuple[Path, Any], packed: Path) -> str:
    with pytest.raises(OurFault) as fault:
        compare_adapters("causal_lm", base, trained[0], packed, trained[1])
    assert fault.value.code == "parity_failed"
    return str(fault.value)


def test_what_was_trained_passes_with_room_to_spare(tiny_base, trained, packed):
    found = compare_adapters("causal_lm", tiny_base, trained[0], packed, trained[1])
    assert found.max_abs_diff < FLOOR / 10
    assert found.base_diff is not None
    assert found.base_diff < FLOOR / 10
    assert found.moved > 0.1
    assert found.same_top_token


def test_a_wrong_alpha_closes_the_gate(tiny_base, trained, packed):
    config = json.loads((packed / CONFIG).read_text())
    config["lora_alpha"] *= 10
    (packed / CONFIG).write_text(json.dumps(config))
    assert "answers otherwise than the trained one" in refusal(tiny_base, trained, packed)


def test_swapped_tensors_close_the_gate(tiny_base, trained, packed):
    tensors = load_file(packed / WEIGHTS)
    one, other = sorted(name for name in tensors if "q_proj.lora_A" in name)[:2]
    tensors[one], tensors[other] = tensors[other], tensors[one]
    save_file(tensors, packed / WEIGHTS)
    assert "answers otherwise than the trained one" in refusal(tiny_base, trained, packed)


def test_a_missing_tensor_closes_the_gate(tiny_base, trained, packed):
    """A magnitude, where there are: peft would go on with the one that it began with."""
    tensors = load_file(packed / WEIGHTS)
    magnitudes = sorted(name for name in tensors if "magnitude" in name)
    del tensors[(magnitudes or sorted(tensors))[0]]
    save_file(tensors, packed / WEIGHTS)
    assert "peft does not find its tensors" in refusal(tiny_base, trained, packed)


def test_an_adapter_whose_names_do_not_fit_is_found(tiny_base, trained, packed):
    tensors = load_file(packed / WEIGHTS)
    save_file({f"x.{name}": tensor for name, tensor in tensors.items()}, packed / WEIGHTS)
    assert "peft does not find its tensors" in refusal(tiny_base, trained, packed)


def test_an_adapter_that_changes_nothing_is_a_finding_about_the_run(tiny_base, tmp_path):
    """Trained at so small a rate that no answer changes; its tensors do fit."""
    rate = OptimSpec(learning_rate=1e-30).model_dump()
    run = make_run(tmp_path / "run", tiny_base, rows=8, adapter={"r": 4}, optim=rate)
    assert finish(run) == ExitCode.DONE
    with pytest.raises(UserFault) as fault:
        compare_adapters("causal_lm", tiny_base, run / "result", run / "result", "fp32")
    assert (fault.value.code, fault.value.param) == (
        "adapter_unchanged",
        "learning_rate_multiplier",
    )


def test_another_base_is_found(tmp_path, trained, packed):
    from tests.tiny import build_tiny_base

    other = build_tiny_base(tmp_path / "other", seed=1)
    assert "The base alone answers otherwise" in refusal(other, trained, packed)


def test_a_result_without_probes_is_not_published_untested(tiny_base, trained, packed, tmp_path):
    result = Path(shutil.copytree(trained[0], tmp_path / "result"))
    (result / PROBES).unlink()
    assert "cannot be read" in refusal(tiny_base, (result, trained[1]), packed)


def test_the_trainer_adds_probes_to_an_older_version_s_result(trained):
    run_dir = trained[0].parent
    probes, before = (run_dir / "result" / PROBES).read_bytes(), result_hash(run_dir)
    (run_dir / "result" / PROBES).unlink()
    assert finish(run_dir) == ExitCode.DONE
    assert (run_dir / "result" / PROBES).read_bytes() == probes
    assert result_hash(run_dir) == before


def test_probes_are_small_and_stay_out_of_the_artifact(
    tiny_base, trained, passport, signer, tmp_path
):
    """They hold rows of the customer's data."""
    out = tmp_path / "out"
    told = passport.model_copy(update={"precision": trained[1]})
    info = build(
        out,
        adapter_dir=trained[0],
        passport=told,
        license_terms={},
        signer=signer,
        base_dir=tiny_base,
    )
    recorded = json.loads((out / "passport.json").read_text())["parity"]["adapter"]
    assert recorded == info.passport.parity["adapter"].model_dump()
    assert not list(out.rglob(PROBES))
    assert (trained[0] / PROBES).stat().st_size < 64 << 10
