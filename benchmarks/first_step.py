"""From the upload of a file of chats to the first step of a training, through the whole stack.

    python benchmarks/first_step.py [--megabytes 64] [--turns 10] [--peer-megabytes 16] [--folder F]

Starts `privatune up` on a folder of its own, with the demo's base (SmolLM2-135M) and the rows of
`chat_rows`; uploads them through the openai package, asks for a job at once, as OpenAI's examples
do, and tells when each thing happened, until the job's first step is reported. Then the job is
cancelled.

Beside it, in the same run and on as many processes as there are cores, the peer: `datasets.map`
with transformers' `apply_chat_template`, tokens and nothing else, on the first rows alone; its time
for the whole file is by proportion. It reads from a plain file, without an upload, a check of any
kind, masks or encryption. Nothing else should run on the machine: times are by the clock.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
from chat_rows import write_rows
from openai import OpenAI
from rich.console import Console

from privatune.demo.memory import MemoryWatch
from privatune.demo.opening import MODEL, admit, find_weights
from privatune.demo.stack import Stack, running_stack

POLL = 0.5  # seconds
BATCH = 1  # a step of many long rows would take longer than what is measured


def main() -> None:
    options = _options()
    os.environ["PRIVATUNE_MAX_FILE_MB"] = str(options.megabytes * 2 + 16)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        rows = folder / "rows.jsonl"
        count = write_rows(rows, options.megabytes * 10**6, options.turns)
        size = rows.stat().st_size / 1e6
        print(f"{count} rows of {options.turns} turns, {size:.0f} MB, {psutil.cpu_count()} cores")
        with (
            MemoryWatch(folder / "data", every=10) as memory,
            running_stack(folder / "data", folder / "stack.log") as starting,
        ):
            ours = whole_way(starting.ready(), rows)
        print(f"memory of the whole stack, its most: {memory.peak_mb:.0f} MB (PSS)")
        part = folder / "part.jsonl"
        with rows.open("rb") as lines, part.open("wb") as first:
            first.writelines(islice(lines, count * options.peer_megabytes // options.megabytes))
        theirs = peer(part, folder) * size / (part.stat().st_size / 1e6)
    told = f"upload to first step {ours:.1f} s; datasets.map for the same rows {theirs:.1f} s"
    print(f"{told}: {theirs / ours:.2f}x the peer's speed")


def whole_way(stack: Stack, rows: Path) -> float:
    """Seconds from the upload's first byte until the first step is told."""
    access = admit(stack, find_weights(), Console(quiet=True))
    client = OpenAI(base_url=stack.base_url, api_key=access.api_key, timeout=3600)
    watch = Watch()
    with rows.open("rb") as content:
        file = client.files.create(file=content, purpose="fine-tune")
    watch.tell("uploaded, hashed, encrypted")
    job = client.fine_tuning.jobs.create(
        model=MODEL,
        training_file=file.id,
        seed=0,
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": BATCH}},
        },
        extra_body={"overflow": "drop"},
    )
    seen: set[str] = set()
    while True:
        for event in news(client, job.id, seen):
            if event.type == "metrics":
                total = watch.tell("first step")
                client.fine_tuning.jobs.cancel(job.id)
                return total
            watch.tell(event.message)
        state = client.fine_tuning.jobs.retrieve(job.id)
        if state.status == "failed":
            raise SystemExit(f"The job failed: {state.error and state.error.message}")
        time.sleep(POLL)


class Watch:
    """Seconds since the beginning, by the clock and by the processors of the whole machine."""

    def __init__(self) -> None:
        self._began, self._busy = time.monotonic(), _busy()

    def tell(self, what: str) -> float:
        seconds = time.monotonic() - self._began
        print(f"{seconds:8.1f} s {_busy() - self._busy:8.1f} s of processors  {what}", flush=True)
        return seconds


def _busy() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def news(client: OpenAI, job_id: str, seen: set[str]) -> Iterator[Any]:
    """Events not told before, oldest first."""
    listed = client.fine_tuning.jobs.list_events(job_id, limit=50).data
    for event in reversed(listed):
        if event.id not in seen:
            seen.add(event.id)
            yield event


def peer(rows: Path, folder: Path) -> float:
    """Seconds of `datasets.map` with the stock template on all cores."""
    from datasets import load_dataset
    from datasets.utils.logging import disable_progress_bar
    from transformers import AutoTokenizer

    base = next((folder / "data" / "models").glob("[0-9a-f]*"))
    tokenizer = AutoTokenizer.from_pretrained(base)
    began = time.monotonic()
    disable_progress_bar()
    loaded = load_dataset(
        "json", data_files=str(rows), split="train", cache_dir=str(folder / "cache")
    )
    loaded.map(
        lambda row: dict(tokenizer.apply_chat_template(row["messages"], return_dict=True)),
        num_proc=psutil.cpu_count(),
        remove_columns=loaded.column_names,
    )
    return time.monotonic() - began


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--peer-megabytes", type=int, default=16)
    parser.add_argument("--folder", type=Path, help="where the data goes: twelve times its size")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    main()
