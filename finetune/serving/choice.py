"""One choice of an answer while it grows: its tokens, and what of them may be shown already."""

from dataclasses import dataclass, field
from typing import NamedTuple

from finetune.records.vocabulary import Vocabulary
from finetune.serving.bases import Base
from finetune.serving.detokenize import Detokenizer
from finetune.serving.harmony import PartReader
from finetune.serving.protocol import Delta, FinishReason, TokenLogprob, ToolCall, TopLogprob
from finetune.serving.sampling import Sampler, Scored
from finetune.serving.stops import StopWatch
from finetune.serving.structured.gate import Gate
from finetune.serving.thoughts import ThoughtReader
from finetune.serving.tools import ToolCallReader


class _Gain(NamedTuple):
    text: str
    calls: list[ToolCall]
    reasoning: str

    def then(self, more: "_Gain") -> "_Gain":
        text, reasoning = self.text + more.text, self.reasoning + more.reasoning
        return _Gain(text, self.calls + more.calls, reasoning)


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
    thoughts: ThoughtReader | PartReader | None = None
    gate: Gate | None = None  # what its text is held to
    marks: frozenset[int] = frozenset()  # control tokens that `tools` reads
    ends: frozenset[int] = frozenset()  # tokens at which it is over; none: the base's own
    before: tuple[int, ...] = ()  # see Detokenizer
    offset: int = 0  # characters shown before the answer (an echoed prompt)
    generated: int = 0
    finished: bool = False
    _pending: list[TokenLogprob] = field(default_factory=list)
    _read: int = 0  # characters of the answer decoded
    _shown: int = 0  # characters of the answer that passed the stop watch

    def __post_init__(self) -> None:
        self._text = Detokenizer(self.base.tokenizer, self.marks, self.before)
        self.ends = self.ends or self.base.stop_ids

    def accept(self, token: int, scored: Scored | None) -> Delta | None:
        """Take the next token; None while there is nothing new to show.

        Raises UserFault `schema_too_complex` where the choice is held to a grammar.
        """
        self.ids.append(token)
        self.generated += 1
        if self.sampler.preferences is not None:
            self.sampler.preferences.note(token)
        if token in self.ends:
            return self._finish("stop", self._text.flush())
        self._note(token, scored)
        fresh = self._text.push(token)
        self._read += len(fresh)
        if self.gate is not None:
            self.gate.accept(token, fresh)
            if self.gate.over:
                return self._finish("stop", fresh + self._text.flush())
        if self.generated >= self.limit:
            return self._finish("length", fresh + self._text.flush())
        gain = self._pass(fresh)
        if self.stop.stopped:
            return self._end("stop", gain)
        delta = self._delta(gain)
        return delta if any(gain) or delta.logprobs else None

    def refrain(self) -> Delta:
        """End without a token, where none was asked for."""
        return self._finish("length", "")

    def _finish(self, reason: FinishReason, fresh: str) -> Delta:
        gain = self._pass(fresh)
        if self.stop.stopped:
            return self._end("stop", gain)
        held = self.stop.flush()
        self._shown = self._read + 1  # every token's probability is due
        return self._end(reason, gain.then(self._split(held)))

    def _end(self, reason: FinishReason, gain: _Gain) -> Delta:
        self.finished = True
        if self.thoughts is not None:
            gain = gain.then(self._heard(*self.thoughts.flush()))
        if self.tools is not None:
            gain = gain.then(_Gain(*self.tools.flush(), ""))
            if self.tools.count and reason == "stop":
                reason = "tool_calls"
        return self._delta(gain, reason)

    def _pass(self, fresh: str) -> _Gain:
        text = self.stop.push(fresh)
        self._shown += len(text)
        return self._split(text)

    def _split(self, text: str) -> _Gain:
        return self._heard(*((text, "") if self.thoughts is None else self.thoughts.push(text)))

    def _heard(self, text: str, reasoning: str) -> _Gain:
        """Calls are read out of what is said, never out of a thought."""
        said, calls = (text, []) if self.tools is None else self.tools.push(text)
        return _Gain(said, calls, reasoning)

    def _delta(self, gain: _Gain, reason: FinishReason | None = None) -> Delta:
        end = self.offset + self._shown
        due = [entry for entry in self._pending if entry.text_offset < end]
        self._pending = self._pending[len(due) :]
        return Delta(
            index=self.index,
            text=gain.text,
            reasoning=gain.reasoning,
            logprobs=due,
            tool_calls=gain.calls,
            finish_reason=reason,
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
