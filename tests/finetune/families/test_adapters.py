"""Adapters on a base that stays in memory: several in one batch, each as if it were alone."""

import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import Tensor, nn

from faults import OurFault, UserFault
from finetune.families.adapters.assignment import Assignment
from finetune.families.adapters.fresh import (
    TrainableAdapter,
    _lora_config,
    fresh_adapter,
)
from finetune.families.adapters.switch import AdapterSwitch
from finetune.families.causal_lm import adapted
from finetune.families.causal_lm.adapted import CausalLM
from finetune.families.causal_lm.layout import Layout, Row, lay_out
from finetune.families.causal_lm.loading import DTYPES, load_base
from finetune.families.contract import AdapterSpec, Precision
from tests.finetune.trainer.oracle import nothing_narrowed
from tests.finetune.trainer.runs import chat_rows, encoded

KINDS: dict[str, dict[str, Any]] = {
    "lora": {"r": 4},
    "narrow": {"r": 2, "targets": ("q_proj", "down_proj")},
    "rslora": {"r": 8, "use_rslora": True},
    "dora": {"r": 3, "use_dora": True},
}
PAIRS = [("lora", "narrow"), ("rslora", "dora"), ("dora", "lora")]


@pytest.fixture(autouse=True)
def _float64_throughout() -> Iterator[None]:
    with nothing_narrowed():
        yield


@pytest.fixture(scope="module")
def rows(tiny_base: Path) -> list[Row]:
    return encoded(tiny_base, chat_rows(6))


class Shared:
    """One base in float64, and adapters that already do something."""

    def __init__(self, base: Path, kinds: tuple[str, ...], **settings: Any) -> None:
        first, *others = (AdapterSpec.model_validate(KINDS[kind]) for kind in kinds)
        self.model: CausalLM = adapted.load(
            base, first, precision="fp64", device="cpu", seed=1, **settings
        )
        more = [fresh_adapter(self.model.inner, spec, seed=2 + i) for i, spec in enumerate(others)]
        self.adapters: list[TrainableAdapter] = [self.model.trained, *more]
        generator = torch.Generator().manual_seed(7)
        for adapter in self.adapters:
            for p in adapter.named.values():
                p.data += 0.05 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
        self.model.train(True)

    def gradients(self, layout: Layout, *owners: int) -> list[list[Tensor]]:
        """Of each adapter's parameters after one forward and one backward pass; `owners` in place
        of the layout's own."""
        for adapter in self.adapters:
            for parameter in adapter.named.values():
                parameter.grad = None
        segments = [(owner, nodes) for owner, nodes in layout.segments]
        if owners:
            segments = [(owner, layout.nodes) for owner in owners]
        assignment = Assignment.by_segment(
            (self.adapters[owner].adapter, nodes) for owner, nodes in segments
        )
        with self.model.switch.using(assignment):
            loss, _ = self.model.cross_entropy(layout)
        loss.backward()
        return [
            [p.grad.clone() for p in adapter.named.values() if p.grad is not None]
            for adapter in self.adapters
        ]


def close(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def equal(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    return len(ours) == len(theirs) > 0 and all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("kinds", PAIRS)
def test_two_adapters_in_one_packed_batch_have_the_gradients_of_two_runs(
    tiny_base: Path, rows: list[Row], kinds: tuple[str, str], share: bool
) -> None:
    shared = Shared(tiny_base, kinds)
    mixed = lay_out(rows, owners=[0, 0, 1, 1, 0, 1], share_prefixes=share)
    assert [owner for owner, _ in mixed.segments] == [0, 1, 0, 1]
    together = shared.gradients(mixed)
    for owner, mine in enumerate(([0, 1, 4], [2, 3, 5])):
        alone = lay_out([rows[i] for i in mine], share_prefixes=share)
        gradients = shared.gradients(alone, owner)
        close(together[owner], gradients[owner])
        assert gradients[1 - owner] == []


@pytest.mark.parametrize("kinds", PAIRS)
def test_an_adapters_gradient_has_no_bit_of_the_others_rows(
    tiny_base: Path, rows: list[Row], kinds: tuple[str, str]
) -> None:
    """Rows of the same lengths stand in the same places, and the other's are other ones."""
    shared = Shared(tiny_base, kinds)
    others = [Row([7 + t % 50 for t in row.input_ids], row.labels) for row in rows[2:]]
    owners = [0, 0, 1, 1, 1, 1]
    one = shared.gradients(lay_out(rows, owners=owners, share_prefixes=False))
    for parameter in shared.adapters[1].named.values():
        parameter.data *= 1.5
    two = shared.gradients(lay_out([*rows[:2], *others], owners=owners, share_prefixes=False))
    assert equal(one[0], two[0])
    assert not equal(one[1], two[1])


def test_rows_of_two_owners_share_no_beginning(rows: list[Row]) -> None:
    row = rows[0]
    layout = lay_out([row, row, row, row], owners=[0, 0, 1, 1])
    assert layout.segments == ((0, len(row)), (1, len(row)))
    assert layout.paths[0] == layout.paths[1] != layout.paths[2] == layout.paths[3]


def test_what_is_computed_again_uses_the_adapters_that_it_used_before(
    tiny_base: Path, rows: list[Row]
) -> None:
    layout = lay_out(rows, owners=[0, 0, 0, 1, 1, 1])
    kept = Shared(tiny_base, ("lora", "dora")).gradients(layout)
    again = Shared(tiny_base, ("lora", "dora"), gradient_checkpointing=True).gradients(layout)
    assert equal(kept[0], again[0])
    assert equal(kept[1], again[1])


def test_threads_run_one_base_with_adapters_of_their_own(tiny_base: Path, rows: list[Row]) -> None:
    shared = Shared(tiny_base, ("lora", "dora"))
    shared.model.train(False)
    layout = lay_out(rows)
    both = threading.Barrier(2)
    found: dict[int, Tensor] = {}

    def run(owner: int) -> None:
        using = Assignment.whole(shared.adapters[owner].adapter)
        with torch.no_grad(), shared.model.switch.using(using):
            both.wait()  # each has said what it uses before either runs
            found[owner] = shared.model.hidden(layout)

    threads = [threading.Thread(target=run, args=(owner,)) for owner in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with torch.no_grad():
        alone = shared.model.hidden(layout)  # the first adapter's, as nothing else is said
    assert torch.equal(found[0], alone)
    assert not torch.allclose(found[1], alone)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("precision", ["fp64", "fp32", "bf16"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True},
        {"use_dora": True},
        {"dropout": 0.3},
        {"use_dora": True, "dropout": 0.3},
    ],
)
def test_the_arithmetic_is_pefts(
    tiny_base: Path, settings: dict[str, Any], precision: Precision, train: bool
) -> None:
    """To the last bit where the order of operations is peft's: everywhere but in plain LoRA."""
    spec = AdapterSpec.model_validate({"r": 3, **settings})
    ours, theirs = biased(tiny_base, precision), biased(tiny_base, precision)
    trained = fresh_adapter(ours, spec, seed=4)
    switch = AdapterSwitch(ours)
    switch.always(Assignment.whole(trained.adapter))
    torch.manual_seed(4)
    peft_model = get_peft_model(theirs, _lora_config(theirs, spec))
    named = {n: p for n, p in peft_model.named_parameters() if p.requires_grad}
    assert list(named) == list(trained.named)
    assert all(torch.equal(p, trained.named[name]) for name, p in named.items())
    answers = [
        gradients_of(model.train(train), parameters)
        for model, parameters in ((ours, trained.named), (theirs, named))
    ]
    if spec.dropout or spec.use_dora:
        assert all(map(torch.equal, *answers))
    else:
        rough = {"fp64": 1e-12, "fp32": 1e-5, "bf16": 0.3}[precision]  # the formats'
        for a, b in zip(*answers, strict=True):
            assert (a - b).abs().max() <= rough * b.abs().max()


def biased(base: Path, precision: Precision) -> Any:
    model = load_base(base, dtype=DTYPES[precision])
    generator = torch.Generator().manual_seed(3)
    for layer in model.model.layers:
        linear = layer.self_attn.q_proj
        bias = torch.randn(linear.out_features, generator=generator)
        linear.bias = nn.Parameter(bias.to(linear.weight.dtype))
    return model.requires_grad_(False)


def gradients_of(model: Any, parameters: dict[str, nn.Parameter]) -> list[Tensor]:
    """The logits of a fixed text, and each parameter's gradient, after they were moved a little."""
    generator = torch.Generator().manual_seed(9)
    for p in parameters.values():
        p.data += 0.05 * torch.randn(p.shape, generator=generator).to(p.dtype)
    torch.manual_seed(5)  # the dropout's
    logits = model(torch.arange(5, 45).view(2, 20), use_cache=False).logits
    logits.double().square().mean().backward()
    return [logits.detach()] + [p.grad for p in parameters.values() if p.grad is not None]


def test_a_base_is_left_as_it_was(tiny_base: Path) -> None:
    model = load_base(tiny_base)
    before = [(name, type(module)) for name, module in model.named_modules()]
    weights = model.state_dict()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # peft warns when it adapts an adapted model
        for seed in (1, 2):
            fresh_adapter(model, AdapterSpec(), seed=seed)
    assert [(name, type(module)) for name, module in model.named_modules()] == before
    assert list(model.state_dict()) == list(weights)


@pytest.mark.parametrize(
    "targets",
    [("lm_head",), ("embed_tokens",), ("no_such_layer",), ("q_proj", "v_porj"), ("q_proj", "norm")],
)
def test_a_refused_adapter_leaves_the_base_as_it_was(
    tiny_base: Path, targets: tuple[str, ...]
) -> None:
    model = load_base(tiny_base)
    before = [(name, type(module)) for name, module in model.named_modules()]
    with pytest.raises(UserFault) as caught:
        fresh_adapter(model, AdapterSpec(targets=targets), seed=1)
    assert caught.value.param == "adapter.targets"
    assert [(name, type(module)) for name, module in model.named_modules()] == before


def test_another_adapters_checkpoint_is_not_taken(tiny_base: Path) -> None:
    model = load_base(tiny_base)
    one = fresh_adapter(model, AdapterSpec(targets=("q_proj",)), seed=1)
    other = fresh_adapter(model, AdapterSpec(targets=("k_proj",)), seed=1)
    with pytest.raises(OurFault) as caught:
        one.load_state(other.state())
    assert caught.value.code == "other_adapter"
