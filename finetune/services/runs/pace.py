"""What a job is expected to take, from what was measured of its kind: written by rehearsals and by
every job that ends, read before the next one starts. No row names a tenant."""

from dataclasses import dataclass
from typing import Any

from finetune.models import Job, Machine, Pace
from finetune.sandbox.room import tree_memory_mb
from finetune.services.jobs.needs import need_mb
from finetune.services.jobs.splitting import is_validated
from finetune.services.runs import shape
from finetune.trainer.objectives import METHODS
from finetune.trainer.objectives.reinforcement import ReinforcementSettings
from finetune.work.place import place_of

OUTTURNS_KEPT = 50
FORWARD = 1 / 3  # of a training step's time, where no evaluation was measured
NEWEST = 0.5  # weight of a new measurement beside those before


@dataclass(frozen=True)
class Measured:
    """Seconds; a part that could not be told is None and leaves what is known as it is."""

    token_seconds: float
    peak_memory_mb: int
    valid_token_seconds: float | None = None
    save_seconds: float | None = None
    start_seconds: float | None = None
    publish_seconds: float | None = None
    answer_seconds: float | None = None


def note_machine(machine: dict[str, Any], *, gpu_free: int | None) -> None:
    """The most that a training may have here: of a GPU, as much as was ever seen free."""
    memory = tree_memory_mb() if gpu_free is None else gpu_free >> 20
    bf16 = machine["precision"] == "bf16"
    values = {"device": machine["device"], "memory_mb": memory, "bf16": bf16}
    row, made = Machine.objects.get_or_create(place=place_of(machine), defaults=values)
    if not made:
        row.memory_mb = memory if gpu_free is None else max(memory, row.memory_mb)
        row.bf16 = bf16
        row.save()


def known(job: Job, *, place: str | None = None) -> Pace | None:
    """What was measured of the job's kind, last or at `place`."""
    found = Pace.objects.filter(base=job.base, shape=shape.digest_of(shape.settings_of(job)))
    if place is not None:
        found = found.filter(place=place)
    return found.order_by("-measured_at").first()


def expected(job: Job, machine: dict[str, Any]) -> dict[str, Any]:
    """Of a job that begins on this machine: the receipt's first half."""
    return figures(job, known(job, place=place_of(machine)), machine)


def figures(job: Job, pace: Pace | None, machine: dict[str, Any] | None) -> dict[str, Any]:
    """Tokens and steps are counted, seconds and memory told by `pace`; without it the memory is the
    formula's for `machine`. What is not known is None."""
    resolved = job.resolved or {}
    told: dict[str, Any] = {
        "trained_tokens": resolved["trained_tokens"],
        "steps": resolved["total_steps"],
        "training_seconds": None,
        "grading_seconds": None,
        "seconds": None,
        "peak_memory_mb": need_mb(job, machine) if machine is not None else None,
        "measured": pace is not None,
    }
    if pace is None:
        return told
    train, valid = shape.tokens_of(job)
    of_steps, of_evaluations = grading_seconds(job, pace)
    training = resolved["spec"]["epochs"] * train * pace.token_seconds + of_steps
    forward = _forward(pace)
    evaluating = evaluations(job) * valid * forward
    if "reference" in METHODS[job.method].needs:  # the base is asked of all rows once
        evaluating += (train + valid) * forward
    publishing = pace.publish_seconds if pace.publish_seconds is not None else pace.start_seconds
    whole = pace.start_seconds + training + evaluating + saves(job) * pace.save_seconds + publishing
    whole += curve_seconds(job, pace) + of_evaluations
    scale = need_mb(job, pace.machine) / max(1, pace.formula_mb)
    return told | {
        "training_seconds": round(training, 2),
        "grading_seconds": round(of_steps + of_evaluations, 2) if is_graded_beside(job) else None,
        "seconds": round(whole, 2),
        "peak_memory_mb": round(pace.peak_memory_mb * scale),
    }


def is_graded_beside(job: Job) -> bool:
    """Whether models that judge, or Python, are asked what its answers are worth."""
    return "graders" in shape.settings_of(job)


def graded_answers(job: Job) -> tuple[int, int]:
    """(of its steps, of its evaluations): how many answers graders beside the training grade."""
    if not is_graded_beside(job):
        return 0, 0
    resolved = job.resolved or {}
    settings = ReinforcementSettings.model_validate(resolved["spec"]["settings"])
    an_answer = settings.num_iterations * settings.max_completion_tokens
    held_out = split["held_out"] if (split := resolved.get("split")) else None
    if held_out is None:
        held_out = job.validation_data.rows if job.validation_data is not None else 0
    evaluated = evaluations(job) * held_out * settings.num_generations_eval
    return resolved["trained_tokens"] // an_answer, evaluated  # tokens: if all are the longest


def grading_seconds(job: Job, pace: Pace) -> tuple[float, float]:
    """(of steps, of evaluations). Where it was not measured, as a judge is still to be made, it is
    assumed that each part that asks a model looks at a row with the longest answer once, as an
    evaluation of this base does."""
    if not is_graded_beside(job):
        return 0.0, 0.0
    of_steps, of_evaluations = graded_answers(job)
    seconds = pace.answer_seconds
    if seconds is None:
        settings = shape.settings_of(job)
        asking = [kind for kind, *base in settings["graders"] if base]
        longest = (job.resolved or {})["spec"]["settings"]["max_completion_tokens"]
        seconds = len(asking) * (settings["row_tokens"] + longest) * _forward(pace)
    return of_steps * seconds, of_evaluations * seconds


def curve_seconds(job: Job, pace: Pace) -> float:
    """Of the smaller trainings of a learning curve, which are evaluated and saved at the end of
    each epoch, too."""
    resolved = job.resolved or {}
    found = resolved.get("learning_curve")
    if found is None:
        return 0.0
    epochs, parts = resolved["spec"]["epochs"], len(found["rows"])
    train, valid = shape.tokens_of(job)
    own = resolved["trained_tokens"] - found["trained_tokens"]
    share = found["trained_tokens"] / max(1, own)
    forward = _forward(pace)
    evaluated = parts * epochs + share * max(0, evaluations(job) - 1 - epochs)
    saved = parts * epochs + share * max(0, saves(job) - epochs)
    training = share * epochs * train * pace.token_seconds
    return float(training + evaluated * valid * forward + saved * pace.save_seconds)


def _forward(pace: Pace) -> float:
    """Seconds of a token that is only looked at."""
    measured = pace.valid_token_seconds
    return FORWARD * pace.token_seconds if measured is None else measured


def evaluations(job: Job) -> int:
    """Of the validation rows, the base's before the first step among them."""
    if not is_validated(job):
        return 0
    spec = (job.resolved or {})["spec"]
    return 1 + _due(job, spec["eval_every"])


def saves(job: Job) -> int:
    return _due(job, (job.resolved or {})["spec"]["save_every"])


def _due(job: Job, every: int | None) -> int:
    """How many steps end an epoch, or are `every` ones (trainer/loop.py)."""
    resolved = job.resolved or {}
    epochs, total = resolved["spec"]["epochs"], resolved["total_steps"] or 0
    if every is None or not total:
        return int(epochs)
    an_epoch = max(1, total // epochs)
    both = sum(1 for step in range(an_epoch, total + 1, an_epoch) if step % every == 0)
    return int(epochs + total // every - both)


def learn(job: Job, machine: dict[str, Any], measured: Measured) -> Pace:
    """Takes a measurement in; inside a transaction."""
    settings = shape.settings_of(job)
    key = {"base": job.base, "place": place_of(machine), "shape": shape.digest_of(settings)}
    found = Pace.objects.select_for_update().filter(**key).first()
    row = found or Pace(**key, settings=settings, token_seconds=measured.token_seconds)
    for name in (
        "token_seconds", "valid_token_seconds", "save_seconds", "start_seconds", "publish_seconds",
        "answer_seconds",
    ):  # fmt: skip
        new, old = getattr(measured, name), getattr(found, name) if found else None
        if new is not None:
            setattr(row, name, new if old is None else NEWEST * new + (1 - NEWEST) * old)
    row.machine, row.formula_mb = machine, need_mb(job, machine)
    row.peak_memory_mb = measured.peak_memory_mb
    row.save()
    return row
