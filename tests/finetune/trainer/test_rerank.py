"""Reranking: sentence-transformers' own loss on the same pairs, order and adapter gives the same
losses and weights; a stopped training ends with the same bytes; what is put in order better is
seen."""

import csv
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from faults import UserFault
from finetune.families import family
from finetune.trainer import optim
from finetune.trainer.data import make_plan
from finetune.trainer.lifeline import Stop
from finetune.trainer.loop import train
from finetune.trainer.objectives import OBJECTIVES
from finetune.trainer.spec import OptimSpec, RunSpec
from finetune.trainer.taking import take
from tests.finetune.trainer.runs import (
    bare_run,
    report,
    result_hash,
    write_jsonl,
)
from tests.finetune.trainer.test_vectors import RETRIEVALS, train_step_by_step
from tests.finetune.trainer.test_vectors import SCORED as VECTORS
from tests.rerankers import build_reranker

losses = pytest.importorskip("sentence_transformers.cross_encoder.losses")
STEPS = 50
RERANK = OBJECTIVES["rerank"]
# Scores that float32 holds exactly
SCORED = [row | {"score": number % 5 / 4} for number, row in enumerate(VECTORS)]


def spec_of(**more: Any) -> RunSpec:
    return RunSpec.model_validate(
        {
            "family": "reranking",
            "objective": "rerank",
            "adapter": {"r": 4},
            "optim": OptimSpec(learning_rate=1e-3, weight_decay=0.01).model_dump(),
            "batch_size": 8,
            "epochs": 10,
            "max_length": 64,
            "micro_batch_tokens": 400,  # a step's pairs in several parts
            **more,
        }
    )


def items_of(base: Path, rows: Sequence[dict[str, Any]]) -> list[Any]:
    read = family("reranking").reader(base, RERANK.records.of(rows[0]), max_length=64)
    return [read(json.dumps(row).encode(), "a row") for row in rows]


class Widened(torch.nn.Module):
    """Their labels are float32, in which torch would compute the loss of logits in float64, too."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, found: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        told: torch.Tensor = self.inner(found, labels.to(found))
        return told


def pairs_of(row: dict[str, Any]) -> list[tuple[str, str, float]]:
    if "score" in row:
        return [(row["sentence1"], row["sentence2"], row["score"])]
    found = [(row["query"], row["positive"], 1.0)]
    return found + [(row["query"], each, 0.0) for each in row["negatives"]]


@pytest.mark.parametrize(
    ("rows", "weight", "precision", "tolerance"),
    [(RETRIEVALS, 3.0, "fp64", 1e-9), (SCORED, 1.0, "fp32", 1e-5)],
)
def test_the_losses_are_sentence_transformers(
    rows: list[dict[str, Any]], weight: float, precision: str, tolerance: float, tmp_path: Path
) -> None:
    from peft import (
        LoraConfig,
        get_peft_model,
        get_peft_model_state_dict,
        set_peft_model_state_dict,
    )
    from sentence_transformers import CrossEncoder

    base = build_reranker(tmp_path / "base")
    spec = spec_of(settings={"pos_weight": weight}, precision=precision)
    dtype = {"fp32": torch.float32, "fp64": torch.float64}[precision]
    ours = family("reranking").load(
        base, spec.adapter, precision=spec.precision, device="cpu", seed=0
    )
    begun = {name: tensor.clone() for name, tensor in ours.adapter_state().items()}
    items = items_of(base, rows)
    plan = make_plan(items, batch_size=8, epochs=10, seed=0, pack_to=None)
    run = bare_run(spec, ours, RERANK.told(spec.settings), items, plan, tmp_path, lanes=1)

    theirs: Any = CrossEncoder(str(base), device="cpu")
    inner = theirs[0].model.to(dtype)
    for module in inner.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    targets = ["dense", "key", "query", "value", "classifier"]
    peft = get_peft_model(inner, LoraConfig(r=4, lora_alpha=32, target_modules=targets)).to(dtype)
    set_peft_model_state_dict(peft, begun)
    loss = losses.BinaryCrossEntropyLoss(theirs, pos_weight=torch.tensor(weight, dtype=dtype))
    loss.bce_with_logits_loss = Widened(loss.bce_with_logits_loss)
    named = [(name, p) for name, p in peft.named_parameters() if p.requires_grad]
    optimizer = optim.adamw([p for _, p in named], [name for name, _ in named], spec.optim)
    gaps, first, last = [], 0.0, 0.0
    for step in range(STEPS):
        numbers = plan.rows_of(step)
        for group in (*optimizer.param_groups, *run.optimizer.param_groups):
            group["lr"] = optim.learning_rate(step, STEPS, spec.optim)
        last = take(run, numbers).loss
        first = first or last
        run.optimizer.step()
        run.state.step += 1
        pairs = [pair for number in numbers for pair in pairs_of(rows[number])]
        optimizer.zero_grad(set_to_none=True)
        labels = torch.tensor([label for *_, label in pairs])
        value = loss([[query for query, *_ in pairs], [each for _, each, _ in pairs]], labels)
        value.backward()
        torch.nn.utils.clip_grad_norm_([p for _, p in named], spec.optim.max_grad_norm)
        optimizer.step()
        gaps.append(abs(last - float(value)) / abs(float(value)))
    assert max(gaps) < tolerance, gaps
    assert last < first  # it learns, so that equality means something
    weights, others = ours.adapter_state(), get_peft_model_state_dict(peft)
    assert weights.keys() == others.keys()
    apart = max(float((weights[name] - others[name]).abs().max()) for name in weights)
    assert apart < 1e-2 * max(float((weights[n] - begun[n]).abs().max()) for n in weights)


def test_the_listwise_loss_is_sentence_transformers(tmp_path: Path) -> None:
    """Of several negatives; their targets are a softmax of labels, one of which is far above."""
    from sentence_transformers import CrossEncoder

    base = build_reranker(tmp_path / "base", spread=8)
    rows = [row | {"negatives": [*row["negatives"], "no"][: 1 + n % 2]}
            for n, row in enumerate(RETRIEVALS[:8])]  # fmt: skip
    items = items_of(base, rows)
    kind: Any = family("reranking")
    model = kind.load(base, spec_of().adapter, precision="fp32", device="cpu", seed=0)
    model.train(False)
    batch = model.lay_out([p for item in items for p in item.sequences], share_prefixes=False)
    objective: Any = RERANK.told({"loss_type": "listwise"})
    sums = objective.sums(model, batch, items)
    theirs = losses.ListNetLoss(CrossEncoder(str(base), device="cpu").eval())
    documents = [[row["positive"], *row["negatives"]] for row in rows]
    labels = [torch.tensor([1e4] + [0.0] * (len(each) - 1)) for each in documents]
    expected = float(theirs([[row["query"] for row in rows], documents], labels))
    assert float(sums.loss) / sums.weight == pytest.approx(expected, rel=1e-5)
    each = objective.each(model, batch, items)
    assert sum(loss for loss, _ in each) == pytest.approx(float(sums.loss))
    assert expected > 0.1
    with pytest.raises(UserFault) as fault:
        objective.sums(
            model,
            model.lay_out(items_of(base, SCORED[:2])[0].sequences, share_prefixes=False),
            items_of(base, SCORED[:1]),
        )
    assert fault.value.code == "loss_needs_lists"
    with pytest.raises(ValueError, match="pos_weight"):
        RERANK.told({"loss_type": "listwise", "pos_weight": 2})


def run_folder(folder: Path, rows: Sequence[dict[str, Any]] = RETRIEVALS, **more: Any) -> Path:
    base = folder.parent / "base"
    if not base.exists():
        build_reranker(base)
    (folder / "data").mkdir(parents=True)
    (folder / "base").symlink_to(base)
    write_jsonl(folder / "data" / "train.jsonl", rows[:24])
    write_jsonl(folder / "data" / "valid.jsonl", rows[24:34])
    told = {"data": {"valid": "data/valid.jsonl"}, "epochs": 2, "threads": 1, "save_every": 1}
    spec_of(**(told | {"micro_batch_tokens": 512} | more)).write(folder)
    return folder


def test_the_same_bytes_though_it_is_stopped_or_read_from_frozen_rows(tmp_path: Path) -> None:
    whole, parts = (run_folder(tmp_path / name) for name in ("whole", "parts"))
    train(whole, Stop())
    assert train_step_by_step(parts) >= 6
    lines = (whole / "data" / "train.jsonl").read_bytes().splitlines()
    read = family("reranking").reader(whole / "base", RERANK.records, max_length=64)
    tokens = tmp_path / "tokens"
    read.freeze((read(line, "a row") for line in lines), tokens)
    digest = hashlib.sha256(tokens.read_bytes()).hexdigest()
    frozen = run_folder(
        tmp_path / "frozen", data={"valid": "data/valid.jsonl", "train_tokens_sha256": digest}
    )
    (frozen / "data" / "train.tokens").write_bytes(tokens.read_bytes())
    train(frozen, Stop())
    for other in (parts, frozen):
        assert result_hash(other) == result_hash(whole)
        table = (other / "result" / "metrics.csv").read_bytes()
        assert table == (whole / "result" / "metrics.csv").read_bytes()
    assert {"train_pair_accuracy", "valid_pair_accuracy"} <= set(
        table.decode().split("\n")[0].split(",")
    )
    assert report(whole)["valid_loss"] < report(whole)["base_valid_loss"]


def test_what_it_puts_in_order_is_measured_before_and_after(tmp_path: Path) -> None:
    """By the figures that sentence-transformers' evaluator gives of the base."""
    evaluation = pytest.importorskip("sentence_transformers.cross_encoder.evaluation")
    from sentence_transformers import CrossEncoder

    rows = [
        {"query": row["query"], "positive": f"yes {row['positive']}", "negatives": row["negatives"]}
        for row in RETRIEVALS
    ]
    rows = [row | {"negatives": [*row["negatives"], f"no {n}", "no"]} for n, row in enumerate(rows)]
    optim = OptimSpec(learning_rate=1e-2).model_dump()
    run = run_folder(tmp_path / "run", rows, epochs=6, optim=optim, save_every=50)
    train(run, Stop())
    told = report(run)["retrieval"]
    held = [json.loads(line) for line in (run / "data" / "valid.jsonl").read_bytes().splitlines()]
    lists: dict[str, dict[str, bool]] = {}
    for row in held:
        found = lists.setdefault(row["query"], {})
        found |= dict.fromkeys(row["negatives"], False) | {row["positive"]: True}
    samples = [
        {
            "query": query,
            "positive": [text for text, fits in found.items() if fits],
            "negative": [text for text, fits in found.items() if not fits],
        }
        for query, found in lists.items()
    ]
    evaluator = evaluation.CrossEncoderRerankingEvaluator(
        samples, at_k=10, show_progress_bar=False, write_csv=False
    )
    theirs = evaluator(CrossEncoder(str(tmp_path / "base"), device="cpu"))
    assert (told["queries"], told["documents"]) == (len(lists), sum(map(len, lists.values())))
    measured = told["measures"]
    assert measured["ndcg@10"]["base"] == pytest.approx(theirs["ndcg@10"], abs=1e-9)
    assert measured["mrr@10"]["base"] == pytest.approx(theirs["mrr@10"], abs=1e-9)
    low, high = measured["ndcg@10"]["interval"]
    assert 0 < low <= measured["ndcg@10"]["difference"] <= high
    table = list(csv.DictReader((run / "result" / "retrieval.csv").read_text().splitlines()))
    assert len(table) == len(lists)


def test_scored_pairs_are_no_lists(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", SCORED, epochs=1, adapter={"r": 4, "dropout": 0.1})
    train(run, Stop())
    assert "retrieval" not in report(run)
    assert report(run)["validation_change"]["rows"] == 10


def test_packing_does_not_go_with_it(tmp_path: Path) -> None:
    for more in ({"packing": True}, {"neftune_noise_alpha": 5.0}):
        with pytest.raises(UserFault) as fault:
            train(run_folder(tmp_path / next(iter(more)), **more), Stop())
        assert fault.value.code == "settings_clash"
