"""`privatune jobs`: ask for a model to be trained, and look on."""

from typing import Annotated, Any

import typer

from privatune.cli import estimate
from privatune.cli.brought import brought
from privatune.cli.client import Client
from privatune.cli.lists import Columns, Limit, show_list
from privatune.cli.output import AsJson, notes, on_one_line, print_facts, print_json, when
from privatune.cli.watch import ended, tell_events, watch
from privatune.cli.wish import Wish, pair, with_wish
from tenants import public_ids

app = typer.Typer(no_args_is_help=True, help="Create, list, watch and steer jobs.")

JOBS = "/v1/fine_tuning/jobs"
JobId = Annotated[str, typer.Argument(help=f"The job's id, like {public_ids.JOB}")]

COLUMNS: Columns = {
    "ID": "id",
    "STATUS": "status",
    "MODEL": "model",
    "FINE-TUNED MODEL": "fine_tuned_model",
    "CREATED": lambda job: when(job["created_at"]),
}
SHOWN = 80  # characters of an answer, on its line
SAMPLES: Columns = {
    "ID": "id",
    "ROW": "row",
    "REWARD": lambda sample: f"{sample['reward']:.3f}",
    "ADVANTAGE": lambda sample: f"{sample['advantage']:+.3f}",
    "TOKENS": lambda sample: f"{sample['tokens']}{', cut off' if sample['truncated'] else ''}",
    "PARTS": lambda sample: ", ".join(
        f"{name} {score:.3f}" for name, score in sample["scores"].items()
    ),
    "TEXT": lambda sample: on_one_line(sample["text"], SHOWN),
}


@app.command("create")
@with_wish
def create_job(
    wish: Wish,
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
    with brought(client) as files:
        job = client.post(JOBS, wish.body(files) | ({"auto_start": False} if hold else {}))
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
    wanted = {f"metadata[{key}]": value for key, value in map(pair, metadata or [])}
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


@app.command("samples")
def show_samples(
    job_id: JobId,
    step: Annotated[int | None, typer.Option(min=1, help="Only this step's.")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """Show answers that a training by rewards has drawn, and what each earned.

    A text is cut to one line; with --json it is told as it is kept.
    """
    found = Client.from_environment().pages(
        f"/api/v1/jobs/{job_id}/samples", limit=limit, step=step
    )
    show_list(found, SAMPLES, as_json=as_json)


@app.command("learning-curve")
def show_learning_curve(
    job_id: JobId,
    loss: Annotated[
        float | None, typer.Option(min=0, help="Tell the rows that this validation loss takes.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what more rows would bring, of a job that was created with --learning-curve."""
    found = Client.from_environment().get(f"/api/v1/jobs/{job_id}/learning-curve", loss=loss)
    if as_json:
        print_json(found)
        return
    print_facts(
        {
            "job": found["job"],
            **{f"{each['rows']} rows": f"loss {each['loss']:.4f}" for each in found["points"]},
            **{f"{each['rows']} rows?": ahead(each) for each in found["ahead"]},
            **{f"loss {each['loss']:.4g}": needed(each) for each in found["needed"]},
            "outlook": found["message"] or WITHOUT_CURVE[found["asked"]],
        }
    )


WITHOUT_CURVE = {
    True: "not known before the job has ended well",
    False: "not asked for: create a job with --learning-curve",
}


def ahead(told: dict[str, Any]) -> str:
    low, high = told["interval"]
    return f"loss {told['loss']:.4f}, 95%: {low:.4f} to {high:.4f}"


def needed(told: dict[str, Any]) -> str:
    """`None` is further than the laws lead."""
    middle, low, high = ("more than can be told" if n is None else n for n in (
        told["rows"], *told["interval"]
    ))  # fmt: skip
    return f"{middle} rows, 95%: {low} to {high}"


@app.command("estimate")
def show_estimate(job_id: JobId, now: estimate.Now = False, as_json: AsJson = False) -> None:
    """Show what a job will take that was created with --hold."""
    address = f"/api/v1/jobs/{job_id}/estimate"
    estimate.show(Client.from_environment(), address, now=now, as_json=as_json)


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
            "method": (job.get("method") or {}).get("type"),
            "stage": _stage(job.get("pipeline")),
            ("trained on from" if job["model"].startswith("ft:") else "model"): job["model"],
            "fine-tuned model": job.get("fine_tuned_model"),
            "trained tokens": job.get("trained_tokens"),
            "created": when(job["created_at"]),
            "finished": when(job.get("finished_at")),
            **estimate.receipt(job.get("receipt")),
            "error": error.get("message"),
            "warning": " ".join(each["message"] for each in job.get("warnings") or []) or None,
        }
    )


def _stage(told: dict[str, Any] | None) -> str | None:
    return f"{told['stage']} of {told['stages']} of {told['id']}" if told else None


def _steer(job_id: str, verb: str, *, as_json: bool) -> None:
    show(Client.from_environment().post(f"{JOBS}/{job_id}/{verb}"), as_json=as_json)
