"""A request on its way through the scheduler: checked, in tokens, with one `Choice` per answer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from faults import Fault, UserFault
from finetune.families.contract import ReadAdapter
from finetune.records.thinking import OPEN
from finetune.serving.bases import Base
from finetune.serving.choice import Choice, logprob_entry
from finetune.serving.detokenize import Detokenizer
from finetune.serving.harmony import PartReader
from finetune.serving.preferences import Preferences
from finetune.serving.protocol import Delta, GenerateRequest, Usage
from finetune.serving.sampling import Sampler, Scored, stream
from finetune.serving.stops import StopWatch
from finetune.serving.structured.gate import Gate
from finetune.serving.structured.grammar import Constraint
from finetune.serving.thoughts import ThoughtReader, opened_by
from finetune.serving.tools import ToolCallReader, reader, reader_of_marks, reader_of_tags

_PIECE = 128  # log-probabilities of an echo told in one delta: nobody has to hold them all at once

Emit = Callable[[Delta | Fault], None]


@dataclass(eq=False)
class Ticket:
    """`emit` is called from the model thread with deltas, the last of which has `usage`, or with
    one error; `cancelled` may be set from any thread."""

    request: GenerateRequest
    base: Base
    adapter: ReadAdapter | None
    prompt: list[int]
    emit: Emit
    constraint: Constraint | None = None  # on each of its answers
    choices: list[Choice] = field(init=False)
    cancelled: bool = False
    done: bool = False

    def __post_init__(self) -> None:
        shown = len(self._echo_text)
        self.choices = [self._choice(index, shown) for index in range(self.request.n)]

    @property
    def places(self) -> int:
        """In the queue."""
        return len(self.choices)

    @property
    def top_logprobs(self) -> int | None:
        return self.request.top_logprobs if self.request.logprobs else None

    @property
    def scores_prompt(self) -> bool:
        return self.request.echo and self.request.logprobs

    def deliver(self, delta: Delta | None) -> None:
        """Pass a choice's news on; with the last choice's end goes the usage."""
        if delta is None or self.done:
            return
        self.emit(delta)
        if all(choice.finished for choice in self.choices):
            self.done = True
            spent = sum(choice.generated for choice in self.choices)
            usage = Usage(prompt_tokens=len(self.prompt), completion_tokens=spent)
            self.emit(Delta(usage=usage))

    def fail(self, error: Fault) -> None:
        if not self.done:
            self.done = True
            self.emit(error)

    def echo(self, choices: list[Choice], scores: list[Scored]) -> None:
        """Before the first token: the prompt itself, where it was asked for.

        `scores` are of the prompt's tokens from the second on, or empty.
        """
        if not self.request.echo:
            return
        entries = []
        if self.top_logprobs is not None:
            reader, offset = Detokenizer(self.base.tokenizer), 0
            for token, scored in zip(self.prompt, [None, *scores], strict=True):
                entries.append(logprob_entry(self.base, token, scored, self.top_logprobs, offset))
                offset += len(reader.push(token))
        for choice in choices:
            self.emit(Delta(index=choice.index, text=self._echo_text, logprobs=entries[:_PIECE]))
            for at in range(_PIECE, len(entries), _PIECE):
                self.emit(Delta(index=choice.index, logprobs=entries[at : at + _PIECE]))

    @property
    def _echo_text(self) -> str:
        if not self.request.echo:
            return ""
        if isinstance(self.request.prompt, str):
            return self.request.prompt
        text: str = self.base.tokenizer.decode(self.prompt, skip_special_tokens=True)
        return text

    def _choice(self, index: int, shown: int) -> Choice:
        request = self.request
        room = self.base.context_length - len(self.prompt)
        return Choice(
            index=index,
            base=self.base,
            ids=list(self.prompt),
            limit=room if request.max_tokens is None else min(request.max_tokens, room),
            sampler=Sampler(
                request.temperature,
                request.top_p,
                stream(request.seed, index),
                Preferences.of(request),
            ),
            stop=StopWatch(request.stop),
            tools=self._call_reader(),
            thoughts=self._reader(),
            gate=self._gate(),
            top_logprobs=self.top_logprobs,
            marks=self._marks(),
            offset=shown,
            ends=self._ends,
            before=self.base.encoder.line_break if request.suffix else (),
        )

    @property
    def _ends(self) -> frozenset[int]:
        """A middle ends where any of the dialect's tokens would come, the next file's too."""
        infilling = self.base.encoder.infilling if self.request.suffix else None
        return self.base.stop_ids | (infilling.ends if infilling else frozenset())

    def _call_reader(self) -> ToolCallReader | None:
        if not self.request.tools:
            return None
        if self.base.calls is not None:
            return reader(self.base.calls)
        if self.base.call_marks:
            return reader_of_marks(self.base.call_marks, self.request.tools)
        if self.base.call_tags is None:
            return None
        return reader_of_tags(self.base.call_tags, self.request.tools)

    @property
    def _in_parts(self) -> bool:
        return self.request.messages is not None and self.base.channels is not None

    def _marks(self) -> frozenset[int]:
        marks = self.base.call_marks
        return marks.read if marks and (self.request.tools or self._in_parts) else frozenset()

    def _reader(self) -> ThoughtReader | PartReader | None:
        return PartReader() if self._in_parts else self._thoughts()

    def _thoughts(self) -> ThoughtReader | None:
        if self.request.messages is None or not self.base.encoder.thinks:
            return None
        return ThoughtReader(opened_by(self.base.tokenizer, self.prompt))

    def _gate(self) -> Gate | None:
        if self.constraint is None:
            return None
        thoughts = None if self._in_parts else self._thoughts()  # a grammar of parts has them in it
        return Gate(
            self.constraint.fork(),
            None if thoughts is None or thoughts.inside is False else thoughts,
            self.base.vocabulary.id_of(OPEN),
            self.base.stop_ids,
        )


def encode_prompt(base: Base, request: GenerateRequest) -> list[int]:
    """The request's prompt in tokens, as training saw it.

    Raises UserFault: `context_length_exceeded`, `cannot_infill`, `invalid_prompt`,
    `invalid_value` (of `logit_bias`), or what the chat template refuses.
    """
    _check_bias(base, request)
    given: list[Any] = [each.get("content") for each in request.messages or ()]
    given += [request.prompt, request.suffix]
    _refuse_hopeless(base, request, sum(len(text) for text in given if isinstance(text, str)))
    ids = _tokens(base, request)
    if len(ids) >= base.context_length:
        raise _too_long(base, request, len(ids))
    return ids


def _check_bias(base: Base, request: GenerateRequest) -> None:
    size = base.model.vocabulary_size
    if beyond := [token for token in request.logit_bias if not 0 <= token < size]:
        raise UserFault(
            "invalid_value",
            f"`logit_bias` names token {beyond[0]}, and this model's are 0 to {size - 1}.",
            fix="Name tokens of this model's own tokenizer.",
            param="logit_bias",
        )


def _refuse_hopeless(base: Base, request: GenerateRequest, characters: int) -> None:
    """Before megabytes are put into tokens only to learn that they are too many."""
    least = characters // base.vocabulary.longest
    if least >= base.context_length:
        raise _too_long(base, request, least)


def _too_long(base: Base, request: GenerateRequest, tokens: int) -> UserFault:
    return UserFault(
        "context_length_exceeded",
        f"This model's maximum context length is {base.context_length} tokens, and the prompt "
        f"alone has {tokens} or more.",
        fix="Shorten the prompt; the answer needs room too.",
        param="messages" if request.messages is not None else "prompt",
    )


def _chat_tokens(base: Base, request: GenerateRequest) -> list[int]:
    messages: Any = request.messages
    try:
        text = base.encoder.prompt_text(messages, request.tools, request.thinking)
    except UserFault as fault:
        if fault.code != "thinking_unsupported":
            raise
        raise UserFault(
            fault.code,
            fault.message,
            fix=f"Leave `{request.thinking_place}` out.",
            param=request.thinking_place,
        ) from fault
    _refuse_hopeless(base, request, len(text))  # thoughts, calls and tools are in it too
    return base.encoder.encode_rendered(text)


def _tokens(base: Base, request: GenerateRequest) -> list[int]:
    if request.messages is not None:
        return _chat_tokens(base, request)
    if request.suffix:
        assert isinstance(request.prompt, str)
        ids = base.encoder.infill_prompt(request.prompt, request.suffix)
    elif isinstance(request.prompt, list):
        ids = request.prompt
    else:
        ids = base.encoder.encode_prompt(request.prompt or "")
    if not ids:
        start = base.tokenizer.bos_token_id
        ids = [] if start is None else [start]
    if not ids or not all(0 <= token < base.model.vocabulary_size for token in ids):
        raise UserFault(
            "invalid_prompt",
            f"The prompt is empty or names tokens outside 0 to {base.model.vocabulary_size - 1}.",
            fix="Give some text, or token ids of this model.",
            param="prompt",
        )
    return ids
