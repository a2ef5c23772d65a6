"""The formula of a training's memory against what a step is measured to take."""

import ctypes
import gc
from pathlib import Path

import pytest
import torch

from finetune.families import family
from finetune.families.causal_lm.layout import Row
from finetune.families.contract import AdapterSpec, Precision
from finetune.families.footprint import footprint
from tests.finetune.families.bases import BASES
from tests.finetune.families.shapes import write_header
from tests.tiny import build_tiny_base

TOKENS, LENGTH = 3000, 300
FACTOR = 2.0  # as docs/explanation/memory.md says


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_base(tmp_path_factory.mktemp("wider"), hidden=256, layers=6)


def resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))


def measured(base: Path, adapter: AdapterSpec, precision: Precision, *, checkpointing: bool) -> int:
    """Bytes that the process grows by, at most, in one step's forward and backward pass."""
    model = family("causal_lm").load(
        base,
        adapter,
        precision=precision,
        device="cpu",
        seed=0,
        gradient_checkpointing=checkpointing,
    )
    row = Row(range(3, 3 + LENGTH), [i > 5 for i in range(LENGTH)])
    layout = model.lay_out([row] * (TOKENS // LENGTH), share_prefixes=False)
    model.train(True)

    def step() -> None:
        loss, _ = model.cross_entropy(layout)  # type: ignore[attr-defined]
        torch.autograd.grad(loss, model.parameters, allow_unused=True)

    step()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    before = resident("VmRSS")
    step()
    return resident("VmHWM") - before


@pytest.mark.parametrize(
    ("adapter", "precision", "checkpointing"),
    [
        (AdapterSpec(), "fp32", False),
        (AdapterSpec(), "fp32", True),
        (AdapterSpec(use_dora=True), "fp32", False),
        (AdapterSpec(targets=("q_proj", "v_proj")), "fp32", False),
    ],
)
def test_a_step_takes_about_what_the_formula_says(
    base: Path, adapter: AdapterSpec, precision: Precision, checkpointing: bool
) -> None:
    took = measured(base, adapter, precision, checkpointing=checkpointing)
    told = footprint(base, adapter, precision=precision, longest=LENGTH, on_cpu=True)
    beside = told.weights + 5 * told.adapter  # stand before the step
    step = told.need(TOKENS, checkpointing=checkpointing) - beside
    assert took / FACTOR < step < took * FACTOR


def test_rows_of_eight_thousand_tokens_of_eight_billion_parameters_take_51_gb(
    tmp_path: Path,
) -> None:
    """The shapes of Llama 3.1 8B; without a tensor's bytes, as the headers are all that is read."""
    write_header(tmp_path, layers=32, hidden=4096, keys=1024, inner=14336, vocabulary=128_256)
    told = footprint(tmp_path, AdapterSpec(), precision="bf16", longest=8192, on_cpu=False)
    assert told.weights / 1e9 == pytest.approx(16.06, rel=0.01)
    kept = 8192 * sum(block.kept for block in told.blocks)
    assert kept / 1e9 == pytest.approx(51, rel=0.05)
    assert told.need(8192, checkpointing=True) < 24e9 < told.need(8192, checkpointing=False)


def test_fused_matrices_experts_and_eyes_are_told_apart(tmp_path: Path) -> None:
    """All have the sizes of the tests' LLaMA, whose numbers they must have about; two experts of
    four work on a token."""

    def numbers(name: str) -> float:
        folder = BASES[name].write(tmp_path / name.replace(" ", "-"))
        told = footprint(folder, AdapterSpec(), precision="fp32", longest=300, on_cpu=False)
        assert len(told.blocks) == 2
        assert told.stream == 4 * 32
        return sum(block.kept for block in told.blocks)

    plain = numbers("LLaMA")
    for name in ("Phi-3", "GLM-4 9B", "Gemma 3", "Mistral Small 3.1"):
        assert 0.9 < numbers(name) / plain < 1.6, name
    for name in ("Mixtral", "gpt-oss in bfloat16"):
        assert 1.3 < numbers(name) / plain < 1.8, name
    assert 0.7 < numbers("Qwen3-MoE") / plain < 1.3
