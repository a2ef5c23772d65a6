"""Objectives of vectors: sentence-transformers' own losses on the same rows, order and adapter give
the same losses and weights; a step's bits follow from seed and step, whatever stands in memory."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from faults import OurFault, UserFault
from finetune.families import family
from finetune.families.embedding.adapted import Text
from finetune.records.kinds import Group, Scored
from finetune.trainer import optim
from finetune.trainer.data import make_plan
from finetune.trainer.lifeline import Stop, Yielded
from finetune.trainer.loop import train
from finetune.trainer.objectives import OBJECTIVES, usable
from finetune.trainer.objectives.contrastive import CONTRASTIVE
from finetune.trainer.objectives.vectors import VectorSettings
from finetune.trainer.spec import OptimSpec, RunSpec
from finetune.trainer.taking import take
from tests.embedders import build_embedder
from tests.finetune.trainer.runs import (
    bare_run,
    report,
    result_hash,
    train_interrupted,
    write_jsonl,
)

losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")

PLACES = ["kitchen", "bedroom", "living room", "hall", "客厅", "garden", "cellar", "attic"]
THINGS = ["light", "fan", "heater", "blind", "lamp"]
RETRIEVALS = [
    {
        "query": f"turn on the {thing} in the {place}" + " please" * (number % 3),
        "positive": f"the {place} has a {thing}",
        "negatives": [f"the {PLACES[number - 3]} has no {thing}"],
    }
    for number, place in enumerate(PLACES)
    for thing in THINGS
]
SCORED = [
    {
        "sentence1": f"set the {thing} in the {place}",
        "sentence2": f"the {THINGS[number % 5]} of the {place} is on",
        "score": (number % 7) / 7,
    }
    for number, place in enumerate(PLACES)
    for thing in THINGS
]
STEPS = 50


def spec_of(objective: str, **more: Any) -> RunSpec:
    return RunSpec.model_validate(
        {
            "family": "embedding",
            "objective": objective,
            "adapter": {"r": 4},
            "optim": OptimSpec(learning_rate=1e-3, weight_decay=0.01).model_dump(),
            "batch_size": 8,
            "epochs": 10,
            "max_length": 64,
            "micro_batch_tokens": 120,  # a few texts at a time
            **more,
        }
    )


def items_of(spec: RunSpec, base: Path, rows: Sequence[dict[str, Any]]) -> list[Any]:
    read = family("embedding").reader(
        base, OBJECTIVES[spec.objective].records, max_length=spec.max_length
    )
    return [read(json.dumps(row).encode(), "a row") for row in rows]


def our_losses(
    spec: RunSpec, base: Path, rows: Sequence[dict[str, Any]], folder: Path, steps: int
) -> tuple[list[float], dict[str, torch.Tensor], dict[str, torch.Tensor], list[list[int]]]:
    """(losses, first adapter, last adapter, rows of each step)."""
    model = family("embedding").load(
        base, spec.adapter, precision=spec.precision, device="cpu", seed=spec.seed
    )
    begun = {name: tensor.clone() for name, tensor in model.adapter_state().items()}
    items = items_of(spec, base, rows)
    plan = make_plan(
        items, batch_size=spec.batch_size, epochs=spec.epochs, seed=spec.seed, pack_to=None
    )
    folder.mkdir()
    objective = OBJECTIVES[spec.objective].told(spec.settings)
    run = bare_run(spec, model, objective, items, plan, folder)
    found, taken_rows = [], []
    for step in range(steps):
        numbers = plan.rows_of(step)
        rate = optim.learning_rate(step, plan.total_steps, spec.optim)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        found.append(take(run, numbers).loss)
        run.optimizer.step()
        run.state.step += 1
        taken_rows.append(numbers)
    return found, begun, model.adapter_state(), taken_rows


def their_losses(
    spec: RunSpec,
    base: Path,
    rows: Sequence[dict[str, Any]],
    begun: dict[str, torch.Tensor],
    order: Sequence[Sequence[int]],
    folder: Path,
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """By sentence-transformers' model and losses, peft's adapter and torch's AdamW."""
    from peft import (
        LoraConfig,
        get_peft_model,
        get_peft_model_state_dict,
        set_peft_model_state_dict,
    )
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(base), device="cpu")
    inner: Any = model[0].model
    inner.to({"fp32": torch.float32, "fp64": torch.float64}[spec.precision])
    for module in inner.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    config = LoraConfig(
        r=4, lora_alpha=32, target_modules=r"(?!pooler\.)(.+\.)?(dense|key|query|value)"
    )
    peft = get_peft_model(inner, config)
    peft.to({"fp32": torch.float32, "fp64": torch.float64}[spec.precision])
    set_peft_model_state_dict(peft, begun)
    settings = VectorSettings.model_validate(spec.settings)
    loss: Any
    if spec.objective == "contrastive":
        loss = losses.MultipleNegativesRankingLoss(model, scale=settings.scale)
    else:
        loss = losses.CoSENTLoss(model, scale=settings.scale)
    if settings.cuts:
        loss = losses.MatryoshkaLoss(model, loss, settings.cuts)
    named = [(name, p) for name, p in peft.named_parameters() if p.requires_grad]
    optimizer = optim.adamw([p for _, p in named], [name for name, _ in named], spec.optim)
    total, found = 50, []
    for step, numbers in enumerate(order):
        for group in optimizer.param_groups:
            group["lr"] = optim.learning_rate(step, total, spec.optim)
        chosen = [rows[number] for number in numbers]
        if spec.objective == "contrastive":
            columns = [
                [row["query"] for row in chosen],
                [row["positive"] for row in chosen],
                *([row["negatives"][0] for row in chosen] for _ in chosen[0]["negatives"][:1]),
            ]
            labels = torch.empty(0)
        else:
            columns = [[row[name] for row in chosen] for name in ("sentence1", "sentence2")]
            labels = torch.tensor([row["score"] for row in chosen], dtype=torch.float64)
        optimizer.zero_grad(set_to_none=True)
        value = loss([model.preprocess(column) for column in columns], labels)
        value.backward()
        torch.nn.utils.clip_grad_norm_([p for _, p in named], spec.optim.max_grad_norm)
        optimizer.step()
        found.append(float(value.detach()))
    return found, get_peft_model_state_dict(peft)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp64", 1e-9)])
@pytest.mark.parametrize(
    ("objective", "settings"),
    [
        ("contrastive", {}),
        ("contrastive", {"scale": 8.0, "dimensions": "32, 16, 8"}),
        ("cosent", {}),
        ("cosent", {"dimensions": "32, 8"}),
    ],
)
def test_the_losses_are_sentence_transformers(
    objective: str, settings: dict[str, Any], precision: str, tolerance: float, tmp_path: Path
) -> None:
    base = build_embedder(tmp_path / "base")
    rows = RETRIEVALS if objective == "contrastive" else SCORED
    spec = spec_of(objective, settings=settings, precision=precision)
    ours, begun, weights, order = our_losses(spec, base, rows, tmp_path / "run", STEPS)
    theirs, their_weights = their_losses(spec, base, rows, begun, order, tmp_path)
    gaps = [abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True)]
    assert max(gaps) < tolerance
    assert weights.keys() == their_weights.keys()
    assert ours[-1] < 0.9 * ours[0]  # it learns, so that equality means something
    apart = max(float((weights[n] - their_weights[n]).abs().max()) for n in weights)
    moved = max(float((weights[n] - begun[n]).abs().max()) for n in weights)
    assert apart < 1e-2 * moved


@pytest.mark.parametrize("objective", ["contrastive", "cosent"])
@pytest.mark.parametrize("tokens", [1, 64, 300])
def test_what_stands_in_memory_at_once_changes_no_sum(
    objective: str, tokens: int, tmp_path: Path
) -> None:
    """Gradients through the cache are those of the whole step at once."""
    base = build_embedder(tmp_path / "base")
    rows = RETRIEVALS if objective == "contrastive" else SCORED
    gradients = []
    for micro in (tokens, 1 << 20):
        spec = spec_of(objective, micro_batch_tokens=micro, precision="fp64", batch_size=32)
        model = family("embedding").load(base, spec.adapter, precision="fp64", device="cpu", seed=0)
        with torch.no_grad():
            for parameter in model.parameters:
                parameter.add_(0.02)
        items = items_of(spec, base, rows)
        plan = make_plan(items, batch_size=32, epochs=1, seed=0, pack_to=None)
        folder = tmp_path / str(micro)
        folder.mkdir()
        run = bare_run(spec, model, OBJECTIVES[objective], items, plan, folder)
        taken = take(run, range(32))
        gradients.append((taken.loss, [p.grad.clone() for p in model.parameters]))
    (one, first), (other, second) = gradients
    assert one == pytest.approx(other, rel=1e-12)
    for a, b in zip(first, second, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-14)
    assert any(float(each.abs().max()) > 1e-6 for each in first)


def embed_fixed(items: Sequence[Any]) -> torch.Tensor:
    """A vector of each text that is a function of its tokens."""
    found = []
    for item in items:
        for text in item.sequences:
            generator = torch.Generator().manual_seed(sum(text.input_ids))
            found.append(torch.randn(8, generator=generator, dtype=torch.float64))
    return torch.stack(found)


def group(*texts: int) -> Group:
    return Group(tuple(Text([text]) for text in texts))


def placed_losses(*rows: Group) -> list[float]:
    assert CONTRASTIVE.together is not None
    return [each.loss for each in CONTRASTIVE.together(rows, embed_fixed)]


def test_the_same_text_to_be_found_is_no_negative() -> None:
    twice = placed_losses(group(1, 10), group(2, 10), group(3, 12))
    once = placed_losses(group(1, 10), group(3, 12))
    assert twice[0] == pytest.approx(once[0])
    assert twice[2] > once[1]  # to the third row both stand for themselves


def test_what_another_row_has_for_the_same_query_is_no_negative() -> None:
    several = placed_losses(group(1, 10), group(1, 11), group(3, 12))
    assert several[0] == pytest.approx(placed_losses(group(1, 10), group(3, 12))[0])
    other = placed_losses(group(1, 10), group(2, 11), group(3, 12))
    assert other[0] > several[0]


def test_hard_negatives_of_any_number_are_everybody_s() -> None:
    plain = placed_losses(group(1, 10), group(2, 11))
    harder = placed_losses(group(1, 10, 20, 21), group(2, 11))
    assert all(b > a for a, b in zip(plain, harder, strict=True))


def test_a_pair_is_scored_against_pairs_of_other_scores_only() -> None:
    together = OBJECTIVES["cosent"].together
    assert together is not None
    alike = [Scored((Text([n]), Text([n + 50])), 0.5) for n in range(4)]
    placed = together(alike, embed_fixed)
    assert [each.loss for each in placed] == [0.0] * 4
    assert all(float(each.gradient.abs().max()) == 0 for each in placed)


def run_folder(folder: Path, objective: str, **more: Any) -> Path:
    """Ready to start."""
    base = folder.parent / "base"
    if not base.exists():
        build_embedder(base)
    rows = RETRIEVALS if objective == "contrastive" else SCORED
    (folder / "data").mkdir(parents=True)
    (folder / "base").symlink_to(base)
    write_jsonl(folder / "data" / "train.jsonl", rows[:24])
    write_jsonl(folder / "data" / "valid.jsonl", rows[24:34])
    told = {"data": {"valid": "data/valid.jsonl"}, "epochs": 2, "threads": 1, "save_every": 1}
    told["micro_batch_tokens"] = 512
    spec_of(objective, **(told | more)).write(folder)
    return folder


class StopBehindEachStep(Stop):
    """Yields at the first check after a step that it has seen being trained."""

    def __init__(self, run: Path) -> None:
        super().__init__()
        self.log = run / "events.jsonl"
        self.before = self.trained()

    def trained(self) -> int:
        return self.log.read_bytes().count(b'"type": "metrics"') if self.log.exists() else 0

    def check(self) -> None:
        self.requested = self.trained() > self.before
        super().check()


def train_step_by_step(run: Path) -> int:
    """To its end, each step in a training of its own; how many there were."""
    for trainings in range(1, 20):
        try:
            train(run, StopBehindEachStep(run))
        except Yielded:
            continue
        return trainings
    raise AssertionError("it does not end")


@pytest.mark.parametrize(
    ("objective", "checks", "settings"),
    [
        ("contrastive", 13, {}),
        ("contrastive", 13, {"dimensions": "32, 16, 8"}),
        ("cosent", 8, {}),
        ("cosent", 8, {"dimensions": "32, 8"}),
    ],
)
def test_the_same_bytes_though_it_is_stopped_within_steps_and_behind_each(
    objective: str, checks: int, settings: dict[str, Any], tmp_path: Path
) -> None:
    whole, parts, steps = (
        run_folder(tmp_path / name, objective, settings=settings)
        for name in ("whole", "parts", "steps")
    )
    train(whole, Stop())
    assert train_interrupted(parts, checks, most=20) >= 2
    assert train_step_by_step(steps) >= 6
    for other in (parts, steps):
        assert result_hash(other) == result_hash(whole)
        table = (other / "result" / "metrics.csv").read_bytes()
        assert table == (whole / "result" / "metrics.csv").read_bytes()
    told = report(whole)
    assert told["steps"] == 6
    assert told["valid_loss"] < told["base_valid_loss"]


@pytest.mark.parametrize("more", [{"lanes": 2, "threads": 2}, {"gradient_checkpointing": True}])
def test_other_ways_through_memory_learn_the_same(more: dict[str, Any], tmp_path: Path) -> None:
    plain = run_folder(tmp_path / "plain", "contrastive")
    train(plain, Stop())
    other = run_folder(tmp_path / "other", "contrastive", **more)
    train(other, Stop())
    assert report(other)["train_loss"] == pytest.approx(report(plain)["train_loss"], rel=1e-4)


def test_rows_that_are_frozen_train_the_same(tmp_path: Path) -> None:
    import hashlib

    for objective in ("contrastive", "cosent"):
        plain = run_folder(tmp_path / objective, objective)
        read = family("embedding").reader(
            plain / "base", OBJECTIVES[objective].records, max_length=64
        )
        lines = (plain / "data" / "train.jsonl").read_bytes().splitlines()
        tokens = tmp_path / f"{objective}.tokens"
        read.freeze((read(line, "a row") for line in lines), tokens)
        digest = hashlib.sha256(tokens.read_bytes()).hexdigest()
        train(plain, Stop())
        frozen = run_folder(
            tmp_path / f"{objective}-frozen",
            objective,
            data={"valid": "data/valid.jsonl", "train_tokens_sha256": digest},
        )
        train(frozen, Stop())
        assert result_hash(frozen) == result_hash(plain)


@pytest.mark.parametrize(
    "more", [{"adapter": {"r": 4, "dropout": 0.1}}, {"neftune_noise_alpha": 5.0}, {"packing": True}]
)
def test_what_would_make_two_vectors_of_a_text_is_refused(
    more: dict[str, Any], tmp_path: Path
) -> None:
    folder = run_folder(tmp_path / "run", "contrastive", **more)
    with pytest.raises(UserFault) as fault:
        train(folder, Stop())
    assert fault.value.code == "settings_clash"


def test_an_objective_is_for_its_own_family() -> None:
    assert usable("contrastive", family="embedding").name == "contrastive"
    for name, kind in (("sft", "embedding"), ("contrastive", "causal_lm")):
        with pytest.raises(OurFault) as fault:
            usable(name, family=kind)  # type: ignore[arg-type]
        assert fault.value.code == "unmet_need"


@pytest.mark.parametrize("written", ["x", "0", "-4", "1.5", ",".join(["1"] * 17)])
def test_dimensions_that_are_none(written: str) -> None:
    with pytest.raises(ValueError, match="dimensions"):
        VectorSettings(dimensions=written)


def test_dimensions_beyond_the_vectors_are_refused(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", "contrastive", settings={"dimensions": "64, 16"})
    with pytest.raises(UserFault) as fault:
        train(folder, Stop())
    assert fault.value.code == "bad_dimensions"


def test_long_rows_are_told_unless_they_were_cut(tmp_path: Path) -> None:
    base = build_embedder(tmp_path / "base")
    spec = spec_of("contrastive", max_length=10)
    row = {"query": "a b c d e f g h i j k l m n", "positive": "b", "negatives": []}
    with pytest.raises(UserFault) as fault:
        items_of(spec, base, [row])
    assert fault.value.code == "row_too_long"
    (item,) = items_of(spec, base, [row | {"cut_to": 10}])
    assert len(item.sequences[0]) == 10
    assert item.sequences[0].input_ids[-1] == 2  # the end stays
