"""`privatune jobs`: ask for a model to be trained, and look on."""

from typing import Annotated, Any, get_args

import typer

from finetune.records.check.spec import Overflow
from finetune.trainer.objectives import METHODS
from privatune.cli.brought import brought
from privatune.cli.client import Client
from privatune.cli.lists import Columns, Limit, show_list
from privatune.cli.output import AsJson, notes, print_facts, print_json, when
from privatune.cli.watch import ended, tell_events, watch
from tenants import public_ids

app = typer.Typer(no_args_is_help=True, help="Create, list, watch and steer jobs.")

JOBS = "/v1/fine_tuning/jobs"
JobId = Annotated[str, typer.Argument(help=f"The job's id, like {public_ids.JOB}")]
Data = Annotated[str, typer.Option("--file", help="Training data: a file id, or a path to upload.")]
Auto = Annotated[str | None, typer.Option(help='A number, or "auto" (the default).')]

COLUMNS: Columns = {
    "ID": "id",
    "STATUS": "status",
    "MODEL": "model",
    "FINE-TUNED MODEL": "fine_tuned_model",
    "CREATED": lambda job: when(job["created_at"]),
}


@app.command("create")
def create_job(
    model: Annotated[str, typer.Option(help="The base model's name.")],
    file: Data,
    validation_file: Annotated[
        str | None, typer.Option(help="Validation data: a file id, or a path to upload.")
    ] = None,
    method: Annotated[
        str, typer.Option(help=f"What to train for: {', '.join(METHODS)}.")
    ] = "supervised",
    suffix: Annotated[str | None, typer.Option(help="1-64 characters in the model's name.")] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    n_epochs: Auto = None,
    batch_size: Auto = None,
    learning_rate_multiplier: Auto = None,
    r: Annotated[int | None, typer.Option(min=1, help="Rank of the LoRA adapter.")] = None,
    alpha: Annotated[float | None, typer.Option(min=0, help="LoRA's scale, over r.")] = None,
    dropout: Annotated[float | None, typer.Option(min=0, max=1)] = None,
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
    metadata: Annotated[list[str] | None, typer.Option(help="KEY=VALUE, up to 16 times.")] = None,
    hold: Annotated[
        bool, typer.Option("--hold", help="Make it ready and do not start it; `resume` does.")
    ] = False,
    watching: Annotated[
        bool, typer.Option("--watch", help="Stay and watch it to its end.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start a fine-tune, or with --hold make one ready to start.

    Paths given for files are uploaded first, and deleted again if the job is refused.
    """
    if hold and watching:
        raise typer.BadParameter("a held job has no end to watch", param_hint="--hold --watch")
    client = Client.from_environment()
    hyperparameters = {
        "n_epochs": _number(n_epochs, "--n-epochs"),
        "batch_size": _number(batch_size, "--batch-size"),
        "learning_rate_multiplier": _number(learning_rate_multiplier, "--learning-rate-multiplier"),
    }
    wish = {
        "model": model,
        "suffix": suffix,
        "seed": seed,
        "method": {
            "type": method,
            method: {"hyperparameters": _given(hyperparameters)},
        },
        "adapter": _given({"r": r, "alpha": alpha, "dropout": dropout, "targets": target or None})
        or None,
        "max_length": max_length,
        "overflow": overflow,
        "packing": packing,
        "gradient_checkpointing": gradient_checkpointing,
        "micro_batch_tokens": _number(micro_batch_tokens, "--micro-batch-tokens"),
        "metadata": dict(_pair(item) for item in metadata) if metadata else None,
        "auto_start": False if hold else None,
    }
    with brought(client) as files:
        wish["training_file"] = files.file_id(file)
        if validation_file:
            wish["validation_file"] = files.file_id(validation_file)
        job = client.post(JOBS, _given(wish))
    if watching:
        notes().print(f"{job['id']} started")
        job = watch(client, job["id"], as_json=as_json)
    show(job, as_json=as_json)
    if watching:
        ended(job, as_json=as_json)


@app.command("list")
def list_jobs(
    limit: Limit = 20,
    metadata: Annotated[list[str] | None, typer.Option(help="Only with this KEY=VALUE.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the tenant's jobs."""
    wanted = {f"metadata[{key}]": value for key, value in map(_pair, metadata or [])}
    jobs = Client.from_environment().pages(JOBS, limit=limit, **wanted)
    show_list(jobs, COLUMNS, as_json=as_json)


@app.command("get")
def get_job(job_id: JobId, as_json: AsJson = False) -> None:
    """Show one job."""
    show(Client.from_environment().get(f"{JOBS}/{job_id}"), as_json=as_json)


@app.command("watch")
def watch_job(job_id: JobId, as_json: AsJson = False) -> None:
    """Watch a job to its end; exit code 1 if it failed or was cancelled.

    With --json each event is one line of JSON as it comes, and the job is the last line.
    """
    job = watch(Client.from_environment(), job_id, as_json=as_json)
    show(job, as_json=as_json)
    ended(job, as_json=as_json)


@app.command("events")
def show_events(
    job_id: JobId,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Stay, and show the others as they come.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show a job's events, oldest first. With --json each is one line of JSON.

    With --follow it ends with the job: exit code 1 if that failed or was cancelled.
    """
    job = tell_events(Client.from_environment(), job_id, follow=follow, as_json=as_json)
    if follow:
        ended(job, as_json=as_json)


@app.command("cancel")
def cancel_job(job_id: JobId, as_json: AsJson = False) -> None:
    """Cancel a job; it keeps no model."""
    _steer(job_id, "cancel", as_json=as_json)


@app.command("pause")
def pause_job(job_id: JobId, as_json: AsJson = False) -> None:
    """Pause a job: it saves where it is and frees the machine."""
    _steer(job_id, "pause", as_json=as_json)


@app.command("resume")
def resume_job(job_id: JobId, as_json: AsJson = False) -> None:
    """Go on with a paused job, bit by bit as if it had never stopped, or start one that is held."""
    _steer(job_id, "resume", as_json=as_json)


def show(job: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(job)
        return
    error = job.get("error") or {}
    print_facts(
        {
            "id": job["id"],
            "status": job["status"],
            "phase": (job.get("phase") or {}).get("message"),
            "model": job["model"],
            "fine-tuned model": job.get("fine_tuned_model"),
            "trained tokens": job.get("trained_tokens"),
            "created": when(job["created_at"]),
            "finished": when(job.get("finished_at")),
            "error": error.get("message"),
            "warning": " ".join(each["message"] for each in job.get("warnings") or []) or None,
        }
    )


def _steer(job_id: str, verb: str, *, as_json: bool) -> None:
    show(Client.from_environment().post(f"{JOBS}/{job_id}/{verb}"), as_json=as_json)


def _number(said: str | None, option: str) -> float | int | str | None:
    if said is None or said == "auto":
        return said
    try:
        return float(said) if "." in said or "e" in said.lower() else int(said)
    except ValueError:
        raise typer.BadParameter(
            f'{said!r} is neither a number nor "auto"', param_hint=option
        ) from None


def _pair(said: str) -> tuple[str, str]:
    key, equals, value = said.partition("=")
    if not equals or not key:
        raise typer.BadParameter(f"{said!r} is not KEY=VALUE", param_hint="--metadata")
    return key, value


def _given(wish: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in wish.items() if value is not None}
