"""`python -m finetune.serving.structured.compiler`: does a grammar compile within its bounds?

A process of its own, as a grammar of a few dozen bytes can ask for minutes and gigabytes, and
nothing can stop a compilation from within. Standard input: the tokenizer, `{"tokenizer", "size",
"stops"}`, then a `{"id", "source"}` a line. Each is compiled in a fork of its own, which the
kernel ends at its bounds. Standard output, in any order: `{"id", "error", "kb"}`, `{"id",
"killed"}` for one that was ended, `{"id", "failed"}` for a fault of ours. It imports nothing of
ours and ends with its input.
"""

import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Iterable
from typing import Any

SECONDS = 1.0  # of a processor, for one grammar
MEMORY = 256 << 20  # bytes, for one grammar
_FULL = 3  # exit code of a fork whose memory was not enough
_TOLD = 1000  # characters of an error: what is written at once to a pipe arrives in one piece


def limits() -> Any:
    """Of one grammar's lexer and parser: what is compiled twice has to end the same way."""
    from llguidance import LLParserLimits

    return LLParserLimits(
        initial_lexer_fuel=1_000_000,
        step_lexer_fuel=100_000,
        step_max_items=20_000,
        max_grammar_size=200_000,
        max_lexer_states=50_000,
        verbose_errors=False,
    )


class Compiler:
    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._running: dict[int, int] = {}  # what each fork compiles, by its process id
        signal.signal(signal.SIGCHLD, self._ended)

    def begin(self, number: int, source: str) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # not before it is noted
        child = os.fork()
        if not child:
            self._compile(number, source)
        self._running[child] = number
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])

    def _compile(self, number: int, source: str) -> None:
        """In the fork, which ends here."""
        from llguidance import LLMatcher

        try:
            _confine()
            before = _data()
            matcher = LLMatcher(self._tokenizer, source, log_level=0, limits=limits())
            error = matcher.get_error()[:_TOLD] if matcher.is_error() else None
            if error is None:
                matcher.compute_bitmask()  # the first is the dearest
            grown = (_data() - before) >> 10
            _tell({"id": number, "error": error, "kb": grown})
            os._exit(0)
        except MemoryError:
            os._exit(_FULL)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(1)

    def _ended(self, *_: Any) -> None:
        while self._running:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                return
            number = self._running.pop(child)
            if os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == _FULL:
                _tell({"id": number, "killed": status})
            elif status:
                _tell({"id": number, "failed": status})


def _confine() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    most = _data() + MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # SIGPROF, which nobody here catches


def _data() -> int:
    """Bytes that RLIMIT_DATA counts of this process."""
    with open("/proc/self/statm") as told:
        return int(told.read().split()[5]) * resource.getpagesize()


def _tell(answer: dict[str, Any]) -> None:
    os.write(1, json.dumps(answer).encode() + b"\n")


def tokenizer_of(given: dict[str, Any]) -> Any:
    from llguidance import LLTokenizer

    size, stops = given["size"], given["stops"] or None
    return LLTokenizer(given["tokenizer"], n_vocab=size, eos_token=stops)


def main(lines: Iterable[str]) -> None:
    coming = iter(lines)
    compiler = Compiler(tokenizer_of(json.loads(next(coming))))
    for line in coming:
        asked = json.loads(line)
        compiler.begin(asked["id"], asked["source"])


if __name__ == "__main__":
    main(sys.stdin)
    os.killpg(0, signal.SIGKILL)  # nobody waits for what is still being compiled
