"""Tokens a second with and without a constraint, and how many of a suite's schemas are honoured.

`python benchmarks/serve_structured.py BASE_DIR [--requests 8] [--tokens 64] [--rounds 3]` prints
the rate of answers held to a schema over that of the same model's free answers: per second of
processor time on one thread, the best of the rounds, with as many tokens in both. `--suite DIR`
takes the JSON-Schema-Test-Suite's `tests/draft2020-12`: each schema is refused by its place, or
answered and the answer checked by a validator, and none of the suite's invalid instances can be
answered.
"""

import argparse
import json
import threading
from collections import Counter
from pathlib import Path
from time import process_time
from typing import Any

import jsonschema_rs

from faults import UserFault
from finetune.serving.bases import Base, load_base
from finetune.serving.lane import Limits
from finetune.serving.protocol import GenerateRequest
from finetune.serving.scheduler import Scheduler
from finetune.serving.structured.asked import constraint_of
from finetune.serving.ticket import Ticket, encode_prompt

TEXT = {"type": "string", "minLength": 400}
FORM = {
    "type": "object",
    "properties": {"title": TEXT, "tags": {"type": "array", "items": {"type": "string"}}},
    "required": ["title", "tags"],
    "additionalProperties": False,
}


def request(schema: Any, tokens: int, **more: Any) -> GenerateRequest:
    form = None if schema is None else {"json_schema": schema, "place": "schema"}
    asked = {"tenant": "bench", "base_path": "-", "base_digest": "-", "max_tokens": tokens}
    return GenerateRequest.model_validate(asked | {"prompt": "Write JSON: ", "form": form} | more)


def answer(base: Base, asked: list[GenerateRequest]) -> tuple[list[str], list[Ticket], float]:
    """The texts, and the processor seconds that they took together without their compiling."""
    texts: list[list[str]] = [[] for _ in asked]
    done = threading.Semaphore(0)
    tickets = []
    for number, each in enumerate(asked):

        def emit(item: Any, number: int = number) -> None:
            if isinstance(item, Exception) or item.usage is not None:
                done.release()
            if not isinstance(item, Exception):
                texts[number].append(item.text)

        prompt = encode_prompt(base, each)
        tickets.append(Ticket(each, base, None, prompt, emit, constraint_of(base, each)))
    scheduler = Scheduler(Limits(), threads=1)
    for ticket in tickets:
        scheduler.submit(ticket)
    begun = process_time()
    scheduler.start()
    for _ in asked:
        done.acquire()
    scheduler.stop()
    return ["".join(text) for text in texts], tickets, process_time() - begun


def rate(base: Base, schema: Any, options: argparse.Namespace) -> float:
    best = 0.0
    for _ in range(options.rounds):
        asked = [
            request(schema, options.tokens, seed=i, logit_bias=_endless(base))
            for i in range(options.requests)
        ]
        _, tickets, seconds = answer(base, asked)
        written = sum(choice.generated for ticket in tickets for choice in ticket.choices)
        best = max(best, written / seconds)
    return best


def _endless(base: Base) -> dict[int, float]:
    """Free answers end when they like; with this both kinds write all that they may."""
    return dict.fromkeys(base.stop_ids, -100.0)


def suite(base: Base, folder: Path, tokens: int) -> Counter[str]:
    told: Counter[str] = Counter()
    for file in sorted(folder.glob("*.json")):
        for case in json.loads(file.read_text()):
            told[_case(base, case, tokens, file.stem)] += 1
            told.update(_instances(base, case, file.stem))
    return told


def _instances(base: Base, case: dict[str, Any], name: str) -> Counter[str]:
    """How many of the suite's own instances a model that is held to the schema could answer."""
    told: Counter[str] = Counter()
    if not isinstance(case["schema"], dict):
        return told
    try:
        constraint = constraint_of(base, request(case["schema"], 1))
    except UserFault:
        return told
    for test in case["tests"]:
        taken = any(_takes(base, constraint, text) for text in _texts(test["data"]))
        told[f"{'in' * (not test['valid'])}valid instances{'' if taken else ' not'} taken"] += 1
        if taken and not test["valid"]:
            print(f"NOT HONOURED {name}: {case['description']}: {test['data']!r}")
    return told


def _texts(value: Any) -> list[str]:
    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return [json.dumps(value), compact, json.dumps(value, indent=1)]


def _takes(base: Base, constraint: Any, text: str) -> bool:
    matcher = constraint.fork()._matcher
    tokens = base.tokenizer.encode(text, add_special_tokens=False)
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


def _case(base: Base, case: dict[str, Any], tokens: int, name: str) -> str:
    asked = request(case["schema"], tokens, seed=1) if isinstance(case["schema"], dict) else None
    if asked is None:
        return "no object"
    try:
        (text,), (ticket,), _ = answer(base, [asked])
    except UserFault as fault:
        return f"refused ({fault.code})"
    if not ticket.choices[0].finished or ticket.choices[0].generated >= tokens:
        return "cut off by max_tokens"
    try:
        jsonschema_rs.Draft202012Validator(case["schema"]).validate(
            json.loads(text, parse_float=_finite)
        )
    except (ValueError, jsonschema_rs.ValidationError):
        print(f"NOT HONOURED {name}: {case['description']}: {text!r}")
        return "not honoured"
    return "honoured"


def _finite(text: str) -> float:
    """JSON knows no largest number, and the validator knows no infinity."""
    return max(-1e308, min(1e308, float(text)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("--requests", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--suite", type=Path)
    options = parser.parse_args()
    known = options.base / "base.json"
    digest = json.loads(known.read_bytes())["digest"] if known.is_file() else "-"
    base = load_base(options.base, digest)
    if options.suite:
        for what, count in suite(base, options.suite, options.tokens).most_common():
            print(f"{count:5} {what}")
        return
    free, held = rate(base, None, options), rate(base, FORM, options)
    print(f"free {free:.1f} tokens/s, held {held:.1f} tokens/s, ratio {held / free:.3f}")


if __name__ == "__main__":
    main()
