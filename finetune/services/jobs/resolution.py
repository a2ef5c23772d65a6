"""Turns what was asked into what will be done: every "auto" a number, with the reason beside it."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from finetune.events import Choice, NoThinkingChosen, ThinkingChosen
from finetune.grading import specs
from finetune.grading.judges import judges_in, require_few
from finetune.models import Dataset, Job, JobFile
from finetune.records.infilling import spm_rate_of
from finetune.records.nesting import FEWEST_STEPS
from finetune.records.thinking import Thinking, setting_of
from finetune.services.jobs import nesting
from finetune.services.jobs.nesting import Draw, Parts
from finetune.services.jobs.request import JobRequest, row_limit
from finetune.services.jobs.splitting import Parted, guessed
from finetune.services.jobs.weighing import Weighed
from finetune.trainer import auto
from finetune.trainer.objectives import METHODS
from finetune.trainer.objectives.reinforcement import ReinforcementSettings
from finetune.trainer.spec import CurveSpec, DataSpec, FurtherData, OptimSpec, RunSpec, StartSpec

OF_MEMORY = ("gradient_checkpointing", "micro_batch_tokens")
SAVE_EVERY = 50  # optimizer steps at most between two checkpoints


@dataclass(frozen=True)
class Resolved:
    """`hyperparameters` in OpenAI's terms, `choices` of those that were "auto"; `spec` is a
    RunSpec's fields, of which precision, device, threads, lanes and the memory's (unless asked for)
    are chosen where the training runs. `thinking`: whether the model is to be asked to think, "on"
    or "off", unless a caller says otherwise; None where the base knows none."""

    hyperparameters: dict[str, Any]
    choices: list[Choice]
    spec: dict[str, Any]
    trained_tokens: int
    total_steps: int | None  # None: not known before the rows are packed
    thinking: str | None = None
    split: Parted | None = None
    files: Sequence[Weighed] = ()
    parts: Parts | None = None  # of a learning curve, whose tokens are in `trained_tokens`

    def as_dict(self) -> dict[str, Any]:
        """As `Job.resolved` keeps it, and the wire and the portal show it."""
        return {
            "hyperparameters": self.hyperparameters,
            "reasons": {choice.setting: choice.reason for choice in self.choices},
            "spec": self.spec,
            "trained_tokens": self.trained_tokens,
            "total_steps": self.total_steps,
            **({"thinking": self.thinking} if self.thinking else {}),
            **({"split": self.split.as_dict()} if self.split else {}),
            **({"learning_curve": self._curve()} if self.parts else {}),
            **({"files": [each.as_dict() for each in self.files]} if self.files else {}),
        }

    def _curve(self) -> dict[str, Any]:
        assert self.parts is not None
        return self.parts.as_dict(epochs=int(self.spec["epochs"]))


def max_length(job: Job) -> int:
    """Tokens a row may have: as asked, else what the base was made for, up to a default."""
    return row_limit(JobRequest.model_validate(job.requested), job.base.context_length)


def thinking(job: Job) -> Thinking:
    """What decides for each row whether it is trained to think; older jobs were not asked."""
    return setting_of(job.requested.get("thinking", "auto"))


def resolve(
    job: Job,
    train: Dataset,
    valid: Dataset | None,
    parted: Parted | None = None,
    further: Sequence[JobFile] = (),
    draw: Draw | None = None,
) -> Resolved:
    """A pure function of the job, its files and the code: asked twice, it answers the same.
    `parted`: what a split made of the training file; it is guessed where one is only asked for.
    `further`: training files beside the first, read. `draw`: draws the parts of a learning curve;
    they are guessed where one is only asked for. Raises UserFault `curve_impossible`."""
    request = JobRequest.model_validate(job.requested)
    if parted is None and request.validation_split is not None:
        parted = guessed(job, train)
    files = _weighed(request, train, further)
    if files:
        packs = _packs_of(job, files) if request.packing else None
        rows = sum(each.taken for each in files)
        trained = sum(each.trained_per_epoch for each in files)
    else:
        packs = _packs(job, train, parted) if request.packing else None
        rows = parted.rows if parted else train.rows
        trained = parted.trained_tokens if parted else train.tokens_trained
    hyperparameters = request.hyperparameters.model_dump()
    if (rate := request.optimizer_spec().learning_rate) is not None:
        hyperparameters["learning_rate_multiplier"] = rate / auto.base_rate(job.base.parameters)
    values, choices = auto.resolve(
        rows=rows,
        tokens=trained,
        base_parameters=job.base.parameters,
        requested=auto.Requested(**hyperparameters),
        packs=packs,
        rate=METHODS[request.method].rate,
    )
    served, chosen = _served_thinking(request, (train.report or {}).get("thinking"))
    spec = _spec(job, request, values, train, valid, parted)
    if files:
        spec = spec.model_copy(update={"data": _data_of(spec.data, request.weight, further)})
    items = rows if packs is None else packs.count
    parts = None
    if request.learning_curve:
        draw = draw or nesting.guessed(rows, trained)
        parts = draw(math.ceil(FEWEST_STEPS * values.batch_size * rows / max(1, items)))
        nesting.require_parts(parts)
        spec = spec.model_copy(update={"curve": CurveSpec(sha256=parts.sha256)})
        trained += parts.trained_tokens
    steps = math.ceil(items / values.batch_size) * values.n_epochs
    if request.draws:
        _require_few_judgements(spec, rows, valid.rows if valid else 0)
        steps *= int(spec.settings["num_iterations"])
        trained = _most_drawn(spec, rows)
    else:
        trained *= values.n_epochs
    written = spec.model_dump(mode="json")
    for name in OF_MEMORY:  # chosen with the machine, where it was left to us
        if getattr(request, name) == "auto":
            del written[name]
    shown = asdict(values)
    del shown["learning_rate"]
    return Resolved(
        hyperparameters=shown,
        choices=choices + chosen,
        spec=written,
        trained_tokens=trained,
        total_steps=steps if packs is None or packs.counted else None,
        thinking=served,
        split=parted,
        files=files,
        parts=parts,
    )


def _require_few_judgements(spec: RunSpec, rows: int, held_out: int) -> None:
    """Before anything is drawn, and not when the first step has been. Raises UserFault."""
    settings = ReinforcementSettings.model_validate(spec.settings)
    parts = len(judges_in(specs.GRADER.validate_python(spec.grader)))
    step = min(spec.batch_size, rows) * settings.num_generations
    require_few(parts, max(step, held_out * settings.num_generations_eval))


def _most_drawn(spec: RunSpec, rows: int) -> int:
    """Tokens of answers, if all are as long as they may be; each time they are learned from."""
    settings = ReinforcementSettings.model_validate(spec.settings)
    answers = rows * spec.epochs * settings.num_generations * settings.num_iterations
    return answers * settings.max_completion_tokens


def _settings(job: Job, request: JobRequest) -> dict[str, Any]:
    settings = request.method_settings()
    if settings.get("fim_rate") and "fim_spm_rate" not in request.settings:
        settings["fim_spm_rate"] = spm_rate_of(job.base.infilling)
    return settings


def _packs(job: Job, train: Dataset, parted: Parted | None) -> auto.Packs:
    """As the reading or the split counted them; older readings did not, and tell the tokens
    alone."""
    report = train.report or {}
    tokens = parted.tokens if parted else int(report["tokens_total"])
    if (count := parted.packs if parted else report.get("packs")) is not None:
        return auto.Packs(count, tokens)
    return auto.Packs(math.ceil(tokens / max_length(job)), tokens, counted=False)


def _weighed(request: JobRequest, train: Dataset, further: Sequence[JobFile]) -> list[Weighed]:
    """[]: one file, each of whose rows an epoch takes once."""
    if not further and request.weight == 1:
        return []
    others = [Weighed.of(each.data, each.weight) for each in further if each.data is not None]
    return [Weighed.of(train, request.weight), *others]


def _packs_of(job: Job, files: Sequence[Weighed]) -> auto.Packs:
    """No pack has rows of two files."""
    counted = all(each.packs is not None for each in files)
    count = sum(each.packs_taken(max_length(job)) for each in files)
    return auto.Packs(count, sum(each.tokens_per_epoch for each in files), counted=counted)


def _data_of(data: DataSpec, weight: float, further: Sequence[JobFile]) -> DataSpec:
    found = [
        FurtherData(
            train=f"data/train-{each.position}.jsonl",
            train_sha256=each.data.rows_sha256,
            train_tokens_sha256=each.data.tokens_sha256 or None,
            weight=each.weight,
        )
        for each in further
        if each.data is not None
    ]
    return data.model_copy(update={"weight": weight, "further": tuple(found)})


def _served_thinking(
    request: JobRequest, counts: dict[str, int] | None
) -> tuple[str | None, list[Choice]]:
    """(on or off, why if it was "auto") from the answers that were read: the model is asked as it
    was trained, and to think where it was trained in both ways."""
    if not counts:
        return None, []
    if request.thinking != "auto":
        return request.thinking, []
    answers = counts["on"] + counts["off"]
    if counts["on"]:
        return "on", [ThinkingChosen(thought=counts["on"], answers=answers)]
    return "off", [NoThinkingChosen(answers=answers)]


def _spec(
    job: Job,
    request: JobRequest,
    values: auto.Resolved,
    train: Dataset,
    valid: Dataset | None,
    parted: Parted | None,
) -> RunSpec:
    evaluation = request.evaluation_spec()
    return RunSpec(
        family=METHODS[request.method].family,
        objective=METHODS[request.method].name,
        base_digest=job.base.digest,
        base_name=job.base.name,
        data=DataSpec(
            train_sha256=train.rows_sha256,
            valid="data/valid.jsonl" if valid else None,
            valid_sha256=valid.rows_sha256 if valid else None,
            train_tokens_sha256=train.tokens_sha256 or None,
            valid_tokens_sha256=(valid.tokens_sha256 or None) if valid else None,
            held_out="data/held_out.json" if parted else None,
            held_out_sha256=parted.sha256 if parted else None,
        ),
        adapter=request.adapter_spec(),
        optim=_optim(request, values),
        epochs=values.n_epochs,
        batch_size=values.batch_size,
        max_length=max_length(job),
        thinking=thinking(job),
        **{name: asked for name in OF_MEMORY if (asked := getattr(request, name)) != "auto"},
        packing=request.packing,
        seed=job.seed,
        neftune_noise_alpha=request.neftune_noise_alpha,
        # A loss against a group's mean has no ordinary height that a blow-up could be told by
        stability="off" if request.stability == "off" or request.draws else "watched",
        eval_every=evaluation.every_steps,
        save_every=SAVE_EVERY,
        early_stop_patience=evaluation.early_stop_patience,
        keep=evaluation.keep,
        settings=_settings(job, request),
        start=_start(job),
        grader=request.grader_spec(),
    )


def _start(job: Job) -> StartSpec | None:
    if job.start is None:
        return None
    digests = {name: job.start[name] for name in StartSpec.model_fields}
    return StartSpec.model_validate(digests)


def _optim(request: JobRequest, values: auto.Resolved) -> OptimSpec:
    """A rate that was asked for is that very number, not what a multiplier makes of it."""
    asked = request.optimizer_spec().model_dump(exclude_none=True)
    return OptimSpec.model_validate({"learning_rate": values.learning_rate} | asked)
