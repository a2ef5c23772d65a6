"""A grammar that an answer keeps to: llguidance tells which tokens may come next.

Compiling happens outside the model thread, in whichever thread encodes the prompt; a mask is
computed in it, within the bounds below, so that a grammar that is too dear ends its own answer.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLParserLimits
from llguidance.hf import from_tokenizer
from torch import Tensor

from faults import UserFault

_KEPT = 64  # grammars of one base: a request is measured before it is answered
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
        self._of = tokenizer, max(size, len(tokenizer)), sorted(stops)
        self._known: OrderedDict[str, Constraint] = OrderedDict()
        self._lock = Lock()
        self._tokenizer: Any = None

    def compile(self, source: str, place: str) -> Constraint:
        """At its beginning. `source` in llguidance's Lark; `place` is the field of the request
        that faults name. Raises UserFault `invalid_schema`, `schema_too_complex`."""
        with self._lock:  # compiling one at a time leaves processors to the model
            known = self._known.pop(source, None) or self._compile(source, place)
            self._known[source] = known
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
            return known.fork()

    def _compile(self, source: str, place: str) -> Constraint:
        if self._tokenizer is None:  # takes a second for a large vocabulary
            tokenizer, size, stops = self._of
            self._tokenizer = from_tokenizer(tokenizer, n_vocab=size, eos_token=stops or None)
        matcher = LLMatcher(self._tokenizer, source, log_level=0, limits=_limits())
        if matcher.is_error():
            raise UserFault(
                "invalid_schema",
                f"`{place}` cannot be honoured: {_first_line(matcher.get_error())}.",
                param=place,
            )
        constraint = Constraint(matcher, self._tokenizer.tokenize_str, place)
        constraint.fork().mask(torch.zeros(self._of[1]))  # the first is the dearest
        return constraint


def _limits() -> LLParserLimits:
    return LLParserLimits(
        initial_lexer_fuel=1_000_000,
        step_lexer_fuel=100_000,
        step_max_items=20_000,
        max_grammar_size=200_000,
        max_lexer_states=50_000,
        verbose_errors=False,
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
