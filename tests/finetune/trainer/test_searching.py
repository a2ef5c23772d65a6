"""A training of vectors says whether queries that were held out find more than before, by figures
that sentence-transformers' own evaluator gives for the same vectors."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from finetune.trainer.lifeline import Stop
from finetune.trainer.loop import train
from tests.embedders import build_embedder
from tests.finetune.trainer.runs import report, write_jsonl
from tests.finetune.trainer.test_vectors import RETRIEVALS, run_folder, spec_of

evaluation = pytest.importorskip("sentence_transformers.sentence_transformer.evaluation")


def test_the_base_finds_what_sentence_transformers_says(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    run = run_folder(tmp_path / "run", "contrastive")
    train(run, Stop())
    told = report(run)["retrieval"]
    rows = [json.loads(line) for line in (run / "data" / "valid.jsonl").read_bytes().splitlines()]
    documents = list(dict.fromkeys(d for r in rows for d in (r["positive"], *r["negatives"])))
    wanted: dict[str, set[str]] = {}
    for row in rows:
        wanted.setdefault(row["query"], set()).add(row["positive"])
    evaluator = evaluation.InformationRetrievalEvaluator(
        queries={query: query for query in wanted},
        corpus={document: document for document in documents},
        relevant_docs=wanted,
        ndcg_at_k=[10],
        mrr_at_k=[10],
        precision_recall_at_k=[1, 5, 10],
        show_progress_bar=False,
    )
    theirs = evaluator(SentenceTransformer(str(tmp_path / "base"), device="cpu"))
    assert (told["queries"], told["documents"]) == (len(wanted), len(documents))
    for name, each in told["measures"].items():
        assert each["base"] == pytest.approx(theirs[f"cosine_{name}"], abs=1e-9), name
        for side in ("base", "tuned"):
            low, high = each[f"{side}_interval"]
            assert 0 <= low <= each[side] <= high <= 1
        assert each["difference"] == pytest.approx(each["tuned"] - each["base"])
    better = told["measures"]["mrr@10"]
    assert better["interval"][0] <= better["difference"] <= better["interval"][1]
    lines = (run / "result" / "retrieval.csv").read_text().splitlines()
    table = list(csv.DictReader(lines))
    assert len(table) == len(wanted)
    mean = sum(float(each["ndcg@10"]) for each in table) / len(table)
    assert mean == pytest.approx(told["measures"]["ndcg@10"]["tuned"])
    assert "kitchen" not in "".join(lines)


def test_training_that_helps_is_seen_to(tmp_path: Path) -> None:
    """Each query's own text is one of few words that are learnt by heart."""
    rows = RETRIEVALS[:16]
    run = tmp_path / "run"
    (run / "data").mkdir(parents=True)
    (run / "base").symlink_to(build_embedder(tmp_path / "base"))
    for name in ("train", "valid"):
        write_jsonl(run / "data" / f"{name}.jsonl", rows)
    more: dict[str, Any] = {"data": {"valid": "data/valid.jsonl"}, "epochs": 15, "threads": 1}
    spec_of("contrastive", micro_batch_tokens=4096, **more).write(run)
    train(run, Stop())
    found = report(run)["retrieval"]["measures"]["mrr@10"]
    assert found["tuned"] > found["base"] + 0.1
    assert found["interval"][0] > 0
    assert found["p_value"] < 0.05


def test_without_queries_held_out_nothing_is_said(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", "cosent")
    train(run, Stop())
    assert "retrieval" not in report(run)
    assert not (run / "result" / "retrieval.csv").exists()
