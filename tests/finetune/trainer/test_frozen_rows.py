"""A run whose rows were frozen when they were checked: the same result, and nothing is read."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from finetune.families.causal_lm import reading as causal_lm_reading
from finetune.records.check.run import TOKENS, run_check
from finetune.records.check.spec import CheckSpec
from finetune.records.rendering import DAY
from finetune.states import ExitCode
from finetune.trainer import reading
from finetune.trainer.lifeline import Yielded
from finetune.trainer.spec import RunSpec
from tests.finetune.trainer.runs import StopAfter, events, finish, make_run, report, result_hash


def freeze(run_dir: Path, *, keep: bool = False) -> None:
    """The rows' token ids in the place of the rows, as a job's preparation has them."""
    spec, digests = RunSpec.read(run_dir), {}
    for name in ("train", "valid"):
        rows = run_dir / "data" / f"{name}.jsonl"
        if not rows.exists():
            continue
        told = CheckSpec(source=rows, source_name=rows.name, tokenizer_dir=run_dir / "base")
        out = run_dir / "check"
        out.mkdir(exist_ok=True)
        assert run_check(told, out, lambda read, rows: None).ok
        frozen = (out / TOKENS).rename(rows.with_suffix(".tokens"))
        digests[f"{name}_tokens_sha256"] = hashlib.sha256(frozen.read_bytes()).hexdigest()
        if not keep:
            rows.unlink()
    spec.model_copy(update={"data": spec.data.model_copy(update=digests)}).write(run_dir)


@pytest.mark.parametrize(
    ("settings", "day"), [({}, None), ({"packing": True, "max_length": 256}, DAY)]
)
def test_the_result_is_that_of_the_rows_and_no_tokenizer_is_loaded(
    tiny_base: Path,
    tmp_path: Path,
    settings: dict[str, Any],
    day: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    if day:
        template = base / "chat_template.jinja"
        template.write_text("{{ strftime_now('%d %b %Y') }}\n" + template.read_text())
    plain = make_run(tmp_path / "plain", base, **settings)
    frozen = make_run(tmp_path / "frozen", base, **settings)
    freeze(frozen)
    assert finish(plain) == ExitCode.DONE
    # Whatever of the start asks the tokenizer, the frozen rows have told
    monkeypatch.setattr(causal_lm_reading, "load_tokenizer", pytest.fail)
    assert finish(frozen) == ExitCode.DONE
    assert report(frozen)["printed_day"] == report(plain)["printed_day"] == day
    assert result_hash(frozen) == result_hash(plain)
    planned = [events(run, "message")[0]["data"] for run in (plain, frozen)]
    assert planned[0] == planned[1]


@pytest.mark.parametrize("kept", [True, False])
def test_lost_token_ids_are_made_again_of_the_rows_or_it_ends(
    tiny_base: Path, tmp_path: Path, kept: bool
) -> None:
    """The very bytes that the spec names: where other ones come of the rows, nothing is trained."""
    plain, lost = (make_run(tmp_path / name, tiny_base) for name in ("plain", "lost"))
    freeze(lost, keep=True)
    (lost / "data" / "train.tokens").unlink()
    if not kept:  # another template than that of the check
        base = (lost / "base").resolve()
        (lost / "base").unlink()
        shutil.copytree(base, lost / "base")
        template = lost / "base" / "chat_template.jinja"
        template.write_text("Today {{ strftime_now('%d %b %Y') }}\n" + template.read_text())
        assert finish(lost) == ExitCode.OURS
        assert json.loads((lost / "error.json").read_bytes())["code"] == "data_changed"
        return
    assert finish(lost) == ExitCode.DONE
    assert finish(plain) == ExitCode.DONE
    assert result_hash(lost) == result_hash(plain)


@pytest.mark.parametrize("place", [0, -1])
def test_other_token_ids_than_the_specs_are_refused(
    tiny_base: Path, tmp_path: Path, place: int
) -> None:
    run_dir = make_run(tmp_path / "run", tiny_base)
    freeze(run_dir)
    path = run_dir / "data" / "train.tokens"
    changed = bytearray(path.read_bytes())
    changed[place] ^= 1
    path.write_bytes(changed)
    assert finish(run_dir) == ExitCode.OURS
    assert json.loads((run_dir / "error.json").read_bytes())["code"] == "data_changed"


def test_reading_tells_how_far_it_is_and_hears_that_it_shall_stop(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir, stop = make_run(tmp_path / "run", tiny_base), StopAfter(0)
    told = list[tuple[int, int]]()

    def read(line: bytes, where: str) -> Any:
        if where.endswith("line 5"):
            stop.requested = True
        return line

    monkeypatch.setattr(reading, "TOLD_SECONDS", 0)
    with pytest.raises(Yielded):
        reading.read_rows(
            run_dir,
            "data/train.jsonl",
            read,
            None,
            stop=stop,
            tell=lambda rows, of: told.append((rows, of)),
        )
    assert told == [(number, 20) for number in range(1, 6)]
