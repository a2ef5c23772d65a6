"""Follow a job to its end: its events as they come, its figures on a live bar."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from finetune.states import FINAL_JOB_STATES, JobState
from privatune.cli.client import Client
from privatune.cli.exits import Exit, Stop
from privatune.cli.output import fail, notes, print_json, when
from privatune.cli.progress import JobBar
from privatune.cli.visible import visible

JOBS = "/v1/fine_tuning/jobs"
POLL_SECONDS = 1.0
PATIENCE_SECONDS = 120.0  # a server that restarts is back by then


def watch(client: Client, job_id: str, *, as_json: bool) -> dict[str, Any]:
    """The job when it has ended. Outlives a server's restart of up to two minutes."""
    newest: str | None = None
    with JobBar(job_id) as bar, going_on(job_id):
        while True:
            job = _patiently(lambda: client.get(f"{JOBS}/{job_id}"), bar)
            bar.state((job.get("phase") or {}).get("message") or job["status"])
            for event in _patiently(lambda after=newest: _news(client, job_id, after), bar):
                newest = event["id"]
                _tell(event, bar, as_json=as_json)
            if job["status"] in FINAL_JOB_STATES:
                return dict(job)
            time.sleep(POLL_SECONDS)


def tell_events(client: Client, job_id: str, *, follow: bool, as_json: bool) -> dict[str, Any]:
    """Every event on standard output, oldest first; the job as it is then."""
    newest: str | None = None
    with going_on(job_id):
        while True:
            job: dict[str, Any] = client.get(f"{JOBS}/{job_id}")
            for event in _news(client, job_id, newest):
                newest = event["id"]
                _show(event, as_json=as_json)
            if not follow or job["status"] in FINAL_JOB_STATES:
                return job
            time.sleep(POLL_SECONDS)


@contextmanager
def going_on(job_id: str) -> Iterator[None]:
    """Ctrl-C ends the looking on, and says what it does not end."""
    try:
        yield
    except KeyboardInterrupt:
        notes().print(
            f"{job_id} goes on in the server. `privatune jobs watch {job_id}` looks on again, "
            f"`privatune jobs cancel {job_id}` ends it.",
            soft_wrap=True,
        )
        raise


def _show(event: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        return print_json(event)
    told = visible(event["message"])
    sys.stdout.write(f"{when(event['created_at'])}  {event['level']:5}  {told}\n")
    sys.stdout.flush()
    return None


def ended(job: dict[str, Any], *, as_json: bool) -> None:
    """Ends the command with exit code 1 unless the job succeeded."""
    if job["status"] == JobState.SUCCEEDED:
        return
    error = job.get("error") or {}
    stop = Stop(
        Exit.FAILED,
        error.get("message") or f"{job['id']} is {job['status']}.",
        code=error.get("code") or f"job_{job['status']}",
        fix=error.get("fix"),
        param=error.get("param"),
    )
    fail(stop, as_json=as_json)


def _news(client: Client, job_id: str, newest: str | None) -> list[dict[str, Any]]:
    """Events since `newest`, oldest first; the server lists the newest first."""
    fresh = []
    for event in _events(client, job_id):
        if event["id"] == newest:
            break
        fresh.append(event)
    return fresh[::-1]


def _events(client: Client, job_id: str) -> Iterator[dict[str, Any]]:
    return client.pages(f"{JOBS}/{job_id}/events", limit=10_000)


def _tell(event: dict[str, Any], bar: JobBar, *, as_json: bool) -> None:
    if as_json:
        print_json(event)
    if event.get("type") == "metrics":
        bar.metrics(event.get("data") or {})
    else:
        bar.say(event["message"])


def _patiently(ask: Any, bar: JobBar) -> Any:
    ends = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return ask()
        except Stop as stop:
            if stop.exit_code is not Exit.UNAVAILABLE or time.monotonic() > ends:
                raise
            bar.state("the server does not answer; asking again")
            time.sleep(POLL_SECONDS)
