"""Tokens a second of the model server's engine against `transformers.generate` one after another.

`python benchmarks/serve_batch.py BASE_DIR [--requests 8] [--tokens 32] [--rounds 3]`. Rates are per
second of processor time on one thread, the best of the rounds, so that a busy machine does not
decide the outcome. Adapters are random LoRA, r 16, on every linear layer.
"""

import argparse
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save

from finetune.families.contract import ReadAdapter
from finetune.serving.bases import Base, load_base
from finetune.serving.lane import Limits
from finetune.serving.protocol import GenerateRequest
from finetune.serving.scheduler import Scheduler
from finetune.serving.ticket import Ticket, encode_prompt

TOPICS = ["rain", "tea", "iron", "maps", "chess", "owls", "bread", "rivers"]


def transformers_model(base: Base) -> Any:
    resident: Any = base.model
    return resident.model


def requests(count: int, tokens: int) -> list[GenerateRequest]:
    texts = [f"Write a long text about {TOPICS[i % 8]}, part {i}." for i in range(count)]
    return [
        GenerateRequest(
            tenant="bench",
            base_path="-",
            base_digest="-",
            temperature=0,
            max_tokens=tokens,
            messages=[{"role": "user", "content": text}],
        )
        for text in texts
    ]


def engine(base: Base, asked: list[GenerateRequest], adapters: list[ReadAdapter | None]) -> int:
    """Answer all together through the scheduler; the number of tokens written."""
    scheduler = Scheduler(Limits(), threads=1)
    done = threading.Semaphore(0)
    tickets = []
    for request, adapter in zip(asked, adapters, strict=True):
        ticket = Ticket(request, base, adapter, encode_prompt(base, request), _listener(done))
        tickets.append(ticket)
        scheduler.submit(ticket)
    scheduler.start()
    for _ in asked:
        done.acquire()
    scheduler.stop()
    return sum(choice.generated for ticket in tickets for choice in ticket.choices)


def _listener(done: threading.Semaphore) -> Callable[[Any], None]:
    def emit(item: Any) -> None:
        if isinstance(item, Exception):
            raise item
        if item.usage is not None:
            done.release()

    return emit


def generate(base: Base, asked: list[GenerateRequest]) -> int:
    """transformers.generate, one request after the other."""
    written = 0
    for request in asked:
        prompt = torch.tensor([encode_prompt(base, request)])
        output = transformers_model(base).generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=request.max_tokens,
            do_sample=False,
            eos_token_id=sorted(base.stop_ids),
        )
        written += output.shape[1] - prompt.shape[1]
    return written


def peft_mixed(base: Base, model: Any, asked: list[GenerateRequest], names: list[str]) -> int:
    """One left-padded batch through peft's `adapter_names`."""
    prompts = [encode_prompt(base, request) for request in asked]
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    output = model.generate(
        input_ids=ids,
        attention_mask=mask,
        adapter_names=names,
        max_new_tokens=asked[0].max_tokens,
        do_sample=False,
        eos_token_id=sorted(base.stop_ids),
        pad_token_id=sorted(base.stop_ids)[0],
    )
    return int((output[:, width:] != sorted(base.stop_ids)[0]).sum())


def peft_with(path: Path, count: int) -> tuple[Any, list[tuple[bytes, dict[str, Any]]]]:
    """A peft model with `count` adapters, and each as bytes and config."""
    model = transformers_model(load_base(path, "peft"))
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", init_lora_weights=False)
    model = get_peft_model(model, config, adapter_name="0")
    for name in range(1, count):
        model.add_adapter(str(name), config)
    model.eval()
    described = {"peft_type": "LORA", "lora_alpha": 32}
    saved = [
        save(get_peft_model_state_dict(model, adapter_name=str(name))) for name in range(count)
    ]
    return model, [(data, described) for data in saved]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("--requests", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    base = load_base(arguments.base, "bench")
    memory = psutil.Process().memory_info().rss >> 20
    asked = requests(arguments.requests, arguments.tokens)
    count = len(asked)
    peft_model, saved = peft_with(arguments.base, 4)
    adapters = [base.model.read_adapter(*files) for files in saved]
    mixed: list[ReadAdapter | None] = [adapters[i % 4] for i in range(count)]
    names = [str(i % 4) for i in range(count)]

    def engine_alone() -> int:
        return sum(engine(base, [request], [None]) for request in asked)

    ways: dict[str, Callable[[], int]] = {
        "generate, one after the other": lambda: generate(base, asked),
        "engine, one after the other": engine_alone,
        "engine, together": lambda: engine(base, asked, [None] * count),
        "engine, one adapter": lambda: engine(base, asked, [adapters[0]] * count),
        "engine, four adapters": lambda: engine(base, asked, mixed),
        "peft adapter_names, four adapters": lambda: peft_mixed(base, peft_model, asked, names),
    }
    rates = dict.fromkeys(ways, 0.0)
    for _ in range(arguments.rounds):
        for name, way in ways.items():  # alternating, so that a slow minute strikes all alike
            begun = time.process_time()
            written = way()
            rates[name] = max(rates[name], written / (time.process_time() - begun))
    baseline = rates["generate, one after the other"]
    for name, rate in rates.items():
        print(f"{name:36} {rate:7.1f} tokens/s  x{rate / baseline:.2f}")
    facts = {"precision": str(base.model.dtype), "memory_mb_base_loaded": memory, "requests": count}
    print(json.dumps(facts | {"ratio": round(rates["engine, together"] / baseline, 2)}))


if __name__ == "__main__":
    main()
