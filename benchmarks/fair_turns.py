"""How long one tenant's single token takes while another's flood of answers is written.

    python benchmarks/fair_turns.py BASE_DIR [--requests 8] [--n 64] [--tokens 200] [--rounds 3]

Seconds by the clock from the request to its first token, on one thread, the median of the rounds:
with the model to itself, beside the flood of another tenant, and behind its own flood, which is
what one queue for all would give everybody. Nothing else should run beside it.
"""

import argparse
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults import Fault
from finetune.serving.bases import Base, load_base
from finetune.serving.lane import Limits
from finetune.serving.protocol import Delta, GenerateRequest
from finetune.serving.scheduler import Scheduler
from finetune.serving.ticket import Ticket, encode_prompt

WAYS = {"alone": "", "beside another tenant's flood": "noisy", "behind its own flood": "quiet"}


def main() -> None:
    options = _options()
    base = load_base(options.base, "bench", "auto")
    first_token(base, "", options)  # warms up
    for way, flooding in WAYS.items():
        took = [first_token(base, flooding, options) for _ in range(options.rounds)]
        print(f"{way:32} {statistics.median(took):8.2f} s")


def first_token(base: Base, flooding: str, options: argparse.Namespace) -> float:
    """Of the tenant `quiet`, while the tenant `flooding` (empty: nobody) is being answered."""
    scheduler = Scheduler(Limits(), max_waiting=1 << 20, tenant_waiting=1 << 20, threads=1)
    scheduler.start()
    try:
        running = threading.Event()
        for seed in range(options.requests if flooding else 0):
            fields = {"n": options.n, "max_tokens": options.tokens, "seed": seed}
            _submit(scheduler, base, flooding, lambda _: running.set(), **fields)
        if flooding:
            running.wait()
        came = threading.Event()
        began = time.perf_counter()
        _submit(scheduler, base, "quiet", lambda _: came.set(), max_tokens=1)
        came.wait()
        return time.perf_counter() - began
    finally:
        scheduler.stop()


def _submit(
    scheduler: Scheduler,
    base: Base,
    tenant: str,
    emit: Callable[[Delta | Fault], None],
    **fields: Any,
) -> None:
    request = GenerateRequest(
        tenant=tenant,
        base_path="-",
        base_digest="-",
        messages=[{"role": "user", "content": "Write a long text about rivers."}],
        **fields,
    )
    scheduler.submit(Ticket(request, base, None, encode_prompt(base, request), emit))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("--requests", type=int, default=8)
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
