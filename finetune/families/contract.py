"""What every family of models gives to training, packaging and serving. No torch is needed to read
this page: specs are made where there is none."""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from pydantic import AfterValidator, Field, PositiveFloat

from finetune.families.growing import Growing
from finetune.records.kinds import Item, RecordKind
from finetune.records.thinking import Thinking

if TYPE_CHECKING:
    from random import Random

    from torch import Tensor, dtype, nn

    from finetune.records.frozen import FrozenItems
    from finetune.records.infilling import Holes

FamilyName = Literal["causal_lm", "embedding", "scoring", "reranking"]
BASES: tuple[FamilyName, ...] = ("causal_lm", "embedding", "reranking")
"""Families of bases; one that scores is trained on a base that writes."""
Precision = Literal["fp32", "bf16", "fp64"]
Device = Literal["cpu", "cuda"]

PROBES = "probes.safetensors"
"""In a result's folder: what `Adapted.probe` told."""


def _beginning(name: str) -> str:
    """peft's names of an adapter's first weights; the number is of subspace iterations."""
    if not re.fullmatch(r"default|gaussian|olora|pissa(_niter_[1-9][0-9]?)?", name):
        raise ValueError("it is one of default, gaussian, olora, pissa, and pissa_niter_1 to _99")
    return name


class AdapterSpec(Growing):
    """LoRA (Hu et al. 2021), DoRA (Liu et al. 2024), rsLoRA (Kalajdzievski 2023) through peft.

    `init_lora_weights` is how it begins: `default` and `gaussian` draw A and leave B zero; PiSSA
    (Meng et al. 2024) and OLoRA (Büyükakyüz 2024) take both from the base's own weights.
    """

    always_written: ClassVar = frozenset(
        ["r", "alpha", "dropout", "targets", "use_dora", "use_rslora"]
    )

    r: int = Field(default=16, ge=1, le=512)
    alpha: PositiveFloat = Field(default=32, le=1e38)  # more is infinite in float32
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: Annotated[tuple[str, ...], Field(min_length=1)] | Literal["all-linear"] = "all-linear"
    use_dora: bool = False
    use_rslora: bool = False
    init_lora_weights: Annotated[str, AfterValidator(_beginning)] = "default"

    @property
    def begins_in_the_base(self) -> bool:
        """Whether A and B begin as a part of the base's weights, which is taken off again by as
        many columns and rows that stand still."""
        return self.init_lora_weights not in ("default", "gaussian")

    @property
    def written_rank(self) -> int:
        """Of its files: what stands still is written beside what is trained."""
        return 2 * self.r if self.begins_in_the_base else self.r


def base_of(name: FamilyName) -> FamilyName:
    """The family of the bases that models of this family are trained on."""
    return "causal_lm" if name == "scoring" else name


@dataclass(frozen=True)
class Shape:
    """Of a base: how many tokens its head knows, and how many it can take in a row."""

    vocabulary_size: int
    context_length: int


@dataclass(frozen=True)
class Fit:
    """Of a base's weights and its configuration: `fault` says what is missing or of another shape;
    a tied head counts once."""

    parameters: int
    fault: str | None = None


class Batch(Protocol):
    """A micro-batch as the model takes it; `tokens` is what its sequences hold."""

    @property
    def tokens(self) -> int: ...


class Read(Protocol):
    """(a line of canonical JSON, where it stands) -> its item. Raises UserFault with its place."""

    @property
    def printed_day(self) -> str | None:
        """What its prompts print as today's date (ISO 8601), where the template writes one."""

    def __call__(self, line: bytes, where: str, /) -> Item: ...

    def freeze(self, items: Iterable[Item], path: Path) -> None:
        """Writes such items as a check does, for `Family.frozen`: equal ones make equal bytes."""
        ...


class ReadsText(Read, Protocol):
    """Of a family that is trained on documents."""

    def rearranging(self, holes: "Holes") -> "Callable[[Item, Random], Item]":
        """What makes of a document the same one rearranged, as it is drawn. Raises UserFault
        `cannot_infill`."""
        ...


class Adapted(Protocol):
    """A frozen base with one trainable adapter, ready to be trained."""

    parameter_names: list[str]
    parameters: "list[nn.Parameter]"

    @property
    def side_by_side(self) -> bool:
        """Whether several threads may run it at once: nothing in it remembers what ran before."""
        ...

    def lay_out(self, sequences: Sequence[Any], *, share_prefixes: bool) -> Batch: ...

    def check_faithful(self, sequences: Sequence[Any]) -> None:
        """Our way through the model gives what its own way gives. Raises OurFault."""
        ...

    def probe(self, sequences: Sequence[Any]) -> "dict[str, Tensor]":
        """What it says about a few of them, small, for `Family.compare`."""
        ...

    def as_begun(self) -> AbstractContextManager[None]:
        """What training began from, for the calls of this thread inside: the plain base, or the
        adapter that `begin_from` was given."""
        ...

    def train(self, mode: bool) -> None: ...

    def adapter_state(self) -> "dict[str, Tensor]":
        """peft's names -> contiguous CPU tensors."""
        ...

    def load_adapter_state(self, state: "dict[str, Tensor]") -> None:
        """Raises OurFault `other_adapter` unless names and shapes are these."""
        ...

    def begin_from(self, state: "dict[str, Tensor]") -> None:
        """As `load_adapter_state`, before training; a copy stays for `as_begun`."""
        ...

    def adapter_config(self, base_name: str) -> dict[str, Any]:
        """What peft writes as adapter_config.json."""
        ...


class Writes(Adapted, Protocol):
    """One that predicts tokens, as objectives for it ask."""

    @property
    def vocabulary_size(self) -> int: ...

    def log_likelihoods(self, batch: Any, labels: Sequence[int]) -> "Tensor":
        """[sequences], float64: the summed log-probability [nats] of each one's labels, of which it
        has so many."""
        ...

    def token_log_probs(self, batch: Any, temperature: float) -> "Tensor":
        """[labels], float32 or wider: each one's log-probability [nats], the sequences' end to end,
        where tokens are drawn at that temperature."""
        ...

    def answering(self) -> "AbstractContextManager[tuple[ResidentBase, ReadAdapter]]":
        """For the calls inside the same weights as a base that answers, and the adapter as it is
        now. Raises UserFault `architecture_unsupported`."""
        ...


class Scores(Adapted, Protocol):
    """One that scores whole sequences."""

    def scores(self, batch: Any) -> "Tensor":
        """[sequences], float32 or wider."""
        ...


class Embeds(Adapted, Protocol):
    """One that makes a vector of each sequence."""

    def embed(self, batch: Any) -> "Tensor":
        """[sequences, dimensions], float32 or wider."""
        ...


class ReadAdapter(Protocol):
    """An adapter out of its files, ready to be applied to a base in memory; that of a reward model
    has a head."""

    @property
    def head(self) -> "Tensor | None": ...

    @property
    def nbytes(self) -> int: ...


class Cache(Protocol):
    """What a model remembers of a batch's rows. A row that is dropped is replaced by the last."""

    lengths: list[int]  # tokens that stand, by row; append 0 for a row that begins

    def take(self, other: Any, row: int, copies: int = 1) -> None:
        """Append `copies` of another cache's row."""
        ...

    def drop(self, row: int) -> None: ...


class Resident(Protocol):
    """A base that stays in memory, for rows of several adapters at once."""

    @property
    def dtype(self) -> "dtype": ...

    @property
    def vocabulary_size(self) -> int: ...

    @property
    def context_length(self) -> int: ...

    @property
    def nbytes(self) -> int: ...

    def read_adapter(self, safetensors: bytes, config: dict[str, Any]) -> ReadAdapter:
        """From peft's files. Raises UserFault `adapter_unsupported` or `adapter_mismatch`."""
        ...


class ResidentEmbedder(Resident, Protocol):
    """One that makes vectors, or ranks: then a pair's vector is its score alone."""

    @property
    def dimensions(self) -> int: ...

    def embed(self, texts: Sequence[Any], adapters: Sequence[Any]) -> "Tensor":
        """[texts, dimensions], float32: of texts in tokens (of one that ranks, `Pair`s), and each
        one's adapter or None."""
        ...


class ResidentBase(Resident, Protocol):
    """One that answers."""

    stop_ids: frozenset[int]  # that its own configuration names
    kv_bytes_per_token: int  # of one row

    def new_cache(self) -> Cache: ...

    def forward(
        self,
        cache: Any,
        tokens: list[list[int]],
        adapters: Sequence[Any],
        *,
        every_position: bool = False,
    ) -> "Tensor":
        """New tokens of every row of `cache`, and each row's adapter or None, in; logits of each
        row's last token out, float32.

        Returns [rows, vocab], or [rows, longest new, vocab] with `every_position`.
        """
        ...


class Scorer(Protocol):
    """Scores with reward models on bases that answer."""

    def scores(self, base: Any, rows: Sequence[Sequence[int]], adapters: Sequence[Any]) -> "Tensor":
        """[rows], float32 or wider: of each row in tokens, by its adapter, which has a head. Raises
        UserFault `architecture_unsupported`."""
        ...


@dataclass(frozen=True)
class Difference:
    """Of an adapter as it was trained and as it is loaded again, over a probe of `tokens` tokens:
    the largest differences of log-probabilities in nats (of a base that embeds, of its vectors'
    components), with the adapter (`max_abs_diff`) and of the base alone (`base_diff`); how far
    training `moved` the base."""

    tokens: int
    max_abs_diff: float
    base_diff: float
    moved: float
    same_top_token: bool


@dataclass(frozen=True)
class Said:
    """By a model: its logits, [tokens, vocab], the rows end to end, and what it goes on with after
    each row, the likeliest token every time."""

    logits: "Tensor"
    answers: list[list[int]]


@dataclass(frozen=True)
class Expected:
    """Of a merged model, asked about `rows` (tokens) in float32: what base and adapter say side by
    side, the same with each weight rounded as the merged files hold it, and the base alone."""

    rows: list[list[int]]
    adapted: Said
    rounded: Said
    plain: Said


class Family(Protocol):
    gguf_architectures: tuple[str, ...]
    """What `general.architecture` may say in a GGUF file."""

    def architecture(self, config: dict[str, Any], where: str) -> str:
        """transformers' class for a config.json. Raises UserFault when it is none of ours."""
        ...

    def shape(self, config: Any) -> Shape:
        """From transformers' configuration. Raises AttributeError where it does not say."""
        ...

    def fit(self, base_dir: Path) -> Fit:
        """Told from the files' headers; no weights are loaded."""
        ...

    def reader(
        self,
        base_dir: Path,
        records: RecordKind,
        *,
        max_length: int,
        thinking: Thinking = "each",
    ) -> Read:
        """Encodes records of that kind for this base. Raises UserFault `no_tokenizer`."""
        ...

    def frozen(self, path: Path) -> "FrozenItems":
        """The items that `reader` makes of the same records, out of their token ids. Raises
        OurFault `data_changed`."""
        ...

    def load(
        self,
        base_dir: Path,
        adapter: AdapterSpec,
        *,
        precision: Precision,
        device: Device,
        seed: int,
        gradient_checkpointing: bool = False,
        noise_alpha: float = 0.0,
    ) -> Adapted:
        """Base in `precision`; a fresh adapter, seeded, in float32 (float64 where the base is).

        `noise_alpha`: of the noise on embeddings in training (NEFTune, Jain et al. 2023).
        Safetensors only, no code of the model's, no network. Raises UserFault where the adapter
        does not fit.
        """
        ...

    def resident(
        self, base_dir: Path, *, precision: Precision, device: Device
    ) -> ResidentBase | ResidentEmbedder:
        """Loaded as `load` does, and tried. Raises UserFault `architecture_unsupported`."""
        ...

    def rehearsal(self, base_dir: Path, precision: Precision) -> "Iterable[Callable[[], None]]":
        """Training steps on a shallow copy of the base's shape with random weights, to be timed."""
        ...

    def compare(
        self, base_dir: Path, packed: Path, told: "dict[str, Tensor]", *, precision: Precision
    ) -> Difference:
        """An adapter's folder on this base, loaded as a customer will, against what `probe` told
        when it was trained. Raises OurFault `parity_failed` where it does not load."""
        ...

    def merge(
        self, base_dir: Path, packed: Path, folder: Path, *, shard_bytes: int
    ) -> dict[str, str]:
        """Writes base and adapter as one model's safetensors, computed in float32, each tensor
        under the base's name for it and in its type. Returns the types of those that are merged, by
        tensor. Raises UserFault `form_unsupported` or `adapter_mismatch`."""
        ...

    def expected(
        self,
        base_dir: Path,
        packed: Path,
        merged: dict[str, str],
        *,
        tokens: int,
        texts: Sequence[str] | None = None,
    ) -> Expected:
        """Of what `merge` wrote, by stock peft and `tokens` tokens an answer, asked `texts` or the
        family's own questions. Raises OurFault `parity_failed` where the adapter does not load."""
        ...
