"""nDCG is scikit-learn's; MRR and recall are what can be counted by hand."""

import math

import numpy as np
import pytest

from finetune.grading.retrieval import MEASURES, measures, of_places

metrics = pytest.importorskip("sklearn.metrics")


def test_ndcg_is_scikit_learns() -> None:
    random = np.random.default_rng(3)
    queries, documents = random.normal(size=(40, 8)), random.normal(size=(90, 8))
    belonging = [
        set(random.choice(90, size=random.integers(1, 14), replace=False)) for _ in queries
    ]
    found = measures(queries, documents, belonging)
    near = _cosines(queries, documents)
    gains = np.zeros((40, 90))
    for row, own in enumerate(belonging):
        gains[row, sorted(own)] = 1
    for row in range(40):
        expected = metrics.ndcg_score(gains[row : row + 1], near[row : row + 1], k=10)
        assert found["ndcg@10"][row] == pytest.approx(expected, abs=1e-9)
        order = np.argsort(-near[row])
        hits = [number in belonging[row] for number in order]
        first = hits.index(True)
        assert found["mrr@10"][row] == pytest.approx(1 / (first + 1) if first < 10 else 0)
        for most in (1, 5, 10):
            share = sum(hits[:most]) / len(belonging[row])
            assert found[f"recall@{most}"][row] == pytest.approx(share)


def _cosines(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    norms = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(documents, axis=1)
    found: np.ndarray = queries @ documents.T / norms  # type: ignore[type-arg]
    return found


def test_by_hand() -> None:
    assert of_places([0]) == dict.fromkeys(MEASURES, 1.0)
    second = of_places([1])
    assert second["ndcg@10"] == pytest.approx(1 / math.log2(3))
    assert (second["mrr@10"], second["recall@1"], second["recall@5"]) == (0.5, 0, 1)
    assert of_places([10]) == dict.fromkeys(MEASURES, 0.0)
    assert of_places([0, 7])["recall@5"] == 0.5


def test_of_equally_near_texts_those_that_do_not_belong_come_first() -> None:
    """Or a model of which all vectors are the same would find everything."""
    alike = np.ones((3, 4))
    assert measures(alike[:1], alike, [{0}])["mrr@10"] == [pytest.approx(1 / 3)]
    assert measures(alike[:1], np.zeros((2, 4)), [{0, 1}])["recall@5"] == [1.0]
