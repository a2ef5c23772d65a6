"""The settings of a job as options of a command, the same for each that takes them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from faults.nesting import NO_JSON, loads
from finetune.grading.criteria import rewarding
from finetune.records.check.spec import Overflow
from finetune.trainer.objectives import METHODS
from privatune.cli.brought import Brought
from privatune.cli.exits import Stop

Data = Annotated[str, typer.Option("--file", help="Training data: a file id, or a path to upload.")]
Auto = Annotated[str | None, typer.Option(help='A number, or "auto" (the default).')]


@dataclass(frozen=True)
class Wish:
    """`settings` are the request's fields but its files, which may be paths yet."""

    settings: dict[str, Any]
    file: str
    validation_file: str | None
    further: tuple[tuple[str, float], ...] = ()

    def body(self, files: Brought) -> dict[str, Any]:
        """What is sent; paths are uploaded."""
        held_out = self.validation_file
        return given(
            self.settings
            | {
                "training_file": files.file_id(self.file),
                "validation_file": files.file_id(held_out) if held_out else None,
                "training_files": [
                    {"file": files.file_id(file), "weight": weight} for file, weight in self.further
                ]
                or None,
            }
        )


def with_wish(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with these options beside its own, which gets them as `wish`."""
    asked = signature(job_wish).parameters
    own = [each for each in signature(command).parameters.values() if each.name != "wish"]
    options = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in [*asked.values(), *own]]

    @wraps(command)
    def run(**said: Any) -> None:
        wish = job_wish(**{name: said.pop(name) for name in asked})
        try:
            command(wish=wish, **said)
        except Stop as stop:
            raise named(stop) from stop

    run.__signature__ = Signature(options)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in options}
    return run


# Fields of a request whose option has another name than their last part
OPTIONS = {"adapter.targets": "--target", "training_file": "--file", "training_files": "--also"}


def named(stop: Stop) -> Stop:
    """What is said of a field of the request is said of the option that was typed; `param` stays
    the field, for programs."""
    option = OPTIONS.get(stop.param or "") or _option(stop.param or "")
    if option is None or stop.param is None:
        return stop
    message = stop.message.replace(stop.param, option)
    if option not in message:
        message = f"{option}: {message}"
    fix = stop.fix.replace(stop.param, option) if stop.fix else None
    return Stop(
        stop.exit_code, message, code=stop.code, where=stop.where, fix=fix, param=stop.param
    )


def _option(param: str) -> str | None:
    name = param.rpartition(".")[2]
    return f"--{name.replace('_', '-')}" if name in signature(job_wish).parameters else None


def job_wish(
    model: Annotated[
        str,
        typer.Option(
            help="The base model's name, or one of your own models or their checkpoints to train "
            "on from."
        ),
    ],
    file: Data,
    validation_file: Annotated[
        str | None, typer.Option(help="Validation data: a file id, or a path to upload.")
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            help="Further training data, FILE or FILE=WEIGHT: how often each pass takes its rows, "
            "0.1 for a tenth of them. May be repeated."
        ),
    ] = None,
    validation_split: Annotated[
        float | None,
        typer.Option(help="Share of the training data to keep apart for validation: 0.1."),
    ] = None,
    learning_curve: Annotated[
        bool | None,
        typer.Option(
            "--learning-curve",
            help="Also train on a half, a quarter and less of the rows, to tell what more of them "
            "would bring; takes about twice the time and tokens.",
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(help=f"What to train for: {', '.join(METHODS)}.")
    ] = "supervised",
    keep_optimizer: Annotated[
        bool | None,
        typer.Option(
            "--keep-optimizer", help="Of the checkpoint that --model names, its state goes on."
        ),
    ] = None,
    suffix: Annotated[str | None, typer.Option(help="1-64 characters in the model's name.")] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    n_epochs: Auto = None,
    batch_size: Auto = None,
    learning_rate_multiplier: Auto = None,
    fim_rate: Annotated[
        str | None,
        typer.Option(help="Of pretrain: the share of texts in which a hole is filled in; 0.5."),
    ] = None,
    fim_spm_rate: Annotated[
        str | None,
        typer.Option(
            help="Of pretrain: of those, the share whose suffix comes first; as the base has it."
        ),
    ] = None,
    fim_cut: Annotated[
        str | None,
        typer.Option(help="Of pretrain: holes begin and end at a character (the default) or line."),
    ] = None,
    beta: Annotated[
        str | None,
        typer.Option(
            help="Of preferences. dpo, kto: how much straying from the base costs; orpo: the "
            "weight of the odds ratio; simpo: the scale of the margin."
        ),
    ] = None,
    gamma: Annotated[
        str | None, typer.Option(help="Of simpo: the margin that is aimed at.")
    ] = None,
    desirable_weight: Annotated[
        str | None, typer.Option(help="Of kto: how much good answers weigh.")
    ] = None,
    undesirable_weight: Annotated[
        str | None, typer.Option(help="Of kto: how much the other answers weigh.")
    ] = None,
    loss_type: Annotated[
        str | None,
        typer.Option(
            help="Of dpo: sigmoid or ipo; of grpo: dapo, grpo, bnpo or dr_grpo; "
            "of rerank: binary or listwise."
        ),
    ] = None,
    label_smoothing: Annotated[
        str | None,
        typer.Option(help="Of dpo: the share of preferences that may be the wrong way round."),
    ] = None,
    margin: Annotated[
        str | None,
        typer.Option(help="Of reward: by how much the better answer is to score higher."),
    ] = None,
    center_rewards_coefficient: Annotated[
        str | None,
        typer.Option(help="Of reward: how strongly scores are kept about zero; 0.01 is usual."),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(help="Of contrastive, cosent: similarities times this; 20 if not given."),
    ] = None,
    dimensions: Annotated[
        str | None,
        typer.Option(
            help='Of contrastive, cosent: lengths at which a cut vector is of use, "384, 128".'
        ),
    ] = None,
    pos_weight: Annotated[
        str | None,
        typer.Option(help="Of rerank: how much documents that belong weigh; 1 if not given."),
    ] = None,
    grader: Annotated[
        str | None,
        typer.Option(
            help="Of reinforcement: a file with the grader, as JSON, or the name of a reward "
            "model of yours (ft:...)."
        ),
    ] = None,
    algorithm: Annotated[
        str | None, typer.Option(help="Of reinforcement: grpo (the default) or rloo.")
    ] = None,
    num_generations: Annotated[
        int | None, typer.Option(help="Of reinforcement: answers of a prompt; 8 if not given.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Of reinforcement: of the answers; 1 if not given.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Of reinforcement: of the answers; 1 if not given.")
    ] = None,
    max_completion_tokens: Annotated[
        int | None, typer.Option(help="Of reinforcement: of an answer; 512 if not given.")
    ] = None,
    num_iterations: Annotated[
        int | None,
        typer.Option(help="Of reinforcement: steps that learn from the same answers; 1 if not."),
    ] = None,
    scale_rewards: Annotated[
        str | None, typer.Option(help="Of grpo: group (the default), batch or none.")
    ] = None,
    eval_samples: Annotated[
        int | None, typer.Option(help="Of reinforcement: answers of a validation row; 1 if not.")
    ] = None,
    eval_interval: Annotated[
        int | None, typer.Option(help="Of reinforcement: steps between two evaluations.")
    ] = None,
    r: Annotated[int | None, typer.Option(min=1, help="Rank of the LoRA adapter.")] = None,
    alpha: Annotated[float | None, typer.Option(min=0, help="LoRA's scale, over r.")] = None,
    dropout: Annotated[float | None, typer.Option(min=0, max=1)] = None,
    use_dora: Annotated[
        bool | None, typer.Option("--use-dora", help="DoRA: magnitudes are trained, too; slower.")
    ] = None,
    use_rslora: Annotated[
        bool | None, typer.Option("--use-rslora", help="rsLoRA: the scale is over the root of r.")
    ] = None,
    init_lora_weights: Annotated[
        str | None,
        typer.Option(
            help="How the adapter begins: default, gaussian, olora, pissa or pissa_niter_N."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="A layer to adapt, like q_proj; may be repeated. All if not given."),
    ] = None,
    max_length: Annotated[int | None, typer.Option(min=1, help="Longest row, in tokens.")] = None,
    overflow: Annotated[
        str | None,
        typer.Option(
            help=f"What becomes of longer rows: {', '.join(get_args(Overflow))}. By the method if "
            "not given."
        ),
    ] = None,
    packing: Annotated[bool | None, typer.Option(help="Lay rows end to end.")] = None,
    gradient_checkpointing: Annotated[
        bool | None,
        typer.Option(help="Less memory, a third more time; by the machine's memory if not given."),
    ] = None,
    micro_batch_tokens: Annotated[
        str | None,
        typer.Option(help='Tokens in memory at once, or "auto" (the default).'),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="The rate itself, in the place of a multiplier.")
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(help="Of the rate: cosine (the default), linear or constant.")
    ] = None,
    warmup_ratio: Annotated[
        float | None, typer.Option(min=0, max=1, help="Part of the steps; 0.03 if not given.")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(min=0, max=1, help="AdamW's; 0 if not given.")
    ] = None,
    max_grad_norm: Annotated[
        float | None, typer.Option(help="Longer gradients are clipped to it; 1 if not given.")
    ] = None,
    loraplus_lr_ratio: Annotated[
        float | None, typer.Option(min=1, help="LoRA+: B goes so many times as fast as A.")
    ] = None,
    neftune_noise_alpha: Annotated[
        float | None, typer.Option(min=0, help="NEFTune: noise on training rows, 5 to 15 usually.")
    ] = None,
    stability: Annotated[
        str | None,
        typer.Option(
            help="auto (the default) or off: whether a training that blows up is rolled "
            "back, without the rows that did it."
        ),
    ] = None,
    metadata: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, up to 16 times.")] = None,
) -> Wish:
    hyperparameters = {
        "n_epochs": _number(n_epochs, "--n-epochs"),
        "batch_size": _number(batch_size, "--batch-size"),
        "learning_rate_multiplier": _number(learning_rate_multiplier, "--learning-rate-multiplier"),
        "fim_rate": _number(fim_rate, "--fim-rate"),
        "fim_spm_rate": _number(fim_spm_rate, "--fim-spm-rate"),
        "fim_cut": fim_cut,
        "beta": _number(beta, "--beta"),
        "gamma": _number(gamma, "--gamma"),
        "desirable_weight": _number(desirable_weight, "--desirable-weight"),
        "undesirable_weight": _number(undesirable_weight, "--undesirable-weight"),
        "loss_type": loss_type,
        "label_smoothing": _number(label_smoothing, "--label-smoothing"),
        "margin": _number(margin, "--margin"),
        "center_rewards_coefficient": _number(
            center_rewards_coefficient, "--center-rewards-coefficient"
        ),
        "scale": _number(scale, "--scale"),
        "dimensions": dimensions,
        "pos_weight": _number(pos_weight, "--pos-weight"),
        "algorithm": algorithm,
        "num_generations": num_generations,
        "temperature": temperature,
        "top_p": top_p,
        "max_completion_tokens": max_completion_tokens,
        "num_iterations": num_iterations,
        "scale_rewards": scale_rewards,
        "eval_samples": eval_samples,
        "eval_interval": eval_interval,
    }
    own: dict[str, Any] = {"hyperparameters": given(hyperparameters)}
    if grader is not None:
        own["grader"] = _grader(grader)
    settings = {
        "model": model,
        "keep_optimizer": keep_optimizer,
        "validation_split": validation_split,
        "learning_curve": learning_curve,
        "suffix": suffix,
        "seed": seed,
        "method": {
            "type": method,
            method: own,
        },
        "adapter": given(
            {
                "r": r,
                "alpha": alpha,
                "dropout": dropout,
                "targets": target or None,
                "use_dora": use_dora,
                "use_rslora": use_rslora,
                "init_lora_weights": init_lora_weights,
            }
        )
        or None,
        "max_length": max_length,
        "overflow": overflow,
        "packing": packing,
        "gradient_checkpointing": gradient_checkpointing,
        "micro_batch_tokens": _number(micro_batch_tokens, "--micro-batch-tokens"),
        "optimizer": given(
            {
                "learning_rate": learning_rate,
                "schedule": schedule,
                "warmup_ratio": warmup_ratio,
                "weight_decay": weight_decay,
                "max_grad_norm": max_grad_norm,
                "loraplus_lr_ratio": loraplus_lr_ratio,
            }
        )
        or None,
        "neftune_noise_alpha": neftune_noise_alpha,
        "stability": stability,
        "metadata": dict(pair(item) for item in metadata) if metadata else None,
    }
    return Wish(settings, file, validation_file, tuple(_weighed(each) for each in also or []))


def _weighed(said: str) -> tuple[str, float]:
    file, equals, weight = said.rpartition("=")
    if not equals:
        return said, 1.0
    try:
        return file, float(weight)
    except ValueError:
        raise typer.BadParameter(f"{weight!r} is no number", param_hint="--also") from None


def _number(said: str | None, option: str) -> float | int | str | None:
    if said is None or said == "auto":
        return said
    try:
        return float(said) if "." in said or "e" in said.lower() else int(said)
    except ValueError:
        raise typer.BadParameter(
            f'{said!r} is neither a number nor "auto"', param_hint=option
        ) from None


def _grader(said: str) -> Any:
    if said.startswith("ft:"):
        return rewarding(said)
    try:
        return loads(Path(said).read_bytes())
    except OSError:
        raise typer.BadParameter(f"There is no file {said}", param_hint="--grader") from None
    except NO_JSON:
        raise typer.BadParameter(f"{said} is not JSON", param_hint="--grader") from None


def pair(said: str) -> tuple[str, str]:
    key, equals, value = said.partition("=")
    if not equals or not key:
        raise typer.BadParameter(f"{said!r} is not KEY=VALUE", param_hint="--metadata")
    return key, value


def given(wish: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in wish.items() if value is not None}
