"""What a job goes on from, where its model is no base: a fine-tuned model of the tenant's own, or a
checkpoint of the training that made it. In the open scope."""

import re
from dataclasses import dataclass
from typing import Any

from faults import UserFault
from finetune.families.contract import AdapterSpec
from finetune.models import Artifact, CatalogModel, Checkpoint
from finetune.services.jobs.request import JobRequest
from finetune.services.models.withholding import require_given_out
from finetune.trainer.objectives import METHODS
from finetune.trainer.spec import ADAPTER, OPTIMIZER
from tenants.errors import NotFound

_NAMED = re.compile(r"(?P<model>ft:.+?)(?::ckpt-step-(?P<step>[0-9]{1,9}))?")
FREE = frozenset({"dropout"})  # of an adapter's settings: it changes nothing of what was trained


@dataclass(frozen=True)
class Start:
    """`model` as it was asked for; `step` of a checkpoint, None: the finished model."""

    model: str
    artifact: Artifact
    adapter: AdapterSpec
    adapter_sha256: str
    step: int | None = None
    optimizer_sha256: str | None = None

    @property
    def base(self) -> CatalogModel:
        return self.artifact.base

    def as_dict(self) -> dict[str, Any]:
        """As `Job.start` keeps it."""
        return {
            "model": self.model,
            "step": self.step,
            "adapter_sha256": self.adapter_sha256,
            "optimizer_sha256": self.optimizer_sha256,
        }


def start_of(model: str, *, keep_optimizer: bool = False, lock: bool = True) -> Start | None:
    """None: a base's name. Locked, so that whoever deletes the model waits, and then finds what
    goes on from it. Raises NotFound for a model or checkpoint that is not there (any more), Refused
    for a model that is withheld, UserFault for a base that was taken off the shelf, or an optimizer
    that nothing was kept of."""
    named = _NAMED.fullmatch(model)
    if named is None:
        if keep_optimizer:
            raise _no_optimizer()
        return None
    models = Artifact.objects.select_for_update(of=("self",)) if lock else Artifact.objects.all()
    found = models.filter(model_name=named["model"], deleted_at=None)
    artifact = found.select_related("base", "job").first()
    if artifact is None:
        raise no_model(model)
    if artifact.base.retired_at is not None:
        raise UserFault(
            "base_retired",
            f"The base {artifact.base.name} of this model is not offered any more.",
            fix="Start from a base that `GET /api/v1/catalog` lists.",
            param="model",
        )
    require_given_out(artifact)  # else a step further would take its weights out
    adapter = _adapter_of(artifact)
    if named["step"] is not None:
        return _of_checkpoint(model, artifact, adapter, int(named["step"]), keep_optimizer)
    if keep_optimizer:
        raise _no_optimizer()
    return Start(model, artifact, adapter, artifact.adapter_sha256)


def require_same_head(start: Start, method: str) -> None:
    """A reward model goes on as one; any other model may become one. Raises UserFault
    `model_scores`."""
    if start.artifact.scores and METHODS[method].family != "scoring":
        raise UserFault(
            "model_scores",
            f"{start.artifact.model_name} scores answers, and the method {method!r} trains a "
            "model that writes.",
            fix="Use the method `reward`, or start from a model that writes.",
            param="model",
        )


def with_start(request: JobRequest, start: Start) -> JobRequest:
    """The request with the adapter that it goes on with. Raises UserFault `adapter_fixed` for a
    setting that would be another adapter's."""
    asked, own = request.adapter_spec(), start.adapter
    for name in sorted((request.adapter or {}).keys() - FREE):
        if (wanted := getattr(asked, name)) != (has := getattr(own, name)):
            raise UserFault(
                "adapter_fixed",
                f"The model that training goes on from has an adapter with {name} {has}, not "
                f"{wanted}.",
                fix="Leave it out to go on with the adapter as it is, or start from the base.",
                param=f"adapter.{name}",
            )
    free = {name: getattr(asked, name) for name in (request.adapter or {}).keys() & FREE}
    return request.model_copy(update={"adapter": own.model_dump(mode="json") | free})


def no_model(model: str) -> NotFound:
    return NotFound(
        "model_not_found",
        f"The model `{model}` does not exist or you do not have access to it.",
        fix="Choose one of the models that `GET /v1/models` lists.",
        param="model",
    )


def _of_checkpoint(
    model: str, artifact: Artifact, adapter: AdapterSpec, step: int, keep_optimizer: bool
) -> Start:
    checkpoint = Checkpoint.objects.filter(job=artifact.job, step=step).first()
    files = checkpoint.files if checkpoint is not None else {}
    if ADAPTER not in files:
        raise NotFound(
            "checkpoint_not_found",
            f"There is no checkpoint of step {step} of this model.",
            fix="Choose one that `GET /v1/fine_tuning/jobs/{id}/checkpoints` lists.",
            param="model",
        )
    optimizer = files[OPTIMIZER]["sha256"] if keep_optimizer else None
    return Start(model, artifact, adapter, files[ADAPTER]["sha256"], step, optimizer)


def _adapter_of(artifact: Artifact) -> AdapterSpec:
    """As it was trained."""
    told = artifact.passport.get("hyperparameters", {}).get("adapter")
    if told is None:
        raise UserFault(
            "start_unknown",
            "This model does not say how its adapter was made, so training cannot go on from it.",
            fix="Train it again from its base, or go on from another model.",
            param="model",
        )
    return AdapterSpec.model_validate(told)


def _no_optimizer() -> UserFault:
    return UserFault(
        "optimizer_not_kept",
        "Only a checkpoint has the state of its optimizer.",
        fix="Name a checkpoint as the model, `ft:…:ckpt-step-N`, or leave `keep_optimizer` out.",
        param="keep_optimizer",
    )
