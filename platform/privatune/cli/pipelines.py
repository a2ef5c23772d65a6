"""`privatune pipelines`: train in stages, each on the result of the one before."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from privatune.cli.brought import Brought, brought
from privatune.cli.client import Client
from privatune.cli.exits import Exit, Stop
from privatune.cli.lists import Columns, Limit, show_list
from privatune.cli.output import AsJson, moment, notes, print_facts, print_json, print_table
from tenants import public_ids

app = typer.Typer(no_args_is_help=True, help="Train in stages: create, watch and steer them.")

PIPELINES = "/api/v1/pipelines"
POLL_SECONDS = 2.0
ENDED = {"succeeded", "failed", "cancelled"}
PipelineId = Annotated[str, typer.Argument(help=f"The pipeline's id, like {public_ids.PIPELINE}")]

COLUMNS: Columns = {
    "ID": "id",
    "NAME": "name",
    "STATUS": "status",
    "MODEL": "model",
    "CREATED": lambda pipeline: moment(pipeline["created_at"]),
}


@app.command("create")
def create_pipeline(
    plan: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="A JSON file as the API takes it: `model`, and `stages` in their order. A stage's "
            "files are ids, or paths to upload, from the plan's folder.",
        ),
    ],
    hold: Annotated[
        bool, typer.Option("--hold", help="Read all files and do not start; `resume` does.")
    ] = False,
    watching: Annotated[
        bool, typer.Option("--watch", help="Stay and watch it to its end.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start stages of training, or with --hold make them ready to start."""
    body = _plan(plan)
    client = Client.from_environment()
    with brought(client) as files:
        for stage in body["stages"]:
            _bring(stage, files, plan.parent)
        pipeline = client.post(PIPELINES, body | ({"auto_start": False} if hold else {}))
    if watching and not hold:
        pipeline = _watched(client, pipeline)
    show(pipeline, as_json=as_json)


@app.command("list")
def list_pipelines(limit: Limit = 20, as_json: AsJson = False) -> None:
    """List the tenant's pipelines."""
    pipelines = Client.from_environment().pages(PIPELINES, limit=limit)
    show_list(pipelines, COLUMNS, as_json=as_json)


@app.command("get")
def get_pipeline(pipeline_id: PipelineId, as_json: AsJson = False) -> None:
    """Show a pipeline's stages, and what they take."""
    show(Client.from_environment().get(f"{PIPELINES}/{pipeline_id}"), as_json=as_json)


@app.command("watch")
def watch_pipeline(pipeline_id: PipelineId, as_json: AsJson = False) -> None:
    """Watch a pipeline to its end, or until it waits for approval; exit code 1 if it failed."""
    client = Client.from_environment()
    pipeline = _watched(client, client.get(f"{PIPELINES}/{pipeline_id}"))
    show(pipeline, as_json=as_json)
    if pipeline["status"] in ("failed", "cancelled"):
        raise typer.Exit(Exit.FAILED)


@app.command("approve")
def approve_pipeline(pipeline_id: PipelineId, as_json: AsJson = False) -> None:
    """Say yes to the stage that waits for it, so that the next begins."""
    _steer(pipeline_id, "approve", as_json=as_json)


@app.command("cancel")
def cancel_pipeline(pipeline_id: PipelineId, as_json: AsJson = False) -> None:
    """Stop a pipeline with the job that is under way; results of stages before it stay."""
    _steer(pipeline_id, "cancel", as_json=as_json)


@app.command("pause")
def pause_pipeline(pipeline_id: PipelineId, as_json: AsJson = False) -> None:
    """Pause a pipeline: a job stops at its next checkpoint, no other begins."""
    _steer(pipeline_id, "pause", as_json=as_json)


@app.command("resume")
def resume_pipeline(pipeline_id: PipelineId, as_json: AsJson = False) -> None:
    """Go on with a paused pipeline, or start one that is held."""
    _steer(pipeline_id, "resume", as_json=as_json)


@app.command("retry")
def retry_pipeline(pipeline_id: PipelineId, as_json: AsJson = False) -> None:
    """Try a failed pipeline again from the stage that ended it."""
    _steer(pipeline_id, "retry", as_json=as_json)


def show(pipeline: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(pipeline)
        return
    estimate, error = pipeline["estimate"], pipeline.get("error") or {}
    print_facts(
        {
            "id": pipeline["id"],
            "status": pipeline["status"],
            "model": pipeline["model"],
            "fine-tuned model": pipeline["fine_tuned_model"],
            "trained tokens": estimate["trained_tokens"],
            "seconds expected": estimate["seconds"],
            "memory expected": _megabytes(estimate["peak_memory_mb"]),
            "created": moment(pipeline["created_at"]),
            "error": " ".join(filter(None, (error.get("message"), error.get("fix")))) or None,
        }
    )
    heads = ["STAGE", "METHOD", "STATUS", "JOB", "LOSS BEFORE", "AFTER", "GATE", "MODEL"]
    print_table(heads, [_row(stage) for stage in pipeline["stages"]])


def _megabytes(told: int | None) -> str | None:
    return None if told is None else f"{told:,} MB"


def _row(stage: dict[str, Any]) -> list[Any]:
    losses = [stage["start_valid_loss"], stage["valid_loss"]]
    return [
        stage["number"], _method(stage), stage["status"], stage["job"] or "",
        *("" if loss is None else f"{loss:.4f}" for loss in losses),
        stage["gate"], stage["fine_tuned_model"] or "",
    ]  # fmt: skip


def _method(stage: dict[str, Any]) -> str:
    """With the models that reward in it."""
    judges = ", ".join(stage.get("judges") or [])
    return f"{stage['method']} ({judges})" if judges else str(stage["method"])


def _plan(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _no_plan(path, f"it is not JSON ({error})") from error
    stages = body.get("stages") if isinstance(body, dict) else None
    if not isinstance(stages, list) or not all(isinstance(each, dict) for each in stages):
        raise _no_plan(path, "it is no object with a list `stages` of objects")
    return dict(body)


def _no_plan(path: Path, why: str) -> Stop:
    return Stop(
        Exit.USAGE,
        f"{path} is no plan of a pipeline: {why}.",
        code="no_plan",
        fix="docs/how-to/pipelines.md shows one.",
    )


def _bring(stage: dict[str, Any], files: Brought, folder: Path) -> None:
    for name in ("training_file", "validation_file"):
        said = stage.get(name)
        if isinstance(said, str):
            beside = folder / said
            stage[name] = files.file_id(str(beside) if beside.is_file() else said)


def _watched(client: Client, pipeline: dict[str, Any]) -> dict[str, Any]:
    """Says each step as it comes."""
    said: list[Any] = []
    while True:
        now = [pipeline["status"], [stage["status"] for stage in pipeline["stages"]]]
        if now != said:
            steps = ", ".join(f"{at}: {each}" for at, each in enumerate(now[1], 1))
            notes().print(f"{pipeline['id']} {now[0]} ({steps})", soft_wrap=True)
            said = now
        if pipeline["status"] in ENDED or pipeline["status"] == "awaiting_approval":
            return pipeline
        time.sleep(POLL_SECONDS)
        pipeline = client.get(f"{PIPELINES}/{pipeline['id']}")


def _steer(pipeline_id: str, verb: str, *, as_json: bool) -> None:
    address = f"{PIPELINES}/{pipeline_id}/{verb}"
    show(Client.from_environment().post(address), as_json=as_json)
