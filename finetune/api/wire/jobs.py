"""/v1/fine_tuning/jobs: create, list, retrieve, cancel, pause, resume, events, checkpoints."""

from collections.abc import Callable, Sequence
from typing import Any

from django.http import HttpRequest

from finetune import phases, selectors
from finetune.api import words
from finetune.api.bodies import parse
from finetune.api.paging import Paging, read_metadata
from finetune.api.wire.base import WireView
from finetune.api.wire.job_create import JobCreate
from finetune.api.wire.pages import created, listing, seconds
from finetune.models import Artifact, Checkpoint, Event, Job
from finetune.services.jobs import lifecycle
from finetune.services.pipelines.told import stage_of
from finetune.services.runs.publishing import model_name
from finetune.states import JobState
from finetune.trainer.objectives import METHODS
from tenants import public_ids
from tenants.models import Tenant
from tenants.roles import Scope

PAGING = Paging(filters=frozenset({"metadata", "metadata[]"}))
EVENTS = Paging()
CHECKPOINTS = Paging(limit=10)
NAMES = ("n_epochs", "batch_size", "learning_rate_multiplier")


def job_object(job: Job) -> dict[str, Any]:
    """With its phase and its pipeline, which a list leaves out: each takes looks at the job's
    history."""
    return {**job_objects([job])(job), "phase": phase_object(job), "pipeline": stage_of(job)}


def phase_object(job: Job) -> dict[str, Any] | None:
    phase = phases.of(job)
    if phase is None:
        return None
    return {"code": phase.code, "message": words.phase(job, phase.text), "place": phase.place}


def job_objects(rows: Sequence[Job]) -> Callable[[Job], dict[str, Any]]:
    """Shows any of `rows`; their results are read at once."""
    results = selectors.results_of(rows)
    return lambda job: _shown(job, results.get(job.id))


def _shown(job: Job, artifact: Artifact | None) -> dict[str, Any]:
    hyperparameters = shown_hyperparameters(job)
    return {
        "id": job.public_id,
        "object": "fine_tuning.job",
        "created_at": created(job),
        "error": shown_error(job),
        "fine_tuned_model": artifact.model_name if artifact else None,
        "finished_at": seconds(job.finished_at),
        "hyperparameters": hyperparameters,
        "model": job.start["model"] if job.start else job.base.name,
        "organization_id": public_ids.ORGANISATION.of(job.tenant_id),
        "result_files": (
            [artifact.metrics_file.public_id] if artifact and artifact.metrics_file else []
        ),
        "seed": job.seed,
        "status": job.state,
        "trained_tokens": job.trained_tokens,
        "training_file": job.training_file.public_id,
        "validation_file": job.validation_file.public_id if job.validation_file else None,
        "estimated_finish": seconds(job.estimated_finish),
        "integrations": [],
        "metadata": job.metadata or None,
        "method": {
            "type": job.method,
            job.method: {**shown_grader(job), "hyperparameters": hyperparameters},
        },
        "resolved": job.resolved,
        "receipt": job.receipt if job.state == JobState.SUCCEEDED else None,
        "warnings": artifact.report.get("warnings", []) if artifact else [],
    }


def shown_hyperparameters(job: Job) -> dict[str, Any]:
    """What each "auto" became, once that is known, else what was asked."""
    asked = job.requested.get("hyperparameters", {})
    found = (job.resolved or {}).get("hyperparameters", {})
    told = {name: found.get(name, asked.get(name, "auto")) for name in NAMES}
    settings = METHODS[job.method].settings
    chosen = (job.resolved or {}).get("spec", {}).get("settings", job.requested.get("settings", {}))
    own = {}
    for name, field in settings.model_fields.items() if settings else ():
        value = chosen.get(name, "auto")
        whole = field.annotation is int and value != "auto"
        own[name] = int(value) if whole else value  # specs keep numbers as floats
    return told | own


def shown_grader(job: Job) -> dict[str, Any]:
    grader = job.requested.get("grader")
    return {} if grader is None else {"grader": grader}


def shown_error(job: Job) -> dict[str, Any] | None:
    if not job.error:
        return None
    code, own = job.error.get("code"), (job.error.get("message"), job.error.get("fix"))
    return {
        "code": code,
        "message": words.error(str(code), " ".join(part for part in own if part), job.error),
        "param": job.error.get("param"),
    }


def event_object(event: Event) -> dict[str, Any]:
    return {
        "id": event.public_id,
        "object": "fine_tuning.job.event",
        "created_at": created(event),
        "level": event.level,
        "message": words.event(event),
        "type": "metrics" if event.type == "metrics" else "message",
        "data": event.data,
        "code": event.code or None,
    }


def checkpoint_object(checkpoint: Checkpoint, model: str) -> dict[str, Any]:
    metrics = checkpoint.metrics
    return {
        "id": checkpoint.public_id,
        "object": "fine_tuning.job.checkpoint",
        "created_at": created(checkpoint),
        "fine_tuned_model_checkpoint": f"{model}:ckpt-step-{checkpoint.step}",
        "fine_tuning_job_id": checkpoint.job.public_id,
        "step_number": checkpoint.step,
        "metrics": {
            "step": checkpoint.step,
            "train_loss": metrics.get("train_loss"),
            "train_mean_token_accuracy": metrics.get("train_accuracy"),
            "valid_loss": metrics.get("valid_loss"),
            "valid_mean_token_accuracy": metrics.get("valid_mean_token_accuracy"),
            "full_valid_loss": metrics.get("valid_loss"),
            "full_valid_mean_token_accuracy": metrics.get("valid_mean_token_accuracy"),
        },
    }


class Jobs(WireView):
    scopes = {"get": Scope.JOBS_READ, "post": Scope.JOBS_WRITE}

    def get(self, request: HttpRequest) -> dict[str, Any]:
        asked = PAGING.read(request)
        rows = selectors.with_metadata(selectors.jobs(), read_metadata(asked))
        page = PAGING.page(asked, rows)
        return listing(page, job_objects(page.rows))

    def post(self, request: HttpRequest) -> dict[str, Any]:
        asked = parse(JobCreate, request)
        with asked.named():
            by = self.caller.principal
            job = lifecycle.create_job(request=asked.request(), actor=by.actor, by=by)
        return job_object(job)


class OneJob(WireView):
    scopes = {"get": Scope.JOBS_READ}

    def get(self, request: HttpRequest, job_id: str) -> dict[str, Any]:
        return job_object(selectors.find(selectors.jobs(), job_id))


class _Verb(WireView):
    scopes = {"post": Scope.JOBS_WRITE}

    def post(self, request: HttpRequest, job_id: str) -> dict[str, Any]:
        job = selectors.find(selectors.jobs(), job_id)
        return job_object(type(self).act(job_id=job.id, actor=self.caller.actor))

    act: Any


class Cancel(_Verb):
    act = staticmethod(lifecycle.cancel_job)


class Pause(_Verb):
    act = staticmethod(lifecycle.pause_job)


class Resume(_Verb):
    act = staticmethod(lifecycle.resume_job)


class Events(WireView):
    scopes = {"get": Scope.JOBS_READ}

    def get(self, request: HttpRequest, job_id: str) -> dict[str, Any]:
        job = selectors.find(selectors.jobs(), job_id)
        rows = Event.objects.filter(job=job)
        return listing(EVENTS.page(EVENTS.read(request), rows, by="seq"), event_object)


class Checkpoints(WireView):
    scopes = {"get": Scope.JOBS_READ}

    def get(self, request: HttpRequest, job_id: str) -> dict[str, Any]:
        job = selectors.find(selectors.jobs(), job_id)
        asked = CHECKPOINTS.read(request)
        rows = Checkpoint.objects.filter(job=job).select_related("job")
        name = model_name(job, Tenant.objects.get(id=job.tenant_id))
        page = CHECKPOINTS.page(asked, rows, by="step")
        return listing(page, lambda checkpoint: checkpoint_object(checkpoint, name))
