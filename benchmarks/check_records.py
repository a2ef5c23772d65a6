"""How fast the check is: rows a second against what people do today, on the same file.

Run `python benchmarks/check_records.py [--rows 50000] [--rounds 5]`. The peers are `datasets`
loading the file (no validation at all) and the loop of OpenAI's cookbook "Data preparation and
analysis for chat model fine-tuning" (json.loads of each line and its format checks, no tokens).
They take turns in every round; the figures are medians of processor time, children included, which
a busy machine changes little. The check also writes canonical rows and digests.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from finetune.records.check.run import run_check
from finetune.records.check.spec import CheckSpec


def write_rows(path: Path, rows: int) -> None:
    """Commands for a home and the answer as JSON, about 280 bytes a row."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            answer = {"intent": "HassTurnOn", "slots": {"name": "light", "area": str(number)}}
            talk = [
                {"role": "system", "content": "You steer a home. Answer with one JSON call."},
                {"role": "user", "content": f"turn on light {number} in the living room please"},
                {"role": "assistant", "content": json.dumps(answer)},
            ]
            file.write(json.dumps({"messages": talk}) + "\n")


def cookbook(path: Path) -> int:
    """The cookbook's format check, shortened to what it does with a good file."""
    with path.open(encoding="utf-8") as file:
        dataset = [json.loads(line) for line in file]
    errors: dict[str, int] = defaultdict(int)
    known = ("role", "content", "name", "function_call", "weight")
    for row in dataset:
        messages = row.get("messages", None) if isinstance(row, dict) else None
        if not messages:
            errors["missing_messages_list"] += 1
            continue
        for message in messages:
            if "role" not in message or "content" not in message:
                errors["message_missing_key"] += 1
            if any(key not in known for key in message):
                errors["message_unrecognized_key"] += 1
            if message.get("role") not in ("system", "user", "assistant", "function"):
                errors["unrecognized_role"] += 1
            content = message.get("content")
            if (not content and not message.get("function_call")) or not isinstance(content, str):
                errors["missing_content"] += 1
        if not any(message.get("role") == "assistant" for message in messages):
            errors["example_missing_assistant_message"] += 1
    assert not errors
    return len(dataset)


def hub_datasets(path: Path, cache: Path) -> int:
    import datasets

    datasets.disable_progress_bars()
    loaded = datasets.load_dataset(
        "json",
        data_files=str(path),
        split="train",
        cache_dir=str(cache),
        download_mode="force_redownload",
    )
    return len(loaded)


def check(path: Path, out: Path, tokenizer_dir: Path | None) -> int:
    spec = CheckSpec(source=path, source_name=path.name, tokenizer_dir=tokenizer_dir)
    report = run_check(spec, out, lambda read, rows: None)
    assert report.ok, report.problem_counts
    return report.rows


def processor_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--base", type=Path, help="a base's folder: count tokens too")
    told = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "rows.jsonl", Path(folder) / "out"
        out.mkdir()
        write_rows(path, told.rows)
        ways: dict[str, Callable[[], int]] = {
            "datasets, no validation": lambda: hub_datasets(path, Path(folder) / "cache"),
            "OpenAI cookbook loop": lambda: cookbook(path),
            "check, structure": lambda: check(path, out, None),
        }
        if told.base:
            ways["check, with tokens"] = lambda: check(path, out, told.base)
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for way in ways.values():
            way()  # imports and caches
        for _ in range(told.rounds):
            for name, way in ways.items():
                before = processor_seconds()
                assert way() == told.rows
                spent[name].append(processor_seconds() - before)
    structure = statistics.median(spent["check, structure"])
    for name, seconds in spent.items():
        median = statistics.median(seconds)
        ratio = f"{median / structure:5.2f}x the time of `check, structure`"
        print(f"{name:24} {told.rows / median:10.0f} rows/s  {ratio}")


if __name__ == "__main__":
    main()
