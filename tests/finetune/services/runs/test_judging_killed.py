"""A training that is killed with -9 while a reward model scores its answers goes on with the scores
that were kept, and ends in the same bytes, though the model would score otherwise now."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from finetune.grading import specs
from finetune.sandbox.levels import require
from finetune.services.models import gateway
from finetune.services.runs.grading import kept
from finetune.services.runs.judging import Judging
from finetune.serving.protocol import Scored
from finetune.trainer.lifeline import Stop
from finetune.trainer.loop import train
from finetune.trainer.rewards import FOLDER, Rewards
from finetune.trainer.spec import RunSpec
from tests.finetune.services.runs.test_judging import REWARDER, claimed
from tests.finetune.trainer.runs import killed_while, result_hash
from tests.finetune.trainer.test_reinforcement import make_drawing
from tests.fixtures.jobs import Bench
from tests.fixtures.waiting import until
from tests.rewarders import made, score_of


class Scorer:
    """A real reward model, in the place of the model server; no two requests get quite the same."""

    def __init__(self, base: Path) -> None:
        self.base, self.model, self.requests = base, made(base, 3)[0], 0

    async def score(self, *, conversations: Any, **_: Any) -> Scored:
        self.requests += 1
        scores = [score_of(self.model, self.base, *each["messages"]) for each in conversations]
        off = self.requests / 8
        return Scored(scores=[each + off for each in scores], prompt_tokens=len(scores))


def judged(bench: Bench) -> Judging:
    judging = claimed(bench)
    target = replace(judging.targets["tiny"], model="ft:r", scores=True)
    parts = [specs.GRADER.validate_python(REWARDER)]
    return replace(judging, parts=parts, targets={"ft:r": target})


def goes_on(run: Path, judging: Judging) -> None:
    with kept(run, RunSpec.read(run), require("require"), judging):
        train(run, Stop())


def test_killed_while_it_is_scored_it_ends_in_the_same_bytes(
    bench: Bench, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name in ("undisturbed", "killed"):
        scorer, judging = Scorer(tiny_base), judged(bench)
        monkeypatch.setattr(gateway, "score", scorer.score)
        run = make_drawing(tmp_path / name, tiny_base, grader=REWARDER)
        if name == "killed":
            wait = killed_while((Rewards, "_asked"), 4, partial(waits, run), done=True)
            with kept(run, RunSpec.read(run), require("require"), judging):
                wait()
            before = scorer.requests
            assert before == 4, "of before training, and of three steps"
            for left in (FOLDER, "rollouts"):  # as in another worker's folder
                shutil.rmtree(run / left)
        goes_on(run, judging)
        told = json.loads((run / "result" / "report.json").read_bytes())["grading"]
        assert told["answers"] > 0
        assert told["seconds"] >= told["step_seconds"] > 0
        found.append((result_hash(run), scorer.requests))
    assert found[0] == found[1], "each answer was scored once"


def waits(run: Path) -> None:
    until(lambda: (run / FOLDER).is_dir(), "nobody scores")
    train(run, Stop())
