"""Vectors of texts, or scores of pairs of them."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from faults import UserFault
from finetune.families.contract import ReadAdapter
from finetune.records.ranking import Pair
from finetune.serving.bases import AnyBase, EmbeddingBase, RankingBase, TextBase, embedding, ranking
from finetune.serving.protocol import MAX_LINE, Embedded, EmbedRequest
from finetune.serving.texts import TextLane, TextTicket

MOST_QUERY_TOKENS = 1 << 20  # of a request: its query's, as often as it has documents
MOST_QUERY_CHARACTERS = 8 << 20  # the same: spaces, or a word of a megabyte, are hardly any tokens
LONGEST_TOKEN = 128  # characters: so many for each token that a base reads are looked at
_CHARACTERS = 6  # of a reply, for each number of a vector


Tokens = list[int] | Pair


@dataclass(eq=False)
class EmbeddingTicket(TextTicket):
    request: EmbedRequest
    base: TextBase

    def reply(self, found: list[Tensor]) -> Embedded:
        written = [_written(vector, self.request) for vector in found]
        return Embedded(vectors=written, prompt_tokens=self.tokens)


class EmbeddingLane(TextLane):
    base: TextBase

    def found(self, texts: Sequence[Tokens], adapters: Sequence[ReadAdapter | None]) -> Tensor:
        return self.base.model.embed(texts, adapters)


def _written(vector: Tensor, request: EmbedRequest) -> str:
    if request.dimensions is not None and request.dimensions < len(vector):
        vector = torch.nn.functional.normalize(vector[: request.dimensions], dim=0)
    return base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode()


def base_for(base: AnyBase, request: EmbedRequest) -> TextBase:
    """Raises UserFault where it is of another kind than is asked."""
    return embedding(base) if request.query is None else ranking(base)


def texts_of(base: TextBase, request: EmbedRequest) -> Sequence[Tokens]:
    """The inputs in tokens. Raises UserFault `invalid_value`, `context_length_exceeded`."""
    if isinstance(base, RankingBase):
        _check_query(base, request)
        return [_pair(base, request, number) for number in range(len(request.inputs))]
    most = base.model.dimensions
    if request.dimensions is not None and request.dimensions > most:
        raise UserFault(
            "invalid_value",
            f"This model's vectors have {most} dimensions.",
            fix=f"Ask for at most {most}.",
            param="dimensions",
        )
    size = len(request.inputs) * min(request.dimensions or most, most) * _CHARACTERS
    if size > MAX_LINE:
        raise UserFault(
            "request_too_costly",
            "The vectors would be larger than one answer can be.",
            fix="Send fewer inputs in one request.",
            param="input",
        )
    return [_tokens(base, request, number) for number in range(len(request.inputs))]


def _check_query(base: RankingBase, request: EmbedRequest) -> None:
    """It is read again beside each document, so that few bytes could ask for very much. Raises
    UserFault `context_length_exceeded`, `request_too_costly`."""
    query, documents = request.query or "", len(request.inputs)
    if len(query) * documents > MOST_QUERY_CHARACTERS:
        raise _read_too_often("characters", len(query), documents, MOST_QUERY_CHARACTERS)
    most = base.context_length
    if len(query) > LONGEST_TOKEN * most:
        raise _query_too_long(most, f"{len(query)} characters")
    tokens = base.encoder.tokens_of(query)
    if tokens >= most:
        raise _query_too_long(most, str(tokens))
    if tokens * documents > MOST_QUERY_TOKENS:
        raise _read_too_often("tokens", tokens, documents, MOST_QUERY_TOKENS)


def _query_too_long(most: int, size: str) -> UserFault:
    return UserFault(
        "context_length_exceeded",
        f"This model's maximum context length is {most} tokens, and the query alone has {size}.",
        fix="Shorten the query.",
        param="query",
    )


def _read_too_often(unit: str, size: int, documents: int, most: int) -> UserFault:
    return UserFault(
        "request_too_costly",
        f"The query has {size} {unit} and is read beside each of {documents} documents; "
        f"{most:,} {unit} of it can be read in one request.",
        fix="Send fewer documents in one request, or a shorter query.",
        param="documents",
    )


def _pair(base: RankingBase, request: EmbedRequest, number: int) -> Pair:
    """What is longer than the base reads is cut, as in training, or refused."""
    document = request.inputs[number]
    if not isinstance(document, str) or request.query is None:
        raise UserFault("invalid_value", "A document is a text beside a query.", param="documents")
    # A megabyte takes seconds to be put in tokens, of which a few hundred are read and counted
    text = document[: LONGEST_TOKEN * base.context_length]
    left = len(document) > len(text)
    if request.document_tokens is not None:
        beginning = base.encoder.beginning(text, request.document_tokens)
        left = left and len(beginning) == len(text)
        text = beginning
    ids, labels, length = base.encoder.measured(request.query, text)
    if (length > base.context_length or left) and not request.cut:
        raise UserFault(
            "context_length_exceeded",
            f"This model's maximum context length is {base.context_length} tokens, and document "
            f"{number} with the query has {length}{' and more' if left else ''}.",
            fix="Shorten it, or leave `truncation` out.",
            param="documents",
        )
    return Pair(ids, labels.index(True))


def _tokens(base: EmbeddingBase, request: EmbedRequest, number: int) -> list[int]:
    given = request.inputs[number]
    where = f"input {number + 1} of {len(request.inputs)}"
    if not given:
        raise UserFault("invalid_value", f"`input` is empty ({where}).", param="input")
    if isinstance(given, str) and len(given) > LONGEST_TOKEN * base.context_length:
        raise UserFault(
            "context_length_exceeded",
            f"This model's maximum context length is {base.context_length} tokens, and the text "
            f"has {len(given)} characters ({where}).",
            fix="Cut the text into parts, each with a vector of its own.",
            param="input",
        )
    if isinstance(given, str):
        ids, length = base.encoder.measured(given, request.side)
    else:
        ids, length = given, len(given)
        size = base.model.vocabulary_size
        if not all(0 <= token < size for token in ids):
            raise UserFault(
                "invalid_value",
                f"`input` names tokens outside 0 to {size - 1} ({where}).",
                fix="Name tokens of this model's own tokenizer, or send text.",
                param="input",
            )
    if length > base.context_length:
        raise UserFault(
            "context_length_exceeded",
            f"This model's maximum context length is {base.context_length} tokens, and the text "
            f"has {length} ({where}).",
            fix="Cut the text into parts, each with a vector of its own.",
            param="input",
        )
    return ids
