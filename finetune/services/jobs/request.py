"""What a fine-tuning job is asked with, and whether the numbers in it are possible at all.

Types are parsed here; ranges are checked by `check_request`, whose errors name the field (`param`)
as it stands in the request.
"""

from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from faults import UserFault
from faults.unseen import unseen
from finetune.families.contract import AdapterSpec
from finetune.records.check.spec import Overflow, longest_by_default
from finetune.records.infilling import cannot_infill
from finetune.records.splitting import LARGEST_SHARE
from finetune.records.thinking import Asked
from finetune.services.jobs.rewarding import checked_grader
from finetune.trainer.objectives import METHODS
from finetune.trainer.spec import OptimSpec, RunSpec
from finetune.trainer.together import Clash, refuse, require_together

AskedStability = Literal["auto", "off"]
MAX_SUFFIX = 64
MAX_SEED = 2**31 - 1
MAX_METADATA = 16
MICRO_BATCH_TOKENS = (64, 131_072)
MAX_NOISE = 1000
MAX_FILES = 16
MIN_WEIGHT, MAX_WEIGHT = 0.001, 100
SHORTEST_PROMPT = 8  # tokens

Spec = TypeVar("Spec", bound=BaseModel)


def _offered(method: str) -> str:
    if method not in METHODS:
        raise ValueError(f"the method must be one of {', '.join(METHODS)}")
    return method


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Hyperparameters(_Frozen):
    """OpenAI's three, each a number or "auto"."""

    n_epochs: int | Literal["auto"] = "auto"
    batch_size: int | Literal["auto"] = "auto"
    learning_rate_multiplier: float | Literal["auto"] = "auto"


class EvaluationRequest(_Frozen):
    """How often validation rows are scored, and what follows from it. Steps are optimizer steps."""

    every_steps: PositiveInt | None = None
    early_stop_patience: PositiveInt | None = None
    keep: Literal["last", "best"] = "last"


class WeightedFile(_Frozen):
    """A file to train on, and how often an epoch takes each of its rows; below 1 it takes a share
    of them."""

    file: UUID
    weight: float = 1.0


class OptimizerRequest(_Frozen):
    """What AdamW and its schedule are told. `learning_rate` is the rate itself, in the place of a
    multiplier of the base's own; `warmup_ratio` of the steps; `loraplus_lr_ratio`: how many times
    faster B goes than A."""

    learning_rate: float | None = Field(default=None, gt=0, le=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: float = Field(default=0.03, ge=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    max_grad_norm: float = Field(default=1.0, gt=0, le=1000)
    loraplus_lr_ratio: float = Field(default=1.0, ge=1, le=1000)


class JobRequest(_Frozen):
    """A create call, parsed. `model` is a catalogue name or one's own `ft:` model; `settings` are
    the method's own among the hyperparameters. `keep_optimizer`: of the checkpoint that `model`
    names, its state goes on as well. `validation_split` is the share of the training file that is
    kept apart, `weight` the training file's beside `further_files`. Without `auto_start` the job is
    held, once its files are read, until it is resumed. `learning_curve`: parts of the rows are
    trained as well, to tell what more of them would bring. `grader`: what rewards the model's
    answers, where the method learns from those."""

    model: str
    keep_optimizer: bool = False
    training_file: UUID
    validation_file: UUID | None = None
    validation_split: float | None = None
    weight: float = 1.0
    further_files: tuple[WeightedFile, ...] = ()
    method: Annotated[str, AfterValidator(_offered)] = "supervised"
    hyperparameters: Hyperparameters = Hyperparameters()
    settings: dict[str, Any] = Field(default_factory=dict)
    grader: dict[str, Any] | None = None
    adapter: dict[str, Any] | None = None
    max_length: int | None = None
    packing: bool = False
    overflow: Overflow = "refuse"
    thinking: Asked = "auto"
    gradient_checkpointing: bool | Literal["auto"] = "auto"
    micro_batch_tokens: int | Literal["auto"] = "auto"
    stability: AskedStability = "auto"
    optimizer: dict[str, Any] | None = None
    neftune_noise_alpha: float = 0.0
    evaluation: dict[str, Any] | None = None
    learning_curve: bool = False
    auto_start: bool = True
    suffix: str | None = None
    seed: int | None = None
    metadata: dict[str, str] = Field(default_factory=dict)

    def method_settings(self) -> dict[str, Any]:
        """With what was not asked at its default. Raises UserFault naming the field, e.g.
        `hyperparameters.beta`."""
        settings = METHODS[self.method].settings
        if settings is None and self.settings:
            name = min(self.settings)
            raise _invalid(
                f"hyperparameters.{name}", f"The method {self.method!r} has no setting {name!r}."
            )
        if settings is None:
            return {}
        return _parse(settings, self.settings, "hyperparameters").model_dump(mode="json")

    @property
    def draws(self) -> bool:
        """Whether the method learns from answers that the model itself draws."""
        return "generation" in METHODS[self.method].needs

    def grader_spec(self) -> dict[str, Any] | None:
        """As it was given. Raises UserFault naming `grader`, for what is none or cannot reward a
        training."""
        if not self.draws:
            if self.grader is not None:
                raise _invalid("grader", f"The method {self.method!r} has no grader.")
            return None
        return checked_grader(self.grader)

    def adapter_spec(self) -> AdapterSpec:
        """Raises UserFault naming the field, e.g. `adapter.r`."""
        return _parse(AdapterSpec, self.adapter, "adapter")

    def optimizer_spec(self) -> OptimizerRequest:
        """Raises UserFault naming the field, e.g. `optimizer.weight_decay`."""
        return _parse(OptimizerRequest, self.optimizer, "optimizer")

    def sketch(self) -> RunSpec:
        """What the request alone says of the training: the rest, such as an "auto", at defaults."""
        asked = self.optimizer_spec().model_dump(exclude_none=True)
        return RunSpec(
            family=METHODS[self.method].family,
            objective=METHODS[self.method].name,
            adapter=self.adapter_spec(),
            optim=OptimSpec.model_validate(asked),
            packing=self.packing,
            neftune_noise_alpha=self.neftune_noise_alpha,
        )

    def evaluation_spec(self) -> EvaluationRequest:
        """Raises UserFault naming the field, e.g. `evaluation.keep`."""
        return _parse(EvaluationRequest, self.evaluation, "evaluation")


def check_request(
    request: JobRequest, *, context_length: int, infilling: str | None = None
) -> None:
    """Raises UserFault `invalid_value` with `param` for the first value out of its range, and
    `cannot_infill` where holes are asked for and the base has no `infilling`; None: the training
    will see whether it has."""
    asked = request.hyperparameters
    within("hyperparameters.n_epochs", asked.n_epochs, 1, 50)
    fewest = METHODS[request.method].fewest
    within("hyperparameters.batch_size", asked.batch_size, fewest, 256)
    _positive("hyperparameters.learning_rate_multiplier", asked.learning_rate_multiplier)
    settings = request.method_settings()
    request.grader_spec()
    if settings.get("fim_rate") and infilling == "":
        raise cannot_infill(
            "hyperparameters.fim_rate", fix="Leave `fim_rate` out, or choose a base for code."
        )
    if request.draws:
        _check_drawing(request, settings, context_length)
    within("max_length", request.max_length, 8, context_length)
    within("micro_batch_tokens", request.micro_batch_tokens, *MICRO_BATCH_TOKENS)
    within("seed", request.seed, 0, MAX_SEED)
    if request.suffix is not None:
        _check_suffix(request.suffix)
    check_metadata(request.metadata)
    if not 0 <= request.neftune_noise_alpha <= MAX_NOISE:  # NaN, too
        raise _invalid("neftune_noise_alpha", f"The noise's alpha must be 0 to {MAX_NOISE}.")
    share = request.validation_split
    if share is not None and not 0 < share <= LARGEST_SHARE:
        raise _invalid("validation_split", f"The share is above 0 and at most {LARGEST_SHARE}.")
    if len(request.further_files) >= MAX_FILES:
        raise _invalid("training_files", f"At most {MAX_FILES} files are trained at once.")
    for weight in (request.weight, *(each.weight for each in request.further_files)):
        if not MIN_WEIGHT <= weight <= MAX_WEIGHT:  # NaN, too
            raise _invalid("training_files", f"A weight is {MIN_WEIGHT} to {MAX_WEIGHT}.")
    require_together(request.sketch())
    refuse(request, REQUEST_CLASHES)


def _check_drawing(request: JobRequest, settings: dict[str, Any], context_length: int) -> None:
    most = int(settings["max_completion_tokens"])
    longest = row_limit(request, context_length)
    if longest + most > context_length:
        raise UserFault(
            "invalid_value",
            f"A prompt of {longest} tokens and an answer of {most} are more than the base's "
            f"context of {context_length}.",
            fix="Lower max_length, the longest prompt, or max_completion_tokens.",
            param="max_length" if request.max_length else "hyperparameters.max_completion_tokens",
        )


def row_limit(request: JobRequest, context_length: int) -> int:
    """Tokens a row may have: as asked, else what the base was made for, up to a default, and less
    the answer where one is drawn."""
    if request.max_length:
        return request.max_length
    most = int(request.method_settings()["max_completion_tokens"]) if request.draws else 0
    return longest_by_default(max(SHORTEST_PROMPT, context_length - most))


def _evaluates_nothing(request: JobRequest) -> bool:
    validated = request.validation_file is not None or request.validation_split is not None
    return request.evaluation_spec() != EvaluationRequest() and not validated


def _has_curve_without_rows(request: JobRequest) -> bool:
    validated = request.validation_file is not None or request.validation_split is not None
    return request.learning_curve and not validated


def _has_curve_of_several(request: JobRequest) -> bool:
    return request.learning_curve and (bool(request.further_files) or request.weight != 1)


def _has_two_rates(request: JobRequest) -> bool:
    asked = request.hyperparameters.learning_rate_multiplier
    return request.optimizer_spec().learning_rate is not None and asked != "auto"


def _reads_prompts(request: JobRequest) -> bool:
    return METHODS[request.method].records.with_rows


REQUEST_CLASHES: tuple[Clash[JobRequest], ...] = (
    Clash(
        ("overflow: chunk", "a method other than pretrain"),
        "overflow",
        lambda request: request.overflow == "chunk" and METHODS[request.method].overflow != "chunk",
        "Only documents are read in chunks, by the method `pretrain`.",
        "Leave `overflow` out, or let long rows be refused, dropped or cut.",
        "invalid_value",
    ),
    Clash(
        ("fim_spm_rate, fim_cut", "no fim_rate"),
        "hyperparameters.fim_rate",
        lambda request: (
            bool({"fim_spm_rate", "fim_cut"} & request.settings.keys())
            and not request.settings.get("fim_rate")
        ),
        "How holes are cut is said, and none are.",
        "Give a `fim_rate` above 0, or leave `fim_spm_rate` and `fim_cut` out.",
        "invalid_value",
    ),
    Clash(
        ("optimizer.learning_rate", "learning_rate_multiplier"),
        "optimizer.learning_rate",
        _has_two_rates,
        "A learning rate and a multiplier of the base's own rate are two rates.",
        "Give `optimizer.learning_rate` or `learning_rate_multiplier`, not both.",
        "invalid_value",
    ),
    Clash(
        ("validation_split", "validation_file"),
        "validation_split",
        lambda request: None not in (request.validation_split, request.validation_file),
        "Validation rows come from a file of their own, or are split from the training file.",
        "Give `validation_file` or `validation_split`, not both.",
    ),
    Clash(
        ("validation_split", "training_files"),
        "validation_split",
        lambda request: request.validation_split is not None and bool(request.further_files),
        "A split is of one training file, and this job has several.",
        "Give a `validation_file`, or one training file.",
    ),
    Clash(
        ("training_files", "a method on prompts"),
        "training_files",
        lambda request: _reads_prompts(request) and bool(request.further_files),
        "Prompts that are to be answered come from one file.",
        "Put them into one file.",
    ),
    Clash(
        ("packing", "a method on prompts"),
        "packing",
        lambda request: _reads_prompts(request) and request.packing,
        "Prompts are answered one by one, and are not packed.",
        "Leave `packing` out.",
        "invalid_value",
    ),
    Clash(
        ("thinking", "a method of vectors"),
        "thinking",
        lambda request: request.thinking != "auto" and METHODS[request.method].records.embedded,
        "A base that makes vectors does not think.",
        "Leave `thinking` out.",
    ),
    Clash(
        ("evaluation", "no validation rows"),
        "validation_file",
        _evaluates_nothing,
        "Evaluation needs rows to evaluate on, and no validation_file is given.",
        "Give a validation_file or a `validation_split`, or leave `evaluation` out.",
        "validation_file_missing",
    ),
    Clash(
        ("learning_curve", "no validation rows"),
        "validation_file",
        _has_curve_without_rows,
        "A learning curve is measured on rows held out, and no validation_file is given.",
        "Give a validation_file or a `validation_split`, or leave `learning_curve` out.",
        "validation_file_missing",
    ),
    Clash(
        ("learning_curve", "training_files"),
        "learning_curve",
        _has_curve_of_several,
        "A learning curve is of the rows of one training file, each taken once an epoch.",
        "Leave `learning_curve` out, or put the rows into one file.",
    ),
    Clash(
        ("learning_curve", "a method on prompts"),
        "learning_curve",
        lambda request: request.learning_curve and _reads_prompts(request),
        "A method that learns from answers it draws has rewards and no loss to tell a curve by.",
        "Leave `learning_curve` out.",
    ),
)


def named_twice() -> UserFault:
    return UserFault(
        "invalid_value",
        "A training file is named twice.",
        fix="Name each file once; its `weight` says how often its rows are taken.",
        param="training_files",
    )


def _check_suffix(suffix: str) -> None:
    if not 1 <= len(suffix) <= MAX_SUFFIX:
        raise _invalid("suffix", f"The suffix must have 1 to {MAX_SUFFIX} characters.")
    if (code := unseen(suffix)) is not None:
        raise _invalid("suffix", f"The suffix holds a character that cannot be seen, {code}.")


def check_metadata(metadata: dict[str, str]) -> None:
    """Raises UserFault `invalid_value`."""
    if len(metadata) > MAX_METADATA:
        raise _invalid("metadata", f"At most {MAX_METADATA} metadata entries are kept.")
    for key, value in metadata.items():
        if not 1 <= len(key) <= 64 or len(value) > 512:
            raise _invalid(
                f"metadata.{key[:64]}",
                "A metadata key has 1 to 64 characters and a value at most 512.",
            )


def within(param: str, value: int | str | None, low: int, high: int) -> None:
    """Raises UserFault `invalid_value`; what is no number is left to others."""
    if isinstance(value, int) and not low <= value <= high:
        raise _invalid(param, f"{param} must be between {low} and {high}, not {value}.")


def _positive(param: str, value: float | str) -> None:
    # 1000 times the base rate destroys any model; the bound also refuses infinity and NaN
    if not isinstance(value, str) and not 0 < value <= 1000:
        raise _invalid(param, f"{param} must be above 0 and at most 1000, not {value}.")


def _invalid(param: str, message: str) -> UserFault:
    return UserFault(
        "invalid_value", message, param=param, fix="Correct the value, or leave it out."
    )


def _parse(model: type[Spec], values: dict[str, Any] | None, param: str) -> Spec:
    try:
        return model.model_validate(values or {})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join([param, *(str(part) for part in first["loc"][:1])])
        raise _invalid(field, f"{field}: {first['msg']}.") from None
