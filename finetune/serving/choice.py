"""One choice of an answer while it grows: its tokens, and what of them may be shown already."""

from dataclasses import dataclass, field

from finetune.serving.bases import Base
from finetune.serving.detokenize import Detokenizer
from finetune.serving.protocol import Delta, FinishReason, TokenLogprob, ToolCall, TopLogprob
from finetune.serving.sampling import Sampler, Scored
from finetune.serving.stops import StopWatch
from finetune.serving.tools import ToolCallReader
from finetune.serving.vocabulary import Vocabulary


@dataclass
class Choice:
    """`ids` are prompt and answer, so that a choice put off can be taken up again from them."""

    index: int
    base: Base
    ids: list[int]
    limit: int  # most tokens of the answer
    sampler: Sampler
    stop: StopWatch
    tools: ToolCallReader | None
    top_logprobs: int | None  # None: no log-probabilities were asked for
    offset: int = 0  # characters shown before the answer (an echoed prompt)
    generated: int = 0
    finished: bool = False
    _pending: list[TokenLogprob] = field(default_factory=list)
    _read: int = 0  # characters of the answer decoded
    _shown: int = 0  # characters of the answer that passed the stop watch

    def __post_init__(self) -> None:
        self._text = Detokenizer(self.base.tokenizer)

    def accept(self, token: int, scored: Scored | None) -> Delta | None:
        """Take the next token; None while there is nothing new to show."""
        self.ids.append(token)
        self.generated += 1
        if token in self.base.stop_ids:
            return self._finish("stop", self._text.flush())
        self._note(token, scored)
        fresh = self._text.push(token)
        self._read += len(fresh)
        if self.generated >= self.limit:
            return self._finish("length", fresh + self._text.flush())
        said = self._pass(fresh)
        if self.stop.stopped:
            return self._end("stop", *said)
        delta = self._delta(*said)
        return delta if delta.text or delta.logprobs or delta.tool_calls else None

    def _finish(self, reason: FinishReason, fresh: str) -> Delta:
        text, calls = self._pass(fresh)
        if self.stop.stopped:
            return self._end("stop", text, calls)
        held = self.stop.flush()
        self._shown = self._read + 1  # every token's probability is due
        more, more_calls = self._read_tools(held)
        return self._end(reason, text + more, calls + more_calls)

    def _end(self, reason: FinishReason, text: str, calls: list[ToolCall]) -> Delta:
        self.finished = True
        if self.tools is not None:
            text += self.tools.flush()
            if self.tools.count and reason == "stop":
                reason = "tool_calls"
        return self._delta(text, calls, reason)

    def _pass(self, fresh: str) -> tuple[str, list[ToolCall]]:
        text = self.stop.push(fresh)
        self._shown += len(text)
        return self._read_tools(text)

    def _read_tools(self, text: str) -> tuple[str, list[ToolCall]]:
        return (text, []) if self.tools is None else self.tools.push(text)

    def _delta(self, text: str, calls: list[ToolCall], reason: FinishReason | None = None) -> Delta:
        end = self.offset + self._shown
        due = [entry for entry in self._pending if entry.text_offset < end]
        self._pending = self._pending[len(due) :]
        return Delta(
            index=self.index, text=text, logprobs=due, tool_calls=calls, finish_reason=reason
        )

    def _note(self, token: int, scored: Scored | None) -> None:
        if scored is not None and self.top_logprobs is not None:
            self._pending.append(
                logprob_entry(self.base, token, scored, self.top_logprobs, self.offset + self._read)
            )


def logprob_entry(
    base: Base, token: int, scored: Scored | None, top: int, offset: int
) -> TokenLogprob:
    """The wire's form of a scored token; `scored` None: nothing predicts it."""
    own = base.vocabulary.bytes_of(token)
    alternatives = [] if scored is None else scored.top[:top]
    return TokenLogprob(
        token=_shown(own),
        logprob=None if scored is None else scored.logprob,
        bytes=list(own),
        top_logprobs=[_alternative(base.vocabulary, *pair) for pair in alternatives],
        text_offset=offset,
    )


def _alternative(vocabulary: Vocabulary, token: int, logprob: float) -> TopLogprob:
    own = vocabulary.bytes_of(token)
    return TopLogprob(token=_shown(own), logprob=logprob, bytes=list(own))


def _shown(piece: bytes) -> str:
    return piece.decode("utf-8", errors="replace")
