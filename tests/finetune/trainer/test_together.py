"""Each cell of the page of what goes with what is what a training does."""

import runpy
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from faults import UserFault
from finetune.trainer.lanes import lanes_of
from finetune.trainer.lifeline import Stop
from finetune.trainer.loop import train
from finetune.trainer.objectives import METHODS
from finetune.trainer.spec import RunSpec
from finetune.trainer.together import CLASHES, WAYS, YIELDINGS, Way, require_together, with_ways
from tests.finetune.trainer.runs import chat_rows, make_run, report, write_jsonl

ROOT = Path(__file__).resolve().parents[3]
TRAINED = {
    name: objective
    for name, objective in METHODS.items()
    if objective.records.name in ("row", "pair", "rated")
}


def rows_of(kind: str, base: Path) -> list[dict[str, Any]]:
    if kind in ("pair", "rated"):  # pairs serve for both
        return [{"prompt": f"{n} and {n} is", "chosen": f" {2 * n}.", "rejected": " many."}
                for n in range(4)]  # fmt: skip
    return chat_rows(4)


def trained(spec: RunSpec, folder: Path, base: Path, kind: str) -> dict[str, Any]:
    run = make_run(folder, base, valid=False, rows=4)
    spec.model_copy(update={"epochs": 1, "batch_size": 2, "threads": 2}).write(run)
    write_jsonl(run / "data" / "train.jsonl", rows_of(kind, base))
    train(run, Stop())
    return report(run)


def test_the_page_is_current() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "together_table.py"))["page"]()
    page = ROOT / "docs" / "reference" / "settings-together.md"
    assert page.read_text(encoding="utf-8") == made, "run: python scripts/together_table.py"


@pytest.mark.slow
@pytest.mark.parametrize("method", TRAINED)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_each_setting_trains_with_each_method(
    way: Way, method: str, shallow_base: Path, tmp_path: Path
) -> None:
    objective = METHODS[method]
    spec = with_ways(way, objective=objective.name, family=objective.family)
    told = trained(spec, tmp_path / "run", shallow_base, objective.records.name)
    assert (told["steps"], told["skipped_steps"]) == (2, 0) or spec.packing


@pytest.mark.slow
@pytest.mark.parametrize("first", range(len(WAYS)), ids=[way.name for way in WAYS])
def test_each_pair_trains_or_is_refused_as_the_page_says(
    first: int, shallow_base: Path, tmp_path: Path
) -> None:
    for number, other in enumerate(WAYS[first + 1 :]):
        spec = with_ways(WAYS[first], other)
        if set(WAYS[first].spec) & set(other.spec) == {"adapter"} and same_field(first, other):
            continue  # two values of one setting
        if any(clash.holds(spec) for clash in CLASHES):
            with pytest.raises(UserFault) as raised:
                trained(spec, tmp_path / str(number), shallow_base, "row")
            assert raised.value.code == "settings_clash"
        else:
            told = trained(spec, tmp_path / str(number), shallow_base, "row")
            assert told["steps"] == 2 or spec.packing


def same_field(first: int, other: Way) -> bool:
    return bool(WAYS[first].spec["adapter"].keys() & other.spec["adapter"].keys())


@pytest.mark.parametrize("clash", CLASHES, ids=lambda clash: " with ".join(clash.settings))
def test_each_refusal_is_of_a_pair_and_of_neither_alone(clash: Any) -> None:
    held = [pair for pair in combinations(WAYS, 2) if clash.holds(with_ways(*pair))]
    assert held
    for pair in held:
        with pytest.raises(UserFault) as raised:
            require_together(with_ways(*pair))
        assert (raised.value.code, raised.value.param) == (clash.code, clash.param)
        for alone in pair:
            require_together(with_ways(alone))


class OneModel:
    side_by_side = True


def test_what_gives_way_is_what_the_trainer_does() -> None:
    """The lanes and shared beginnings that a run has, for each pair and both devices."""
    _, of_lanes, of_cuda = YIELDINGS
    for device in ("cpu", "cuda"):
        for pair in combinations(WAYS, 2):
            spec = with_ways(*pair, device=device, lanes=3)
            alone = lanes_of(spec, OneModel()) == 1  # type: ignore[arg-type]
            assert alone == (of_lanes.holds(spec) or of_cuda.holds(spec)), pair
