"""The whole main job on real input, over HTTP, from licence to answer; then everything stops.

Read `run` from top to bottom: it is the way of the data.
"""

import time
from pathlib import Path

from openai import OpenAI
from rich.console import Console

from finetune.grading.scores import Verdict
from privatune.cli.client import Client
from privatune.demo import plans, training
from privatune.demo.asking import ask
from privatune.demo.choosing import make_plan
from privatune.demo.commands import write_rows
from privatune.demo.memory import MemoryWatch
from privatune.demo.opening import MODEL, admit, draw, find_weights
from privatune.demo.report import Marked, Report, figures, gain, side_by_side
from privatune.demo.stack import DemoFailed, clear, running_stack
from privatune.demo.taking import take_away, verify

SHOTS = 3  # examples in a few-shot prompt: the first training rows, as they come


def run(folder: Path, console: Console) -> Report:
    """`folder` gets the data, the log, the artifact and report.json. Raises DemoFailed."""
    began = time.monotonic()
    plans.forced()  # a name that is none is told before anything is started
    weights = find_weights()
    clear(folder / "data")
    with (
        MemoryWatch(folder / "data") as memory,
        running_stack(folder / "data", folder / "stack.log") as starting,
    ):
        console.rule("The stack starts; meanwhile the rows are drawn")
        rows, stack = draw(starting, console)

        console.rule("A tenant, a base model, a licence")
        access = admit(stack, weights, console)
        openai = OpenAI(base_url=stack.base_url, api_key=access.api_key)
        own = Client(stack.base_url, access.api_key)

        console.rule("How fast is this machine?")
        plan, base_answers = make_plan(
            openai,
            stack.base_folder(access.base_digest),
            rows,
            folder,
            console,
            spent=lambda: time.monotonic() - began,
        )
        heldout = rows.heldout[: plan.questions]

        console.rule("What one would try first: the base as it is, and with examples in its prompt")
        base_answers += ask(openai, MODEL, heldout[len(base_answers.texts) :], console, who="base")
        shown = rows.train[:SHOTS]
        few_shot = ask(openai, MODEL, heldout, console, who="few-shot", examples=shown)

        console.rule("Upload and validation")
        write_rows(folder / "train.jsonl", rows.train[: plan.rows])
        write_rows(folder / "heldout.jsonl", heldout)
        train_file = training.upload(openai, folder / "train.jsonl", console)
        heldout_file = training.upload(openai, folder / "heldout.jsonl", console)
        training.show_validation(own, (train_file, heldout_file), console)

        console.rule("Fine-tune")
        job = training.train(
            openai, plan, model=MODEL, train_id=train_file.id, heldout_id=heldout_file.id
        )
        job = training.watch(openai, job, console)
        tuned_model = str(job.fine_tuned_model)
        console.print(f"made {tuned_model}")

        console.rule("The signed artifact, verified offline")
        artifact, path = take_away(own, job.id, folder)
        verified = verify(path, folder / "signing-key.pem", console)
        console.print(f"{path}: every file is as it was signed", soft_wrap=True)

        console.rule("The tuned model answers the same held-out questions")
        tuned_answers = ask(openai, tuned_model, heldout, console, who="tuned")
    base = Marked.of("base", base_answers.texts, heldout)
    prompted = Marked.of(f"base with {SHOTS} examples", few_shot.texts, heldout)
    tuned = Marked.of("tuned", tuned_answers.texts, heldout)
    evaluation = artifact["passport"]["evaluation"]
    report = Report(
        plan=plan.name,
        base_accuracy=base.exact.accuracy,
        few_shot_accuracy=prompted.exact.accuracy,
        tuned_accuracy=tuned.exact.accuracy,
        interval=tuned.exact.interval,
        over_base=gain(base, tuned),
        over_few_shot=gain(prompted, tuned),
        heldout_rows=len(heldout),
        base_loss=evaluation["base_validation_loss"],
        tuned_loss=evaluation["validation_loss"],
        verified=verified,
        artifact=str(path),
        seconds=round(time.monotonic() - began, 1),
        peak_memory_mb=round(memory.peak_mb),
    )
    report.write(folder / "report.json")
    marked = (base, prompted, tuned)
    side_by_side(console, heldout, marked)
    figures(console, report, marked)
    for found, other in ((report.over_base, base), (report.over_few_shot, prompted)):
        if found.verdict != Verdict.BETTER:
            raise DemoFailed(f"Tuned against {other.name}: {found.verdict}.")
    return report
