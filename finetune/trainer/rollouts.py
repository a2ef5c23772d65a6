"""What a step by reinforcement learns from: completions of its prompts, drawn with the weights as
they are, rewarded, and set against each other.

They stand in RUN_DIR/rollouts, a file a step, so that a run that is cut off does not draw them
again; a checkpoint between two steps that learn from the same completions carries them.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor

from finetune.families.contract import Writes
from finetune.grading.grade import Errors, Graded
from finetune.records.answers import followed
from finetune.records.kinds import Item
from finetune.trainer.data import cut, lengths_of, line_of
from finetune.trainer.generating import Answer, Asked, Generator
from finetune.trainer.lifeline import Stop
from finetune.trainer.objectives.policy import (
    deviation,
    group_advantages,
    left_out_advantages,
)
from finetune.trainer.objectives.reinforcement import (
    Completion,
    Drawn,
    ReinforcementSettings,
)
from finetune.trainer.reading import open_lines
from finetune.trainer.rewards import EVALUATION, Rewards, Waited
from finetune.trainer.run import Numbered, Run
from finetune.trainer.spec import ROLLOUTS, RunSpec

KEPT = 256  # files of steps


class Sample(BaseModel):
    """A completion of the prompt of a row (from 0), what it was worth, and what the step needs
    besides. `line`: the row as people count it; 0 in what an older version drew. `scores`: of the
    parts of a grader that has several."""

    row: int
    line: int = 0
    ids: list[int]
    text: str
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] = []
    truncated: bool = False
    reward: float
    scores: dict[str, float] = {}
    errors: dict[str, str] = {}
    advantage: float = 0.0
    deviation: float = 0.0
    divergence: float = 0.0
    old: list[float] | None = None
    reference: list[float] | None = None

    @classmethod
    def of(cls, row: int, line: int, answer: Answer, graded: Graded) -> "Sample":
        return cls(
            row=row,
            line=line,
            ids=answer.ids,
            text=answer.text,
            reasoning=answer.reasoning,
            tool_calls=answer.tool_calls,
            truncated=answer.truncated,
            reward=graded.reward,
            scores=graded.scores,
            errors=graded.errors.details,
        )

    @property
    def completion(self) -> Completion:
        return Completion(
            tokens=len(self.ids),
            advantage=self.advantage,
            reward=self.reward,
            deviation=self.deviation,
            truncated=self.truncated,
            failed=bool(self.errors),
            divergence=self.divergence,
            old=self.old,
            reference=self.reference,
        )


class Rollouts:
    """`train` and `valid`: the canonical rows, in the order of the run's items."""

    def __init__(
        self,
        spec: RunSpec,
        model: Writes,
        run_dir: Path,
        stop: Stop,
        *,
        rewards: Rewards | None,
    ) -> None:
        """`rewards` None: every completion is worth the same, where only time is measured."""
        self.settings = ReinforcementSettings.model_validate(spec.settings)
        self._spec, self._rewards = spec, rewards
        self._folder = run_dir / ROLLOUTS
        self._folder.mkdir(exist_ok=True)
        self._generator = Generator(model, run_dir / spec.base, spec.device, stop)
        self._train, self._valid = open_lines(spec, run_dir)
        self._step: int | None = None  # the first that learns from what was drawn last
        self._samples: list[Sample] = []
        self._drawn: dict[int, list[Drawn]] = {}
        self._measured: tuple[int, list[float]] | None = None  # (steps done, by validation row)

    def prepare(self, run: Run, numbers: Sequence[int]) -> None:
        """Of the next step. Yielded may come; nothing of the run has changed then."""
        first = run.state.step - run.state.step % self.settings.num_iterations
        if self._step == first:
            return
        path = self._folder / f"{first}.jsonl"
        if path.exists():
            samples = _read(path.read_bytes())
        else:
            samples = self._made(run, numbers)
            _write(path, samples)
            self._forget()
        self._hold(run, first, samples)

    def items(self, numbers: Sequence[int]) -> list[Drawn]:
        """The completions of these rows' prompts, in parts that stand in memory at once."""
        return [part for number in numbers for part in self._drawn[number]]

    @property
    def scores(self) -> dict[str, float]:
        """By the part of a grader that has several: the mean over the completions."""
        return _scores("train", self._samples)

    def kept(self, step: int) -> dict[str, Tensor]:
        """What a checkpoint after `step` steps must hold: nothing, unless the next one learns from
        completions of weights that are gone."""
        if step % self.settings.num_iterations == 0 or self._step is None:
            return {}
        written = _written(self._samples)
        return {str(self._step): torch.frombuffer(bytearray(written), dtype=torch.uint8)}

    def restore(self, run: Run, kept: Mapping[str, Tensor]) -> None:
        for step, written in kept.items():
            self._hold(run, int(step), _read(written.numpy().tobytes()))

    def evaluate(self, run: Run) -> dict[str, float]:
        """Of the validation rows: the mean reward, and as the loss that training lowers the same
        with its sign turned. Each evaluation draws from the same numbers."""
        count = self.settings.num_generations_eval
        samples = self._answered(run.valid, self._valid, range(len(self._valid)), EVALUATION, count)
        self._measured = run.state.step, _summed(samples, count)
        rewards = torch.tensor([each.reward for each in samples], dtype=torch.float64)
        reward = float(rewards.mean())
        return {
            "valid_loss": -reward,
            "valid_reward": reward,
            "valid_reward_std": float(deviation(rewards)),
            "valid_completion_length": _mean([len(each.ids) for each in samples]),
            "valid_truncated": _mean([each.truncated for each in samples]),
            "valid_grader_errors": _mean([bool(each.errors) for each in samples]),
            **_scores("valid", samples),
        }

    def valid_rewards(self, run: Run, step: int) -> list[float]:
        """Of each validation row, summed over its answers. `step`: whose weights the model has;
        they are drawn again only where the last evaluation was another's."""
        if self._measured is None or self._measured[0] != step:
            self.evaluate(run)
            assert self._measured is not None
        return self._measured[1]

    @property
    def waited(self) -> tuple[Waited, Waited] | None:
        """(of steps, of evaluations): what graders beside the training took; None: there are
        none."""
        rewards = self._rewards
        if rewards is None or not rewards.asks:
            return None
        return rewards.of_steps, rewards.of_evaluations

    def drawn(self, most: int) -> list[tuple[Answer, Any]]:
        """Of the answers that were drawn last, with their rows' items: to be graded."""
        return [
            (
                Answer(text=each.text, tool_calls=each.tool_calls),
                _item(self._train[each.row]),
            )
            for each in self._samples[:most]
        ]

    def _made(self, run: Run, numbers: Sequence[int]) -> list[Sample]:
        settings, occasion = self.settings, f"{run.state.step}"
        numbers = list(dict.fromkeys(numbers))  # a step may take a row of a weighty file twice
        samples = self._answered(run.rows, self._train, numbers, occasion, settings.num_generations)
        if settings.asks_policy:
            for sample, found in zip(samples, self._asked(run, samples, plain=False), strict=True):
                sample.old = found
        if settings.beta > 0:
            for sample, found in zip(samples, self._asked(run, samples, plain=True), strict=True):
                sample.reference = found
        self._compare(samples)
        return samples

    def _answered(
        self,
        items: Sequence[Item],
        rows: Sequence[dict[str, Any]],
        numbers: Sequence[int],
        occasion: str,
        count: int,
    ) -> list[Sample]:
        asked = [
            Asked(
                rows[n],
                list(_prompt(items[n]).input_ids),
                _seed(self._spec.seed, occasion, n),
                count,
            )
            for n in numbers
        ]
        answers = self._generator.answers(
            asked,
            temperature=self.settings.temperature,
            top_p=self.settings.top_p,
            max_tokens=self.settings.max_completion_tokens,
        )
        given = [
            (number, answer)
            for number, each in zip(numbers, answers, strict=True)
            for answer in each
        ]
        graded = self._graded(occasion, [(answer, _item(rows[n])) for n, answer in given])
        return [
            Sample.of(number, line_of(items, number), answer, each)
            for (number, answer), each in zip(given, graded, strict=True)
        ]

    def _graded(self, occasion: str, given: Sequence[tuple[Answer, Any]]) -> list[Graded]:
        if self._rewards is None:
            return [Graded(0.0, 0.0, Errors(), {}, {}) for _ in given]
        return self._rewards.of(occasion, given)

    def _compare(self, samples: Sequence[Sample]) -> None:
        settings = self.settings
        rewards = torch.tensor([each.reward for each in samples], dtype=torch.float64)
        groups = rewards.view(-1, settings.num_generations)
        spread = deviation(groups).repeat_interleave(settings.num_generations).tolist()
        if settings.algorithm == "rloo":
            if settings.beta > 0:
                for sample in samples:
                    sample.divergence = _strayed(sample)
            costs = rewards.new_tensor([each.divergence for each in samples]).view(groups.shape)
            found = left_out_advantages(groups - settings.beta * costs)
        else:
            found = group_advantages(groups, settings.scale_rewards)
        for sample, value, each in zip(samples, found.flatten().tolist(), spread, strict=True):
            sample.advantage, sample.deviation = value, each

    def _hold(self, run: Run, step: int, samples: list[Sample]) -> None:
        self._step, self._samples = step, samples
        by_row: dict[int, list[Sample]] = {}
        for sample in samples:
            by_row.setdefault(sample.row, []).append(sample)
        self._drawn = {
            number: list(self._parts(_prompt(run.rows[number]), each))
            for number, each in by_row.items()
        }

    def _parts(self, prompt: Any, samples: Sequence[Sample]) -> list[Drawn]:
        """A group's completions, as many together as a micro-batch holds."""
        spoken = [followed(prompt, each.ids) for each in samples]
        parts = cut([len(each) for each in spoken], self._spec.in_memory.micro_batch_tokens)
        return [
            Drawn(
                tuple(spoken[number] for number in part),
                tuple(samples[number].completion for number in part),
            )
            for part in parts
        ]

    def _asked(self, run: Run, samples: Sequence[Sample], *, plain: bool) -> list[list[float]]:
        """Of each completion its tokens' log-probabilities, by the policy or by the base."""
        run.model.train(False)
        spoken = [followed(_prompt(run.rows[each.row]), each.ids) for each in samples]
        found: list[list[float]] = [[]] * len(spoken)
        ask = partial(_share, run, self.settings.temperature, plain)
        for part in cut(lengths_of(spoken), self._spec.in_memory.micro_batch_tokens):
            run.stop.check()
            for share in run.lanes.map(ask, [Numbered(spoken[n], n) for n in part]):
                for number, values in share:
                    found[number] = values
        return found

    def _forget(self) -> None:
        steps = sorted(int(path.stem) for path in self._folder.glob("*.jsonl"))
        for step in steps[:-KEPT]:
            (self._folder / f"{step}.jsonl").unlink()


@torch.no_grad()
def _share(
    run: Run, temperature: float, plain: bool, rows: Sequence[Numbered]
) -> list[tuple[int, list[float]]]:
    batch = run.lay_out([numbered.row for numbered in rows])
    with run.model.as_begun() if plain else nullcontext():
        found = run.writer.token_log_probs(batch, temperature)
    parts = found.split([numbered.trained for numbered in rows])
    return [(row.number, part.tolist()) for row, part in zip(rows, parts, strict=True)]


def _strayed(sample: Sample) -> float:
    assert sample.old is not None
    assert sample.reference is not None
    return sum(old - base for old, base in zip(sample.old, sample.reference, strict=True))


def _prompt(item: Item) -> Any:
    """Its one sequence, as the family makes them."""
    (sequence,) = item.sequences
    return sequence


def _ids(item: Item) -> list[int]:
    return list(_prompt(item).input_ids)


def _item(row: Mapping[str, Any]) -> dict[str, Any]:
    """What graders are told: the fields beside the prompt, and the prompt."""
    tools = {"tools": row["tools"]} if row.get("tools") else {}
    return {"messages": row["messages"], **tools, **row["item"]}


def _seed(seed: int, occasion: str, row: int) -> int:
    digest = sha256(f"privatune {seed} {occasion} {row}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _summed(samples: Sequence[Sample], count: int) -> list[float]:
    """By row: each has `count` samples in a row."""
    rewards = [each.reward for each in samples]
    return [sum(rewards[at : at + count]) for at in range(0, len(rewards), count)]


def _scores(part: str, samples: Sequence[Sample]) -> dict[str, float]:
    names = list(dict.fromkeys(name for each in samples for name in each.scores))
    return {
        f"{part}_grader_{name}": _mean([each.scores[name] for each in samples]) for name in names
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _written(samples: Sequence[Sample]) -> bytes:
    return b"".join(each.model_dump_json().encode() + b"\n" for each in samples)


def _write(path: Path, samples: Sequence[Sample]) -> None:
    part = path.with_suffix(".part")
    part.write_bytes(_written(samples))
    os.replace(part, path)


def _read(written: bytes) -> list[Sample]:
    return [Sample.model_validate(json.loads(line)) for line in written.splitlines()]
