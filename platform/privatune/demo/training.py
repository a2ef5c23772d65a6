"""The demo's fine-tune, through the unmodified openai package: upload, create, watch."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openai import OpenAI
from openai.types import FileObject
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from rich.console import Console

from finetune.purposes import Purpose
from finetune.states import FINAL_JOB_STATES, JobState
from privatune.cli.client import Client
from privatune.cli.progress import JobBar
from privatune.demo.phases import Phase
from privatune.demo.plans import Plan
from privatune.demo.stack import DemoFailed
from tenants.states import FileStatus

ADAPTER = {"r": 16, "alpha": 32}


def upload(client: OpenAI, path: Path, console: Console) -> FileObject:
    """Uploads and waits for the server's check of every row."""
    with Phase(console, lambda: f"{path.name}: the server checks every row"):
        with path.open("rb") as content:
            file = client.files.create(file=content, purpose=Purpose.TRAINING.value)
        file = client.files.wait_for_processing(file.id, poll_interval=0.5)
    if FileStatus(file.status) != FileStatus.PROCESSED:
        raise DemoFailed(f"{path.name} did not pass its check: {file.status_details}")
    return file


def show_validation(own: Client, files: Sequence[FileObject], console: Console) -> None:
    """What the server's check of each file found."""
    readings = {reading["file"]: reading for reading in own.pages("/api/v1/datasets", limit=100)}
    for file in files:
        reading = readings[file.id]
        found = reading["report"]
        console.print(
            f"{file.filename}: usable rows {found['rows_usable']} of {found['rows']} "
            f"({found['format']}), errors {found['errors']}, warnings {found['warnings']}, "
            f"duplicates {found['duplicates']}"
        )


def train(
    client: OpenAI, plan: Plan, *, model: str, train_id: str, heldout_id: str
) -> FineTuningJob:
    return client.fine_tuning.jobs.create(
        model=model,
        training_file=train_id,
        validation_file=heldout_id,
        suffix="home",
        seed=0,
        method={
            "type": "supervised",
            "supervised": {
                "hyperparameters": {
                    "n_epochs": plan.epochs,
                    "batch_size": plan.batch_rows,
                    "learning_rate_multiplier": plan.learning_rate_multiplier,
                }
            },
        },
        extra_body={"adapter": ADAPTER},
    )


def watch(client: OpenAI, job: FineTuningJob, console: Console) -> FineTuningJob:
    """Shows events and figures until the job ends. Raises DemoFailed unless it succeeded."""
    newest: str | None = None
    with JobBar("training", console) as bar:
        while job.status not in FINAL_JOB_STATES:
            time.sleep(1)
            job = client.fine_tuning.jobs.retrieve(job.id)
            bar.state(job.status)
            for event in _news(client, job.id, newest):
                newest = event.id
                _tell(event, bar)
    if JobState(job.status) != JobState.SUCCEEDED:
        raise DemoFailed(f"The job {job.status}: {job.error.message if job.error else ''}")
    return job


def _news(client: OpenAI, job_id: str, newest: str | None) -> list[FineTuningJobEvent]:
    """Events since `newest`, oldest first; the API lists the newest first."""
    fresh = []
    for event in client.fine_tuning.jobs.list_events(job_id, limit=100):
        if event.id == newest:
            break
        fresh.append(event)
    return fresh[::-1]


def _tell(event: FineTuningJobEvent, bar: JobBar) -> None:
    if event.type == "metrics":
        data: Any = event.data or {}
        bar.metrics(data)
    else:
        bar.say(event.message)
