"""Scores of whole conversations, each by a reward model on a base that answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from faults import UserFault
from faults.nesting import NO_JSON
from finetune.families import scorer
from finetune.families.contract import ReadAdapter
from finetune.records.encode import RowEncoder
from finetune.records.pairs import untrained
from finetune.records.rows import ChatRow
from finetune.serving.bases import Base
from finetune.serving.protocol import Conversation, Scored, ScoreRequest
from finetune.serving.texts import TextLane, TextTicket


@dataclass(eq=False)
class ScoringTicket(TextTicket):
    request: ScoreRequest
    base: Base

    def reply(self, found: list[Tensor]) -> Scored:
        return Scored(scores=[float(each) for each in found], prompt_tokens=self.tokens)


class ScoringLane(TextLane):
    base: Base

    def found(self, texts: Sequence[Any], adapters: Sequence[ReadAdapter | None]) -> Tensor:
        return scorer().scores(self.base.model, texts, adapters)


def conversations_of(base: Base, request: ScoreRequest) -> list[list[int]]:
    """In tokens, as training showed them. Raises UserFault `context_length_exceeded`,
    `invalid_prompt`, or what the chat template refuses."""
    encoder = base.encoder.thinking_as(request.thinking)
    return [_tokens(base, encoder, each) for each in request.conversations]


def _tokens(base: Base, encoder: RowEncoder, conversation: Conversation) -> list[int]:
    messages = conversation.messages
    contents = [each.get("content") or "" for each in messages]
    if not all(isinstance(content, str) for content in contents):
        raise _unreadable("a message's content is no text")
    characters = sum(map(len, contents))
    if (least := characters // base.vocabulary.longest) > base.context_length:
        raise _too_long(base, least)
    try:
        row = ChatRow(messages=[*map(untrained, messages[:-1]), messages[-1]])  # type: ignore[arg-type, list-item]
        if conversation.tools:
            row["tools"] = conversation.tools
        sequences = encoder.encode(row).sequences
    except (*NO_JSON, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(f"a message is none ({type(error).__name__})") from None
    if len(sequences) != 1:
        raise _unreadable("the chat template shows the last answer in several sequences")
    ids = list(sequences[0].input_ids)
    if len(ids) > base.context_length:
        raise _too_long(base, len(ids))
    return ids


def _unreadable(why: str) -> UserFault:
    return UserFault(
        "invalid_prompt",
        f"The conversation cannot be scored: {why}.",
        fix="Give messages of role and text, the last of which is the assistant's.",
        param="messages",
    )


def _too_long(base: Base, tokens: int) -> UserFault:
    return UserFault(
        "context_length_exceeded",
        f"This model's maximum context length is {base.context_length} tokens, and the "
        f"conversation has {tokens} or more.",
        fix="Shorten the conversation.",
        param="messages",
    )
