"""What crosses the socket: one JSON object a line, and raw bytes after a line that announces them.

A connection carries one call at a time. Every answer line is a `Delta`, a reply or an error; the
caller's hanging up is the only way, and a sure way, to cancel.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    model_validator,
)

from finetune.records.check.spec import Overflow, RowFormat
from finetune.records.infilling import Cut, Order
from finetune.records.recipe import Side
from finetune.records.thinking import Thinking

MAX_LINE = 32 * 2**20  # bytes of one JSON line; a longer request is refused
MAX_STOP = 4  # as in OpenAI's API

FinishReason = Literal["stop", "length", "tool_calls"]
Tenant = Annotated[str, Field(min_length=1, max_length=64)]  # an opaque id


class _Frame(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cost(_Frame):
    """What one prompt asks for: `tokens` = n x (prompt + answer at its longest), and `logprobs` =
    log-probabilities to be told, alternatives and an echoed prompt's included."""

    tokens: int
    logprobs: int

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(tokens=self.tokens + other.tokens, logprobs=self.logprobs + other.logprobs)


class CostLimits(_Frame):
    tokens: PositiveInt
    logprobs: PositiveInt


class Form(_Frame):
    """What an answer's text has to be: JSON that the schema accepts. `place` is the request's field
    that faults of the schema name."""

    json_schema: dict[str, Any]
    place: str


class GenerateRequest(_Frame):
    """One chat (`messages`) or completion (`prompt`, text or token ids) to be answered `n` times.

    `tenant` says whose turn it takes and whose adapters it may name; the gateway sets it, never a
    client. `adapter_digest` None asks for the plain base. `max_tokens` None goes on to the end of
    the context, 0 asks for an echo alone. `logit_bias` is added to tokens' logits; the penalties
    are taken off those that the answer has already, once (`presence`) or for each time
    (`frequency`). `suffix` follows the hole that is to be filled in. `logprobs` asks for each
    chosen token's, `top_logprobs` for that many alternatives. `must_call` wants one or several of
    `tools` called, `must_call_tool` that one,
    `callable_tools` lets no others be called, and without `parallel_calls` there is one call at
    most. `form` is what the text has to be. `thinking` asks a chat's model to think before it
    answers, or not to; None leaves it to the base's template; `thinking_place` is the request's
    field that asked. `limits` is what the request may cost at most.
    """

    op: Literal["generate"] = "generate"
    tenant: Tenant
    base_path: str
    base_digest: str
    adapter_digest: str | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    must_call: bool = False
    must_call_tool: str | None = None
    callable_tools: list[str] | None = None
    parallel_calls: bool = True
    thinking: bool | None = None
    thinking_place: str = "chat_template_kwargs.enable_thinking"
    form: Form | None = None
    prompt: str | list[int] | None = None
    echo: bool = False
    suffix: str | None = None
    n: int = Field(1, ge=1, le=128)
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, ge=0, le=1)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    logit_bias: dict[int, Annotated[float, Field(ge=-100, le=100)]] = Field({}, max_length=1024)
    max_tokens: NonNegativeInt | None = None
    stop: list[Annotated[str, Field(min_length=1)]] = Field(default=[], max_length=MAX_STOP)
    seed: int | None = None
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)
    limits: CostLimits | None = None

    @model_validator(mode="after")
    def _one_kind_of_prompt(self) -> Self:
        if (self.messages is None) == (self.prompt is None):
            raise ValueError("give either messages or prompt")
        if self.echo and self.prompt is None:
            raise ValueError("echo goes with prompt, not with messages")
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("max_tokens 0 needs echo")
        if self.suffix and (self.echo or not isinstance(self.prompt, str)):
            raise ValueError("suffix goes with a prompt that is text, without echo")
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs")
        return self


MOST_INPUTS = 2048  # as in OpenAI's API


class EmbedRequest(_Frame):
    """Texts, or token ids as they are, of which vectors are to be made. `side` says what they are,
    by which the base has its prompts; `dimensions` cuts the vectors and makes them of length 1
    again. With a `query` the inputs are documents, and each one's vector is one number: its score
    beside that query; of a document the first `document_tokens` are read, and a pair that is too
    long is refused unless `cut`. What else stands here is `GenerateRequest`'s."""

    op: Literal["embed"] = "embed"
    tenant: Tenant
    base_path: str
    base_digest: str
    adapter_digest: str | None = None
    inputs: list[str | list[int]] = Field(min_length=1, max_length=MOST_INPUTS)
    side: Side = "text"
    dimensions: PositiveInt | None = None
    query: str | None = None
    document_tokens: PositiveInt | None = None
    cut: bool = True
    limits: CostLimits | None = None


class Embedded(_Frame):
    """`vectors`: of each input, in order, its float32 numbers, little-endian, in base64."""

    vectors: list[str]
    prompt_tokens: int


MOST_CONVERSATIONS = 256


class Conversation(_Frame):
    """`messages`: in the chat template's form, the last one the assistant's answer."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    tools: list[dict[str, Any]] | None = None

    @model_validator(mode="after")
    def _ends_in_an_answer(self) -> Self:
        if self.messages[-1].get("role") != "assistant":
            raise ValueError("the last message is the assistant's")
        return self


class ScoreRequest(_Frame):
    """Conversations of which a reward model is to say how good the last answer is. `thinking` is
    how it was trained to be asked. What else stands here is `GenerateRequest`'s."""

    op: Literal["score"] = "score"
    tenant: Tenant
    base_path: str
    base_digest: str
    adapter_digest: str
    conversations: list[Conversation] = Field(min_length=1, max_length=MOST_CONVERSATIONS)
    thinking: bool | None = None
    limits: CostLimits | None = None


class Scored(_Frame):
    """`scores`: of each conversation, in order, as the model gives them, without bounds."""

    scores: list[float]
    prompt_tokens: int


class MeasureRequest(_Frame):
    """What these requests cost together, before the first of them is begun."""

    op: Literal["measure"] = "measure"
    requests: list[
        Annotated[GenerateRequest | EmbedRequest | ScoreRequest, Field(discriminator="op")]
    ] = Field(min_length=1)


class HasAdapterRequest(_Frame):
    op: Literal["has_adapter"] = "has_adapter"
    tenant: Tenant
    base_digest: str
    digest: str


class LoadAdapterRequest(_Frame):
    """`bytes` raw bytes of safetensors follow the line. Only this tenant can name the adapter."""

    op: Literal["load_adapter"] = "load_adapter"
    tenant: Tenant
    base_path: str
    base_digest: str
    digest: str
    config: dict[str, Any]
    bytes: PositiveInt


class EvictRequest(_Frame):
    """Forget a tenant's adapters and end its answers: all, those on one base, or one adapter's."""

    op: Literal["evict"] = "evict"
    tenant: Tenant
    base_digest: str | None = None
    adapter_digest: str | None = None


class Evicted(_Frame):
    adapters: int
    answers: int


class PreviewRequest(_Frame):
    """A canonical row as training with these settings would show it to the model. Needs the base's
    tokenizer and none of its weights."""

    op: Literal["preview"] = "preview"
    tenant: Tenant
    base_path: str
    base_digest: str
    row: dict[str, Any]
    row_format: RowFormat
    max_length: PositiveInt | None = None
    overflow: Overflow = "refuse"
    thinking: Thinking = "each"
    fim: Order | None = None
    fim_cut: Cut = "character"


class StatusRequest(_Frame):
    op: Literal["status"] = "status"


Request = Annotated[
    GenerateRequest
    | EmbedRequest
    | ScoreRequest
    | MeasureRequest
    | HasAdapterRequest
    | LoadAdapterRequest
    | EvictRequest
    | PreviewRequest
    | StatusRequest,
    Field(discriminator="op"),
]
REQUEST: TypeAdapter[Request] = TypeAdapter(Request)


class TopLogprob(_Frame):
    """`bytes` are the token's own, so that halves of a character can be put together."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(_Frame):
    """`logprob` is None for an echoed prompt's first token, which nothing predicts.

    `text_offset` counts characters from the start of the choice's text.
    """

    token: str
    logprob: float | None
    bytes: list[int]
    top_logprobs: list[TopLogprob] = []
    text_offset: int = 0


class ToolCall(_Frame):
    """`arguments` is a string of JSON, as on OpenAI's wire."""

    index: int
    id: str
    name: str
    arguments: str


class Usage(_Frame):
    """`prompt_tokens` count once, however many choices; `completion_tokens` are of all choices,
    the end-of-turn token included."""

    prompt_tokens: int
    completion_tokens: int


class Delta(_Frame):
    """What choice `index` gained; `reasoning` is what it thought before its text. The last delta of
    an answer has `usage` and no choice's news."""

    index: int = 0
    text: str = ""
    reasoning: str = ""
    logprobs: list[TokenLogprob] = []
    tool_calls: list[ToolCall] = []
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


class Resident(_Frame):
    tenant: str
    digest: str


class LoadedBase(_Frame):
    """`running` and `waiting` count choices, `waiting` those that are not being answered yet; what
    was ended is counted there until the model's next step. `requests` are those being answered."""

    digest: str
    precision: str
    context_length: int
    adapters: list[Resident]
    running: int
    waiting: int
    requests: int = 0
    tenants: list[str] = []  # who is being answered, or waits to be


class Status(_Frame):
    """`turns`: steps of the model since the start."""

    pid: int
    turns: int
    memory_mb: int
    bases: list[LoadedBase]
