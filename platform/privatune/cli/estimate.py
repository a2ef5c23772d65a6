"""`privatune estimate`: what a job would take; `privatune jobs estimate`: of one that is held."""

import time
from typing import Annotated, Any

import typer

from privatune.cli.brought import brought
from privatune.cli.client import Client
from privatune.cli.exits import Exit, Stop
from privatune.cli.output import AsJson, fail, notes, print_facts, print_json
from privatune.cli.progress import duration
from privatune.cli.wish import Wish, with_wish

ESTIMATES = "/api/v1/estimates"
POLL_SECONDS = 1.0
READY, FAILED = "ready", "failed"

Now = Annotated[
    bool, typer.Option("--now", help="Tell what is known already, and wait for no measurement.")
]


@with_wish
def estimate(wish: Wish, now: Now = False, as_json: AsJson = False) -> None:
    """Tell what a job would take: tokens, steps, time, memory, budget. Nothing is started.

    Takes the options of `jobs create`. Where nothing alike was measured, a worker tries a few steps
    first. Paths given for files are uploaded, and stay for the job.
    """
    client = Client.from_environment()
    with brought(client) as files:
        made = client.post(ESTIMATES, wish.body(files))
    show(client, f"{ESTIMATES}/{made['id']}", now=now, as_json=as_json)


def show(client: Client, address: str, *, now: bool, as_json: bool) -> None:
    """Ends with exit code 1 where there is no estimate."""
    found: dict[str, Any] = client.get(address)
    told = ""
    while not now and found["status"] not in (READY, FAILED):
        if found["status"] != told and not as_json:
            told = found["status"]
            notes().print(WAITS[told])
        time.sleep(POLL_SECONDS)
        found = client.get(address)
    if as_json:
        print_json(found)
    else:
        print_facts(facts(found))
    if found["status"] == FAILED:
        error = found["error"] or {}
        message, fix = error.get("message") or "There is no estimate.", error.get("fix")
        code = error.get("code") or "estimate_failed"
        fail(Stop(Exit.FAILED, message, code=code, fix=fix), as_json=as_json)


WAITS = {
    "reading": "The files are being read for the model ...",
    "measuring": "Nothing alike was measured yet: a worker tries a few steps ...",
}


def facts(found: dict[str, Any]) -> dict[str, Any]:
    licence, measured = found["licence"] or {}, found["measured"] or {}
    errors = measured.get("off_by") or {}
    return {
        "id": found["id"],
        "job": found["job"],
        "status": found["status"],
        **{file["use"]: _file(file) for file in found["files"]},
        "epochs": (found["hyperparameters"] or {}).get("n_epochs"),
        "rows a step": (found["hyperparameters"] or {}).get("batch_size"),
        "trained tokens": found["trained_tokens"],
        "of it learning curve": _curve(found.get("learning_curve")),
        "steps": found["steps"],
        "time": _with(errors.get("seconds"), found["seconds"], duration),
        "of it training": _with(
            errors.get("training_seconds"), found["training_seconds"], duration
        ),
        "of it grading": _grading(found.get("grading")),
        "peak memory": _with(
            errors.get("peak_memory_mb"), found["peak_memory_mb"], lambda mb: f"{mb} MB"
        ),
        "measured on": measured.get("place"),
        "licence": _licence(licence) if licence else None,
    }


def _file(file: dict[str, Any]) -> str:
    return (
        f"{file['file']}: {file['rows']} rows, {file['tokens']} tokens, "
        f"{file['trained_tokens']} trained in each epoch"
    )


def _curve(found: dict[str, Any] | None) -> str | None:
    if found is None:
        return None
    rows = ", ".join(map(str, found["rows"]))
    time = "" if found["seconds"] is None else f", {duration(found['seconds'])}"
    return f"{found['trained_tokens']} tokens{time} (trainings on {rows} rows)"


def _grading(found: dict[str, Any] | None) -> str | None:
    if found is None:
        return None
    time = "" if found["seconds"] is None else f"{duration(found['seconds'])}, "
    by = f" by {', '.join(found['judges'])}" if found["judges"] else ""
    assumed = ", assumed: not measured" if found["assumed"] else ""
    return f"{time}{found['answers']} answers{by}{assumed}"


def _with(spread: dict[str, float] | None, value: Any, words: Any) -> str | None:
    """With how far off such estimates were."""
    if value is None:
        return None
    if spread is None:
        return str(words(value))
    return f"{words(value)} (off by {spread['median']:.0%}, 9 of 10 by at most {spread['p90']:.0%})"


def _licence(licence: dict[str, Any]) -> str:
    if licence["tokens_left"] is None:
        return "without limit"
    enough = "" if licence["enough"] else ": not enough"
    return (
        f"{licence['tokens_left']} tokens left, {licence['promised']} promised to other jobs, "
        f"{licence['tokens_left_after']} left after this{enough}"
    )


def receipt(found: dict[str, Any] | None) -> dict[str, Any]:
    """Lines of a job that has ended, beside what was expected of it."""
    if not found:
        return {}
    took, expected = found["took"], found["expected"] or {}

    def line(name: str, words: Any) -> str | None:
        if took.get(name) is None:
            return None
        wanted = expected.get(name)
        return f"{words(took[name])}" + (f" ({words(wanted)} expected)" if wanted else "")

    return {
        "took": line("seconds", duration),
        "training took": line("training_seconds", duration),
        "grading took": line("grading_seconds", duration),
        "peak memory": line("peak_memory_mb", lambda mb: f"{mb} MB"),
    }
