"""From logits to the next token of each row, and the log-probabilities that OpenAI reports.

Each choice draws from its own stream of numbers, so a seed gives the same answer whoever else is
in the batch, as far as the logits themselves are equal (floats differ a little with batch shape).
"""

import hashlib
import random
import secrets
from dataclasses import dataclass, field

import torch
from torch import Tensor

from finetune.serving.preferences import Preferences

_HEAD = (
    256  # tokens tried first for top_p; the whole vocabulary is sorted only when these fall short
)

_FLOOR = -9999.0  # OpenAI's figure for "never"; JSON knows no infinity
LEAST_TEMPERATURE = 1e-6  # logits are divided by it


def stream(seed: int | None, index: int) -> random.Random:
    """The numbers of choice `index`: a function of both, or of chance when there is no seed."""
    source = f"{secrets.randbits(128) if seed is None else seed}:{index}"
    return random.Random(hashlib.sha256(source.encode()).digest())  # noqa: S311 (no secret hangs on it)


@dataclass
class Sampler:
    """How one choice picks its tokens; `temperature` 0 takes the likeliest, as does `top_p` 0, and
    as the least temperatures would but for the range of numbers."""

    temperature: float
    top_p: float
    numbers: random.Random = field(repr=False)
    preferences: Preferences | None = None


def sample(logits: Tensor, samplers: list[Sampler]) -> list[int]:
    """logits [rows, vocab] fp32, one sampler a row. Preferences move the logits in place."""
    for row, sampler in enumerate(samplers):
        if sampler.preferences is not None:
            sampler.preferences.move(logits[row])
    chosen: list[int] = logits.argmax(dim=-1).tolist()
    for row, sampler in enumerate(samplers):
        if sampler.temperature >= LEAST_TEMPERATURE:
            chosen[row] = _draw(logits[row], sampler)
    return chosen


def _draw(logits: Tensor, sampler: Sampler) -> int:
    probabilities = torch.softmax(logits.double() / sampler.temperature, dim=-1)  # [vocab]
    number = sampler.numbers.random()
    if sampler.top_p >= 1:
        return _pick(probabilities, number)
    kept, ids = _nucleus(probabilities, sampler.top_p)
    return int(ids[_pick(kept, number)])


def _nucleus(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """The fewest likeliest tokens whose sum reaches `top_p` (Holtzman et al. 2020), with ids."""
    for size in (min(_HEAD, probabilities.numel()), probabilities.numel()):
        kept, ids = torch.topk(probabilities, size)
        before = kept.cumsum(0) - kept
        count = int((before < top_p).sum())
        if count < size:
            break
    count = max(count, 1)
    return kept[:count], ids[:count]


def _pick(weights: Tensor, number: float) -> int:
    """Inverse of the cumulative distribution at `number` in [0, 1)."""
    heights = weights.cumsum(0)
    at = int(torch.searchsorted(heights, number * heights[-1], right=True))
    return min(at, weights.numel() - 1)


@dataclass(frozen=True)
class Scored:
    """A token's log-probability and the likeliest alternatives, of the unscaled distribution."""

    token: int
    logprob: float
    top: list[tuple[int, float]]


def score(logits: Tensor, tokens: list[int], top: int) -> list[Scored]:
    """logits [rows, vocab] fp32; `tokens` one a row. Temperature, top_p and what a
    request prefers play no part: they are the model's own."""
    logprobs = torch.log_softmax(logits.float(), dim=-1).clamp_min(_FLOOR)
    picked = logprobs.gather(1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0].tolist()
    values, ids = torch.topk(logprobs, top, dim=-1) if top else (logprobs[:, :0],) * 2
    return [
        Scored(token, logprob, list(zip(row_ids, row_values, strict=True)))
        for token, logprob, row_ids, row_values in zip(
            tokens, picked, ids.tolist(), values.tolist(), strict=True
        )
    ]
