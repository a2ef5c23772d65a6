"""A grammar that an answer keeps to: llguidance tells which tokens may come next.

What is compiled here was compiled within bounds in a process of its own first, and outside the
model thread. A mask is computed in it, within the bounds below, so that a grammar that is too dear
ends its own answer.
"""

import re
import time
from collections.abc import Callable
from copy import copy
from threading import Lock
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher
from torch import Tensor

from faults import UserFault
from finetune.serving.structured.compiler import limits, tokenizer_of
from finetune.serving.structured.kept import Kept
from finetune.serving.structured.trials import Trials

_BOUNDS = re.compile("fuel exhausted|too big|too large|limit")  # of llguidance's, in its words
_GRACE, _EACH = 1.0, 0.01  # processor seconds for masks: in all, and for each token besides


class Constraint:
    """One choice's place in the grammar. `over`: nothing can follow."""

    def __init__(self, matcher: Any, encode: Callable[[str], list[int]], place: str) -> None:
        self._matcher = matcher
        self._encode = encode
        self._place = place
        self._seconds = _GRACE

    @property
    def over(self) -> bool:
        return bool(self._matcher.is_stopped())

    def fork(self) -> "Constraint":
        return Constraint(self._matcher.deep_copy(), self._encode, self._place)

    def mask(self, logits: Tensor) -> None:
        """logits [vocab] in place: -inf where a token cannot come next. Raises UserFault
        `schema_too_complex`."""
        begun = time.thread_time()
        bits = self._matcher.compute_bitmask()
        self._seconds += _EACH - (time.thread_time() - begun)
        if self._seconds < 0 or self._matcher.is_error():
            raise _too_complex(self._place)
        allowed = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), bitorder="little")
        barred = torch.from_numpy(allowed[: logits.numel()] == 0).to(logits.device)
        logits[: barred.numel()].masked_fill_(barred, -torch.inf)
        logits[barred.numel() :] = -torch.inf

    def accept(self, token: int) -> None:
        """Raises UserFault `schema_too_complex`."""
        if not self._matcher.consume_token(token):
            raise _too_complex(self._place)

    def accept_text(self, text: str) -> None:
        """What a token wrote beyond a thought's end. Raises UserFault `schema_too_complex`."""
        if text and not self._matcher.consume_tokens(self._encode(text)):
            raise _too_complex(self._place)


class Grammars:
    """Those of one base's tokenizer; may be asked from any thread."""

    def __init__(self, tokenizer: Any, size: int, stops: frozenset[int]) -> None:
        """`size`: entries of a row of logits."""
        self._of = tokenizer, sorted(stops)
        self._size = max(size, len(tokenizer))
        self._trials = Trials(self._given)
        self._kept = Kept()
        self._lock = Lock()
        self._tokenizer: Any = None

    def compile(self, source: str, place: str, *, tenant: str) -> Constraint:
        """At its beginning. `source` in llguidance's Lark; `place` is the field of the request
        that faults name. Raises UserFault `invalid_schema`, `schema_too_large`,
        `schema_too_complex`, or OurFault `compiler_lost`."""
        known = self._kept.get(tenant, source)
        if known is None:
            known, kb = self._compile(source, place)
            self._kept.put(tenant, source, known, kb)
        return self._begun(known, place)

    def _begun(self, matcher: Any, place: str) -> Constraint:
        return Constraint(matcher.deep_copy(), self._vocabulary().tokenize_str, place)

    def _compile(self, source: str, place: str) -> tuple[Any, int]:
        """The matcher, and the memory it takes in KB."""
        trial = self._trials.run(source)
        if trial.killed:
            raise _too_large(place)
        if trial.error is not None:
            raise _invalid(place, trial.error)
        matcher = LLMatcher(self._vocabulary(), source, log_level=0, limits=limits())
        if matcher.is_error():
            raise _invalid(place, matcher.get_error())
        self._begun(matcher, place).mask(torch.zeros(self._size))  # the first is the dearest
        return matcher, trial.kb

    def _vocabulary(self) -> Any:
        with self._lock:
            if self._tokenizer is None:  # takes a second for a large vocabulary
                self._tokenizer = tokenizer_of(self._given())
            return self._tokenizer

    def _given(self) -> dict[str, Any]:
        """What `compiler` is told of the tokenizer."""
        tokenizer, stops = self._of
        backend = copy(tokenizer.backend_tokenizer)
        backend.no_padding()
        backend.no_truncation()
        return {"tokenizer": backend.to_str(), "size": self._size, "stops": stops}


def _invalid(place: str, error: str) -> UserFault:
    if _BOUNDS.search(error):
        return _too_large(place)
    return UserFault(
        "invalid_schema", f"`{place}` cannot be honoured: {_first_line(error)}.", param=place
    )


def _first_line(error: str) -> str:
    """What a pattern's fault is stands behind a drawing of where it is."""
    lines = [line.strip() for line in error.splitlines() if line.strip(" ^")]
    told = next((line for line in lines if line.startswith("error:")), lines[0] if lines else "?")
    return told.removeprefix("error:").strip().rstrip(".")[:300]


def _too_complex(place: str) -> UserFault:
    return UserFault(
        "schema_too_complex",
        f"`{place}` takes too long to keep to.",
        fix="Use fewer alternatives and optional properties, and plainer patterns.",
        param=place,
    )


def _too_large(place: str) -> UserFault:
    return UserFault(
        "schema_too_large",
        f"`{place}` takes more time or memory to read than one schema is given.",
        fix="Use fewer alternatives, smaller counts and `multipleOf` with fewer digits.",
        param=place,
    )
