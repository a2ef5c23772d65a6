"""Packed, padding-free batches give the sums that one row at a time gives, in float64."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from faults import UserFault
from finetune.families.causal_lm import adapted, head
from finetune.families.causal_lm.adapted import CausalLM
from finetune.families.causal_lm.layout import Row, lay_out
from finetune.families.contract import AdapterSpec
from finetune.trainer.data import micro_batches
from finetune.trainer.objectives.sft import sft
from tests.finetune.trainer.oracle import nothing_narrowed
from tests.finetune.trainer.runs import chat_rows, encoded

EXACT = {"rtol": 1e-11, "atol": 1e-13}


def model_of(base: Path, **adapter: object) -> CausalLM:
    """The tiny base in float64 with an adapter that already does something."""
    spec = AdapterSpec.model_validate({"r": 4, **adapter})
    model = adapted.load(base, spec, precision="fp64", device="cpu", seed=3)
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters:
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.train(True)
    return model


def sums(
    model: CausalLM, rows: list[Row], *, tokens: int = 10_000, share: bool = True
) -> tuple[float, int, list[Tensor]]:
    for parameter in model.parameters:
        parameter.grad = None
    loss, weight = 0.0, 0
    for part in micro_batches(rows, tokens):
        found = sft(model, lay_out(part, share_prefixes=share), part)
        found.loss.backward()
        loss, weight = loss + float(found.loss.detach()), weight + found.weight
    return loss, weight, [p.grad.clone() for p in model.parameters if p.grad is not None]


def plain_sums(model: CausalLM, rows: list[Row]) -> tuple[float, list[Tensor]]:
    """The oracle: each row alone through transformers' own sdpa attention and full logits."""
    for parameter in model.parameters:
        parameter.grad = None
    model.inner.set_attn_implementation("sdpa")
    total = 0.0
    for row in rows:
        ids = torch.tensor([list(row.input_ids)])
        logits = model.inner(input_ids=ids, use_cache=False).logits[0, :-1]
        labels = ids[0, 1:].masked_fill(~torch.tensor(row.labels[1:]), -100)
        loss = cross_entropy(logits, labels, reduction="sum")
        loss.backward()
        total += float(loss.detach())
    model.inner.set_attn_implementation("privatune_rows")
    return total, [p.grad.clone() for p in model.parameters if p.grad is not None]


def same(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.fixture(autouse=True)
def _float64_throughout() -> Iterator[None]:
    with nothing_narrowed():
        yield


@pytest.fixture(scope="module")
def rows(tiny_base: Path) -> list[Row]:
    return encoded(tiny_base, chat_rows(9))


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize(
    "adapter", [{}, {"use_rslora": True}, {"use_dora": True}, {"targets": ("q_proj", "down_proj")}]
)
def test_packed_rows_equal_single_rows_in_loss_and_gradients(
    tiny_base: Path, rows: list[Row], adapter: dict[str, object], share: bool
) -> None:
    model = model_of(tiny_base, **adapter)
    loss, _, gradients = sums(model, rows, share=share)
    plain_loss, plain_gradients = plain_sums(model, rows)
    assert loss == pytest.approx(plain_loss, rel=1e-11)
    same(gradients, plain_gradients)


def test_long_rows_take_the_fused_kernel_and_give_the_same(tiny_base: Path) -> None:
    long = [Row([3 + (i * k) % 200 for i in range(150)], [True] * 150) for k in (3, 7)]
    model = model_of(tiny_base)
    loss, _, gradients = sums(model, long)
    plain_loss, plain_gradients = plain_sums(model, long)
    assert loss == pytest.approx(plain_loss, rel=1e-11)
    same(gradients, plain_gradients)


@pytest.mark.parametrize("tokens", [1, 60, 150, 10_000])
def test_the_step_does_not_depend_on_the_micro_batches(
    tiny_base: Path, rows: list[Row], tokens: int
) -> None:
    model = model_of(tiny_base)
    loss, weight, gradients = sums(model, rows, tokens=tokens)
    whole_loss, whole_weight, whole = sums(model, rows)
    assert weight == whole_weight == sum(row.trained for row in rows)
    assert loss == pytest.approx(whole_loss, rel=1e-12)
    same(gradients, whole)


def test_gradient_checkpointing_gives_the_same(tiny_base: Path, rows: list[Row]) -> None:
    model = model_of(tiny_base)
    loss, _, gradients = sums(model, rows)
    model.inner.gradient_checkpointing_enable({"use_reentrant": False})
    again, _, recomputed = sums(model, rows)
    assert again == loss
    same(gradients, recomputed)


def test_nothing_attends_across_packed_rows(tiny_base: Path, rows: list[Row]) -> None:
    """Another neighbour, the same states to the last bit of what float64 sums allow."""
    model = model_of(tiny_base)
    model.train(False)
    with torch.no_grad():
        near = lay_out([rows[0], rows[1]])
        far = lay_out([rows[0], rows[5], rows[2]])
        a = model.hidden(near)[list(near.paths[0])]
        b = model.hidden(far)[list(far.paths[0])]
        torch.testing.assert_close(a, b, **EXACT)
        moved = Row([7, *rows[0].input_ids], [False, *rows[0].labels])
        shifted = lay_out([moved])
        c = model.hidden(shifted)[list(shifted.paths[0])][1:]
    assert (a - c).abs().max() > 1e-3  # the comparison can fail


def test_rows_that_begin_alike_are_computed_once(rows: list[Row]) -> None:
    layout = lay_out(rows)
    assert layout.tokens == sum(len(row) for row in rows)
    assert layout.nodes < 0.8 * layout.tokens
    assert lay_out(rows, share_prefixes=False).nodes == layout.tokens
    for row, path in zip(rows, layout.paths, strict=True):
        assert layout.input_ids[0, list(path)].tolist() == list(row.input_ids)
        assert layout.positions[0, list(path)].tolist() == list(range(len(row)))


@pytest.mark.parametrize("math", [head.HeadMath(), head.HeadMath(scale=0.5, softcap=3.0)])
def test_the_chunked_head_equals_full_logits(
    monkeypatch: pytest.MonkeyPatch, math: head.HeadMath
) -> None:
    monkeypatch.setattr(head, "CHUNK_BYTES", 50 * 8 * 3)  # 3 positions at a time
    torch.manual_seed(0)
    hidden = torch.randn(10, 6, dtype=torch.float64, requires_grad=True)
    weight, targets = torch.randn(50, 6, dtype=torch.float64), torch.randint(50, (10,))
    loss, right = head.sum_cross_entropy(hidden, weight, targets, math)
    (gradient,) = torch.autograd.grad(loss * 0.5, hidden)
    logits = math.logits(hidden @ weight.t())
    expected = cross_entropy(logits, targets, reduction="sum")
    (expected_gradient,) = torch.autograd.grad(expected * 0.5, hidden)
    torch.testing.assert_close(loss, expected, **EXACT)
    torch.testing.assert_close(gradient, expected_gradient, **EXACT)
    assert int(right) == int((logits.argmax(1) == targets).sum())


def test_an_unfaithful_architecture_is_refused(tiny_base: Path, rows: list[Row]) -> None:
    from faults import OurFault

    model = model_of(tiny_base)
    model.check_faithful(rows[:2])
    model.head_math = head.HeadMath(scale=1.1)  # as if the base scaled its logits unseen
    with pytest.raises(OurFault) as caught:
        model.check_faithful(rows[:2])
    assert caught.value.code == "unfaithful_architecture"


@pytest.mark.parametrize("targets", [("no_such_layer",), ("lm_head",)])
def test_targets_that_cannot_be_trained_are_the_users_fault(
    tiny_base: Path, targets: tuple[str, ...]
) -> None:
    with pytest.raises(UserFault) as caught:
        model_of(tiny_base, targets=targets)
    assert caught.value.param == "adapter.targets"
