"""What graders say of completions.

Graders of texts are computed here. A customer's Python is not run in this process, which holds the
weights, and no other model is asked by it, which has no network: both are asked for in
RUN_DIR/grading, whose keeper answers there.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faults import OurFault, UserFault
from finetune.grading import specs
from finetune.grading.conversations import Conversation
from finetune.grading.grade import Graded, Judged, JudgeFailed, grade, sample_of
from finetune.grading.judges import judges_in
from finetune.grading.python_grader import Ran
from finetune.trainer.lifeline import Stop

if TYPE_CHECKING:  # it loads torch, and the worker reads here
    from finetune.trainer.generating import Answer

FOLDER = "grading"
EVALUATION = "valid"  # the occasion's name; of a step it is the step's number
ASKED, TOLD = ".asked.json", ".told.json"
LOOK_SECONDS = 0.05
PROBE_SECONDS = 120.0  # that a try waits for graders

Told = list[Any]  # of a judging model: its score (a reward model's: raw), tokens, why there is none


@dataclass
class Waited:
    """What the keeper graded, and how long the training waited for it."""

    answers: int = 0
    seconds: float = 0.0


def sources_of(spec: "specs.Grader") -> list[str]:
    """The Python sources that a grader runs, each once."""
    parts = [part for part in specs.parts_of(spec) if isinstance(part, specs.Python)]
    return list(dict.fromkeys(part.source for part in parts))


def sample_told(answer: "Answer") -> dict[str, Any]:
    """As graders see it: what the model said, not what it thought."""
    sample = sample_of(answer.text)
    if answer.tool_calls:
        sample["output_tools"] = answer.tool_calls
        sample["choices"][0]["message"]["tool_calls"] = answer.tool_calls
    return sample


@dataclass(frozen=True)
class _Hands:
    """What came of one completion: `ran` by source, `judged` by part."""

    ran: Mapping[str, Ran]
    judged: Sequence[tuple[specs.Asking, Told]] = ()

    def judge(self, spec: specs.ScoreModel, messages: list[dict[str, str]]) -> Judged:
        return self._told(spec)

    def reward(self, spec: specs.RewardModel, conversation: Conversation) -> Judged:
        return self._told(spec)

    def _told(self, spec: specs.Asking) -> Judged:
        score, tokens, error = next(told for part, told in self.judged if part is spec)
        if error is not None:
            raise JudgeFailed(error)
        return Judged(score, tokens, spec.model)

    def python(self, source: str, sample: dict[str, Any], item: Any) -> Ran:
        return self.ran[source]


class Rewards:
    def __init__(self, grader: Mapping[str, Any] | None, run_dir: Path, stop: Stop) -> None:
        """Raises OurFault `no_grader` where the spec has none, or nobody runs what it asks for."""
        if grader is None:
            raise OurFault("no_grader", "A training by rewards needs a grader.")
        self._spec = specs.GRADER.validate_python(grader)
        self._sources, self._judges = sources_of(self._spec), judges_in(self._spec)
        self._folder, self._stop = run_dir / FOLDER, stop
        self.of_steps, self.of_evaluations = Waited(), Waited()
        if (self._sources or self._judges) and not self._folder.is_dir():
            raise OurFault(
                "no_grader",
                "Nobody runs the Python of this run's grader, or asks the model that judges.",
                fix=f"A worker does, which makes the folder {FOLDER} in the run's.",
            )

    @property
    def asks(self) -> bool:
        """Whether it waits for the keeper."""
        return bool(self._sources or self._judges)

    def of(self, name: str, given: Sequence[tuple["Answer", Any]]) -> list[Graded]:
        """Of each completion, with its row's item, in the order given. `name` is that of the
        occasion. Yielded may come. Raises UserFault `grader_failed` where none has a reward."""
        samples = [(sample_told(answer), item) for answer, item in given]
        began = time.monotonic()
        hands = self._asked(name, samples)
        if self.asks:
            waited = self.of_evaluations if name == EVALUATION else self.of_steps
            waited.answers += len(samples)
            waited.seconds += time.monotonic() - began
        graded = [
            grade(self._spec, sample, item, each)
            for (sample, item), each in zip(samples, hands, strict=True)
        ]
        kinds = sorted({kind for each in graded for kind in each.errors.kinds})
        if kinds and all(each.errors.kinds for each in graded):
            raise _failed(kinds, ours=all(r.ours for each in hands for r in each.ran.values()))
        return graded

    def probe(self, given: Sequence[tuple["Answer", Any]]) -> float | None:
        """The seconds that grading these takes, whatever comes of it; None: more than
        PROBE_SECONDS. Yielded may come."""
        began = time.monotonic()
        samples = [(sample_told(answer), item) for answer, item in given]
        if self._answers("probe", samples, until=began + PROBE_SECONDS) is None:
            return None
        return time.monotonic() - began

    def _asked(self, name: str, samples: list[tuple[dict[str, Any], Any]]) -> list[_Hands]:
        """By completion, what came of each source, and of each part that asks a model."""
        if not self.asks:
            return [_Hands({}) for _ in samples]
        answers = self._answers(name, samples)
        assert answers is not None  # it was waited for
        by_source, by_judge = answers[: len(self._sources)], answers[len(self._sources) :]
        return [
            _Hands(
                {source: Ran(*by_source[at][n]) for at, source in enumerate(self._sources)},
                [(judge, by_judge[at][n]) for at, judge in enumerate(self._judges)],
            )
            for n in range(len(samples))
        ]

    def _answers(
        self, name: str, samples: list[tuple[dict[str, Any], Any]], *, until: float | None = None
    ) -> list[Any] | None:
        """The keeper's, by source and then by part. None: not `until` then, of the clock."""
        told = self._folder / f"{name}{TOLD}"
        asked = [{"sample": sample, "item": item} for sample, item in samples]
        part = self._folder / f".{name}{ASKED}"
        part.write_text(json.dumps({"name": name, "samples": asked}), encoding="utf-8")
        os.replace(part, self._folder / f"{name}{ASKED}")
        while not told.exists():
            self._stop.check()
            if until is not None and time.monotonic() > until:
                return None
            time.sleep(LOOK_SECONDS)
        answers: list[Any] = json.loads(told.read_bytes())
        told.unlink()
        return answers


def _failed(kinds: Sequence[str], *, ours: bool) -> UserFault | OurFault:
    said = f"The grader gave no reward for any answer ({', '.join(kinds)})."
    if ours and "python_grader_server_error" in kinds:
        return OurFault("grader_unavailable", said)
    return UserFault(
        "grader_failed",
        said,
        param="method.reinforcement.grader",
        fix="Try the grader on an answer and its row: POST /v1/fine_tuning/alpha/graders/run.",
    )
