"""The canonical training rows that every format is read into, one JSON object a line.

{"messages": [...], "tools": [...]}     a chat; `weight` 0 on an assistant message: not trained
{"prompt": str, "completion": str}      untemplated; only the completion (and EOS) is trained
{"text": str}                           a document, untemplated; everything (and EOS) is trained;
                                        with `repo` and `path` a file of source code
{"ids": [int]}                          a chunk of a document; all but the first token is trained
{"messages", "chosen", "rejected"}      a prompt and two ways in which the conversation goes on
{"prompt", "chosen", "rejected"}        the same in strings, untemplated
{"messages": [...], "item": {...}}      a prompt to be answered, and what its graders are told
{"messages", "completion", "label"}     a prompt, how the conversation went on, and whether that was
                                        good (true) or not
{"prompt", "completion", "label"}       the same in strings, untemplated
{"query", "positive", "negatives"}      what is searched with, what shall be found, what shall not
{"sentence1", "sentence2", "score"}     two texts, and how alike they are

`cut_to`: of a row that is too long, only so many tokens are taken, from its beginning. The check
writes it where it was told to cut, so that whoever encodes the row later cuts at the same place.
`tags`: what the row is about; of no account to training.

`margin` of a pair: by how much its better answer is better; only reward models learn from it.

`group`: rows of one stay on one side where a file is split (splitting.py); no part of what is
trained. Of a prompt it stands in `item`.
"""

from typing import Any, NotRequired, TypedDict, cast

from finetune.records.recipe import Side


class Message(TypedDict):
    role: str  # system, developer, user, assistant, tool
    content: str | None
    name: NotRequired[str]
    weight: NotRequired[int]  # 0 or 1, on assistant messages only
    reasoning_content: NotRequired[str]  # what the assistant thought before it wrote the content
    tool_calls: NotRequired[list[dict[str, Any]]]
    tool_call_id: NotRequired[str]


class ChatRow(TypedDict):
    messages: list[Message]
    cut_to: NotRequired[int]
    tags: NotRequired[list[str]]
    group: NotRequired[str]
    tools: NotRequired[list[dict[str, Any]]]


class CompletionRow(TypedDict):
    prompt: str
    completion: str
    cut_to: NotRequired[int]
    tags: NotRequired[list[str]]
    group: NotRequired[str]


class File(TypedDict):
    text: str
    path: NotRequired[str]


class TextRow(TypedDict):
    """`repo`: of which repository it is a file, called `path` there; `more`: files of the same one
    that are read on with it, in one sequence."""

    text: str
    repo: NotRequired[str]
    path: NotRequired[str]
    more: NotRequired[list[File]]
    cut_to: NotRequired[int]
    tags: NotRequired[list[str]]
    group: NotRequired[str]


class ChunkRow(TypedDict):
    """Tokens of a base's own, as the document has them there: a piece of text by itself may be
    encoded otherwise."""

    ids: list[int]
    cut_to: NotRequired[int]
    tags: NotRequired[list[str]]
    group: NotRequired[str]


class ChatPairRow(TypedDict):
    """Of the messages that both sides have in common nothing is trained."""

    messages: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    margin: NotRequired[float]
    cut_to: NotRequired[int]
    tags: NotRequired[list[str]]
    group: NotRequired[str]
    tools: NotRequired[list[dict[str, Any]]]


class CompletionPairRow(TypedDict):
    prompt: str
    chosen: str
    rejected: str
    margin: NotRequired[float]
    cut_to: NotRequired[int]
    tags: NotRequired[list[str]]
    group: NotRequired[str]


class PromptRow(TypedDict):
    """Nothing of it is trained: the model's own answers to it are, by what graders say of them."""

    messages: list[Message]
    item: dict[str, Any]
    cut_to: NotRequired[int]
    tags: NotRequired[list[str]]
    tools: NotRequired[list[dict[str, Any]]]


class RatedChatRow(TypedDict):
    """Of `messages` nothing is trained."""

    messages: list[Message]
    completion: list[Message]
    label: bool
    cut_to: NotRequired[int]
    tags: NotRequired[list[str]]
    tools: NotRequired[list[dict[str, Any]]]


class RatedCompletionRow(TypedDict):
    prompt: str
    completion: str
    label: bool
    cut_to: NotRequired[int]
    tags: NotRequired[list[str]]


class RetrievalRow(TypedDict):
    """`negatives`: none, or some that were found hard to tell from the positive."""

    query: str
    positive: str
    negatives: list[str]
    cut_to: NotRequired[int]
    tags: NotRequired[list[str]]
    group: NotRequired[str]


class ScoredPairRow(TypedDict):
    sentence1: str
    sentence2: str
    score: float
    cut_to: NotRequired[int]
    tags: NotRequired[list[str]]
    group: NotRequired[str]


class EmbeddedRow(TypedDict):
    """One of such a record's texts, to become a vector; `side`: see `records.recipe`."""

    embedded: str
    side: Side


class RankedRow(TypedDict):
    """A query beside one of its record's documents, to become a score."""

    query: str
    document: str


PairRow = ChatPairRow | CompletionPairRow
RatedRow = RatedChatRow | RatedCompletionRow
Row = ChatRow | CompletionRow | TextRow | ChunkRow | PromptRow
Record = Row | PairRow | RatedRow | RetrievalRow | ScoredPairRow


def label_of(record: Record) -> bool | None:
    """Of a rated one, whether its answer is good."""
    label: bool | None = cast(dict[str, Any], record).get("label")
    return label


def margin_of(record: Record) -> float | None:
    """Of a pair, by how much its better answer is better, where it says so."""
    margin: float | None = cast(dict[str, Any], record).get("margin")
    return margin


def score_of(record: Record) -> float | None:
    """Of a scored pair, how alike its texts are."""
    score: float | None = cast(dict[str, Any], record).get("score")
    return score
