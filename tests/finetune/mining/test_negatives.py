"""Hard negatives are those that sentence-transformers' `mine_hard_negatives` finds with the same
model, texts and filters."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetune.mining.negatives import MiningOptions, batches, mine
from tests.embedders import build_embedder

sentence_transformers = pytest.importorskip("sentence_transformers")
datasets = pytest.importorskip("datasets")

ROOMS = ("kitchen", "hall", "attic", "cellar", "garden")
THINGS = ("light", "fan", "heater", "lamp")
ROWS = [
    {
        "query": f"turn on the {thing} in the {room}",
        "positive": f"turn on the {thing} in the {room} now",
    }
    for room in ROOMS
    for thing in THINGS
]
ROWS += [{"query": ROWS[0]["query"], "positive": "turn on the light in kitchen"}]  # two answers
CORPUS = [f"the {thing} is broken" for thing in THINGS] + [ROWS[3]["positive"]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    prompts = {"query": "ask: ", "document": "say: "}
    folder: Path = build_embedder(tmp_path_factory.mktemp("mining") / "base", prompts=prompts)
    return sentence_transformers.SentenceTransformer(str(folder), device="cpu")


def embed_with(model: Any) -> Any:
    def embed(texts: Any, side: str) -> Any:
        return getattr(model, f"encode_{side}")(list(texts), show_progress_bar=False)

    return embed


@pytest.mark.parametrize(
    "asked",
    [
        {"relative_margin": None},
        {"relative_margin": 0.003},
        {"relative_margin": 0.004, "range_min": 2, "num_negatives": 2},
        {"relative_margin": None, "absolute_margin": 0.004, "range_max": 12},
        {"relative_margin": None, "max_score": 0.992, "min_score": 0.985, "num_negatives": 5},
    ],
)
def test_the_negatives_are_sentence_transformers(model: Any, asked: dict[str, Any]) -> None:
    settings = {"num_negatives": 3, **asked}
    expected = sentence_transformers.util.mine_hard_negatives(
        datasets.Dataset.from_list(ROWS),
        model,
        corpus=CORPUS,
        output_format="triplet",
        query_prompt_name="query",
        corpus_prompt_name="document",
        verbose=False,
        **settings,
    )
    theirs: dict[tuple[str, str], list[str]] = {}
    for row in expected:
        theirs.setdefault((row["query"], row["positive"]), []).append(row["negative"])
    made = mine(ROWS, CORPUS, embed_with(model), MiningOptions(**settings))
    ours = {
        (row["query"], row["positive"]): row["negatives"]
        for row in made.rows
        if row.get("negatives")
    }
    assert ours == theirs
    assert made.negatives == len(expected) > 9
    assert bool(made.skipped) == (asked != {"relative_margin": None})
    assert made.without == len(ROWS) - len(ours)
    assert (made.queries, made.documents) == (20, 25)


def test_a_filter_that_leaves_none_is_told_and_no_row_is_lost(model: Any) -> None:
    given = [ROWS[0] | {"negatives": ["the hall has a light"]}, *ROWS[1:]]
    made = mine(given, [], embed_with(model), MiningOptions(max_score=-1))
    assert made.rows == given
    assert (made.negatives, made.without) == (0, len(ROWS))
    assert made.skipped["max_score"] + made.skipped["relative_margin"] > 0
    again = mine(given, [], embed_with(model), MiningOptions(relative_margin=None))
    [first, *_] = again.rows
    assert first["negatives"][0] == "the hall has a light"
    assert len(set(first["negatives"])) == len(first["negatives"])
    assert not {ROWS[0]["positive"], ROWS[-1]["positive"]} & set(first["negatives"])


def test_what_has_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves no room"):
        MiningOptions(range_min=3, range_max=5)


def test_texts_are_sent_in_order_and_not_too_many_at_once() -> None:
    texts = ["a", "bb", "c" * 9, "d", "e"]
    assert list(batches(texts, 2, 4)) == [["a", "bb"], ["c" * 9], ["d", "e"]]
    assert list(batches([], 2, 4)) == []
    assert np.concatenate(list(batches(texts, 9, 99))).tolist() == texts
