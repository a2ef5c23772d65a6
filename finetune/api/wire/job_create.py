"""The body of `POST /v1/fine_tuning/jobs`, and what it asks of the job service."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from faults import UserFault
from finetune import selectors
from finetune.records.check.spec import Overflow
from finetune.records.thinking import Asked
from finetune.services.jobs.lifecycle import Hyperparameters, JobRequest
from finetune.services.jobs.request import AskedStability, WeightedFile, named_twice
from finetune.trainer.objectives import METHODS
from finetune.trainer.objectives.reinforcement import ReinforcementSettings
from tenants.models import StoredFile

GENERATIONS = int(ReinforcementSettings().num_generations)  # answers of a prompt, at multiplier 1
MOST_COMPUTE = 8
MOST_SAMPLES = 64


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


def _whole_or_auto(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise ValueError('must be a whole number or "auto"')


def _number_or_auto(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise ValueError('must be a number or "auto"')


def _switch_or_auto(value: Any) -> Any:
    if value == "auto" or isinstance(value, bool):
        return value
    raise ValueError('must be true, false or "auto"')


def _dimensions(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(type(each) is int for each in value):
        return ", ".join(map(str, value))
    raise ValueError('must be a list of whole numbers or "auto"')


Dimensions = Annotated[Any, AfterValidator(_dimensions)]
Whole = Annotated[Any, AfterValidator(_whole_or_auto)]
Number = Annotated[Any, AfterValidator(_number_or_auto)]
Switch = Annotated[Any, AfterValidator(_switch_or_auto)]


class WireHyperparameters(_Strict):
    n_epochs: Whole = "auto"
    batch_size: Whole = "auto"
    learning_rate_multiplier: Number = "auto"


class Supervised(_Strict):
    hyperparameters: WireHyperparameters = WireHyperparameters()


class PretrainHyperparameters(WireHyperparameters):
    fim_rate: Number = "auto"
    fim_spm_rate: Number = "auto"
    fim_cut: str = "auto"


class Pretrain(_Strict):
    """Ours."""

    hyperparameters: PretrainHyperparameters = PretrainHyperparameters()


class DpoHyperparameters(WireHyperparameters):
    """`loss_type` and `label_smoothing` are ours."""

    beta: Number = "auto"
    loss_type: str = "auto"
    label_smoothing: Number = "auto"


class Dpo(_Strict):
    hyperparameters: DpoHyperparameters = DpoHyperparameters()


class OrpoHyperparameters(WireHyperparameters):
    beta: Number = "auto"


class Orpo(_Strict):
    """Ours, as all that follow."""

    hyperparameters: OrpoHyperparameters = OrpoHyperparameters()


class SimpoHyperparameters(WireHyperparameters):
    beta: Number = "auto"
    gamma: Number = "auto"


class Simpo(_Strict):
    hyperparameters: SimpoHyperparameters = SimpoHyperparameters()


class KtoHyperparameters(WireHyperparameters):
    beta: Number = "auto"
    desirable_weight: Number = "auto"
    undesirable_weight: Number = "auto"


class Kto(_Strict):
    hyperparameters: KtoHyperparameters = KtoHyperparameters()


class ReinforcementHyperparameters(WireHyperparameters):
    """OpenAI's, then ours, named as TRL names them."""

    compute_multiplier: Number = "auto"
    eval_interval: Whole = "auto"
    eval_samples: Whole = "auto"
    reasoning_effort: str | None = None

    algorithm: str = "auto"
    num_generations: Whole = "auto"
    temperature: Number = "auto"
    top_p: Number = "auto"
    max_completion_tokens: Whole = "auto"
    beta: Number = "auto"
    num_iterations: Whole = "auto"
    epsilon: Number = "auto"
    epsilon_high: Number = "auto"
    loss_type: str = "auto"
    scale_rewards: str = "auto"


class Reinforcement(_Strict):
    grader: dict[str, Any] | None = None
    response_format: Any = None
    hyperparameters: ReinforcementHyperparameters = ReinforcementHyperparameters()


class RewardHyperparameters(WireHyperparameters):
    """Named as TRL names them."""

    margin: Number = "auto"
    center_rewards_coefficient: Number = "auto"


class Reward(_Strict):
    hyperparameters: RewardHyperparameters = RewardHyperparameters()


class VectorHyperparameters(WireHyperparameters):
    """`dimensions`: a list of numbers, or them in a string with commas between."""

    scale: Number = "auto"
    dimensions: Dimensions = "auto"


class Vectors(_Strict):
    hyperparameters: VectorHyperparameters = VectorHyperparameters()


class RerankHyperparameters(WireHyperparameters):
    """`pos_weight` is named as torch names it."""

    pos_weight: Number = "auto"
    loss_type: str = "auto"


class Rerank(_Strict):
    hyperparameters: RerankHyperparameters = RerankHyperparameters()


class Method(_Strict):
    type: str
    supervised: Supervised | None = None
    pretrain: Pretrain | None = None
    dpo: Dpo | None = None
    orpo: Orpo | None = None
    simpo: Simpo | None = None
    kto: Kto | None = None
    reinforcement: Reinforcement | None = None
    reward: Reward | None = None
    contrastive: Vectors | None = None
    cosent: Vectors | None = None
    rerank: Rerank | None = None


class TrainingFile(_Strict):
    file: str
    weight: float = 1.0


class JobCreate(_Strict):
    """OpenAI's fields, then ours, which ride on `extra_body`."""

    model: str
    training_file: str
    validation_file: str | None = None
    validation_split: float | None = None
    training_files: list[TrainingFile] | None = Field(default=None, min_length=1)
    method: Method | None = None
    hyperparameters: WireHyperparameters | None = None
    suffix: str | None = None
    seed: int | None = None
    metadata: dict[str, str] | None = None
    integrations: list[Any] | None = None

    keep_optimizer: bool = False
    adapter: dict[str, Any] | None = None
    max_length: int | None = None
    packing: bool = False
    overflow: Overflow | None = None
    thinking: Asked = "auto"
    gradient_checkpointing: Switch = "auto"
    micro_batch_tokens: Whole = "auto"
    stability: AskedStability = "auto"
    optimizer: dict[str, Any] | None = None
    neftune_noise_alpha: float = 0.0
    evaluation: dict[str, Any] | None = Field(default=None)
    learning_curve: bool = False
    auto_start: bool = True

    def request(self) -> JobRequest:
        """Raises UserFault for what is not offered, NotFound for a file that is not there."""
        self._check_offered()
        weight, further = self._files()
        chosen, evaluation = self.chosen().model_dump(), self.evaluation
        if self.kind == "reinforcement":
            evaluation = drawn(chosen, evaluation)
        common = {name: chosen.pop(name) for name in Hyperparameters.model_fields}
        return JobRequest(
            model=self.model,
            keep_optimizer=self.keep_optimizer,
            training_file=_file(self.training_file, "training_file").id,
            validation_file=(
                _file(self.validation_file, "validation_file").id if self.validation_file else None
            ),
            validation_split=self.validation_split,
            weight=weight,
            further_files=further,
            method=self.kind,
            hyperparameters=Hyperparameters(**common),
            settings={name: value for name, value in chosen.items() if value != "auto"},
            grader=self.method.reinforcement.grader
            if self.method and self.method.reinforcement
            else None,
            adapter=self.adapter,
            max_length=self.max_length,
            packing=self.packing,
            overflow=self.overflow or METHODS[self.kind].overflow,
            thinking=self.thinking,
            gradient_checkpointing=self.gradient_checkpointing,
            micro_batch_tokens=self.micro_batch_tokens,
            stability=self.stability,
            optimizer=self.optimizer,
            neftune_noise_alpha=self.neftune_noise_alpha,
            evaluation=evaluation,
            learning_curve=self.learning_curve,
            auto_start=self.auto_start,
            suffix=self.suffix,
            seed=self.seed,
            metadata=self.metadata or {},
        )

    def _files(self) -> tuple[float, tuple[WeightedFile, ...]]:
        """(weight of the training file, the others)"""
        listed = self.training_files or []
        first = [each.weight for each in listed if each.file == self.training_file]
        if len(first) > 1:
            raise named_twice()
        others = tuple(
            WeightedFile(file=_file(each.file, "training_files").id, weight=each.weight)
            for each in listed
            if each.file != self.training_file
        )
        return (first[0] if first else 1.0), others

    @property
    def kind(self) -> str:
        """The method's type."""
        return self.method.type if self.method else "supervised"

    def chosen(self) -> WireHyperparameters:
        own: Supervised | Dpo | Orpo | Simpo | Kto | Reinforcement | Reward | Vectors | None = (
            getattr(self.method, self.kind, None)
        )
        return (own.hyperparameters if own else self.hyperparameters) or WireHyperparameters()

    @contextmanager
    def named(self) -> Iterator[None]:
        """A fault of the request that is raised inside names the field as it was sent."""
        try:
            yield
        except UserFault as fault:
            fault.param = self.field_of(fault.param)
            raise

    def field_of(self, param: str | None) -> str | None:
        """Where the request had the field that the service calls `hyperparameters.…`."""
        if param == "grader":
            return f"method.{self.kind}.grader"
        if param and param.startswith("hyperparameters.") and self.hyperparameters is None:
            return f"method.{self.kind}.{param}"
        return param

    def _check_offered(self) -> None:
        if self.method is not None and self.method.type not in METHODS:
            raise UserFault(
                "unsupported_method",
                f"The method {self.method.type[:32]!r} is not offered.",
                fix="Use " + " or ".join(f'`{{"type": "{name}"}}`' for name in METHODS) + ".",
                param="method.type",
            )
        given = self.method.model_fields_set - {"type"} if self.method else set()
        if others := sorted(name for name in given - {self.kind} if getattr(self.method, name)):
            raise UserFault(
                "unsupported_parameter",
                f"Only `method.{self.kind}` goes with the type `{self.kind}`.",
                param=f"method.{others[0]}",
            )
        if getattr(self.method, self.kind, None) and self.hyperparameters:
            raise UserFault(
                "invalid_value",
                "`hyperparameters` is deprecated and cannot come together with `method`.",
                fix=f"Give them in `method.{self.kind}.hyperparameters` alone.",
                param="hyperparameters",
            )
        if self.method and self.method.reinforcement:
            _check_reinforcement(self.method.reinforcement)
        if self.integrations:
            raise UserFault(
                "unsupported_parameter",
                "Integrations are not offered: no data leaves for third parties.",
                fix="Read the metrics from the job's events or from its result file.",
                param="integrations",
            )


def drawn(chosen: dict[str, Any], evaluation: dict[str, Any] | None) -> dict[str, Any] | None:
    """Puts OpenAI's words for how much is drawn in ours, in `chosen`; the evaluation with what is
    said of it there."""
    chosen.pop("reasoning_effort", None)
    more = chosen.pop("compute_multiplier", "auto")
    if more != "auto":
        if chosen["num_generations"] != "auto":
            raise UserFault(
                "invalid_value",
                "compute_multiplier and num_generations say the same thing twice.",
                fix="Give one of them.",
                param="hyperparameters.compute_multiplier",
            )
        if not 0 < more <= MOST_COMPUTE:
            raise _out("compute_multiplier", f"above 0 and at most {MOST_COMPUTE}", more)
        chosen["num_generations"] = max(2, round(GENERATIONS * more))
    if (samples := chosen.pop("eval_samples", "auto")) != "auto":
        if not 1 <= samples <= MOST_SAMPLES:
            raise _out("eval_samples", f"between 1 and {MOST_SAMPLES}", samples)
        chosen["num_generations_eval"] = samples
    if (interval := chosen.pop("eval_interval", "auto")) == "auto":
        return evaluation
    if interval < 1:
        raise _out("eval_interval", "at least 1", interval)
    return {"every_steps": interval, **(evaluation or {})}


def _out(name: str, range_: str, value: float) -> UserFault:
    return UserFault(
        "invalid_value",
        f"{name} must be {range_}, not {value}.",
        fix="Correct the value, or leave it out.",
        param=f"hyperparameters.{name}",
    )


def _check_reinforcement(asked: Reinforcement) -> None:
    if asked.response_format is not None:
        raise UserFault(
            "unsupported_parameter",
            "Answers are not held to a form while they are drawn for training.",
            fix="Leave response_format out, and have the grader judge the form.",
            param="method.reinforcement.response_format",
        )
    if asked.hyperparameters.reasoning_effort not in (None, "default"):
        raise UserFault(
            "unsupported_parameter",
            "These models think or do not; none has a level of effort.",
            fix="Leave reasoning_effort out, and use `thinking` on or off.",
            param="method.reinforcement.hyperparameters.reasoning_effort",
        )


def _file(public_id: str, param: str) -> StoredFile:
    return selectors.find(selectors.files(), public_id, param=param)
