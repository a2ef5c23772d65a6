"""A base model in memory: the model, its tokenizer, and what is known about its prompts and its
end."""

import json
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast, get_args

from faults import OurFault
from finetune.families import family, placement
from finetune.families.contract import (
    Device,
    FamilyName,
    ReadAdapter,
    ResidentBase,
    ResidentEmbedder,
)
from finetune.records.call_form import CallForm
from finetune.records.encode import RowEncoder, load_tokenizer
from finetune.records.texts import PairEncoder, TextEncoder
from finetune.records.vocabulary import Vocabulary
from finetune.serving import harmony, tagged
from finetune.serving.refusals import (
    model_does_not_rank,
    model_embeds,
    model_ranks,
    model_scores,
    model_writes,
    not_a_reward_model,
)
from finetune.serving.structured.grammar import Grammars
from finetune.serving.tagged import Tags
from finetune.serving.tools import Marks, dialect, marks_of

log = logging.getLogger(__name__)

Precision = Literal["auto", "fp32", "bf16"]


@dataclass(eq=False)
class Base:
    digest: str
    model: ResidentBase
    encoder: RowEncoder
    stop_ids: frozenset[int]

    def __post_init__(self) -> None:
        self.vocabulary = Vocabulary(self.tokenizer)
        if self.channels is not None:
            self.stop_ids |= self.channels.ends
        self.grammars = Grammars(self.tokenizer, self.model.vocabulary_size, self.stop_ids)

    @property
    def tokenizer(self) -> Any:
        return self.encoder.tokenizer

    @property
    def context_length(self) -> int:
        return self.model.context_length

    @cached_property
    def calls(self) -> CallForm | None:
        """The dialect in which it calls tools as JSON; None where it does not."""
        return dialect(self.tokenizer.chat_template, self.encoder.call_form)

    @cached_property
    def call_tags(self) -> Tags | None:
        """The tags in which it calls tools instead; None where calls are no such tags."""
        return None if self.calls else tagged.find(self.tokenizer.chat_template)

    @cached_property
    def call_marks(self) -> Marks | None:
        """The control tokens between which it calls tools; None where it does not."""
        return None if self.calls else marks_of(self.tokenizer, self.encoder.call_form)

    @cached_property
    def channels(self) -> harmony.Marks | None:
        """The control tokens that say what each part of an answer is; None: it has no parts."""
        return self.call_marks if isinstance(self.call_marks, harmony.Marks) else None


@dataclass(eq=False)
class EmbeddingBase:
    """One that makes vectors of texts."""

    digest: str
    model: ResidentEmbedder
    encoder: TextEncoder

    @property
    def context_length(self) -> int:
        return self.model.context_length


@dataclass(eq=False)
class RankingBase:
    """One that scores a document beside a query: its vector of a pair is one number."""

    digest: str
    model: ResidentEmbedder
    encoder: PairEncoder

    @property
    def context_length(self) -> int:
        return self.model.context_length


TextBase = EmbeddingBase | RankingBase
AnyBase = Base | TextBase


def writing(base: AnyBase) -> Base:
    """Raises UserFault `model_embeds`, `model_ranks`."""
    if isinstance(base, RankingBase):
        raise model_ranks()
    if isinstance(base, EmbeddingBase):
        raise model_embeds()
    return base


def require_no_head(adapter: ReadAdapter | None) -> None:
    """Raises UserFault `model_scores`."""
    if adapter is not None and adapter.head is not None:
        raise model_scores()


def require_head(adapter: ReadAdapter | None) -> None:
    """Raises UserFault `not_a_reward_model`."""
    if adapter is None or adapter.head is None:
        raise not_a_reward_model()


def embedding(base: AnyBase) -> EmbeddingBase:
    """Raises UserFault `model_writes`, `model_ranks`."""
    if isinstance(base, RankingBase):
        raise model_ranks()
    if isinstance(base, Base):
        raise model_writes()
    return base


def ranking(base: AnyBase) -> RankingBase:
    """Raises UserFault `model_does_not_rank`."""
    if not isinstance(base, RankingBase):
        raise model_does_not_rank()
    return base


def load_base(path: Path, digest: str, precision: Precision = "auto") -> AnyBase:
    """Read a base from its folder: safetensors only, no code of the model's, no network.

    Raises UserFault (`architecture_unsupported`, `no_tokenizer`) or OurFault (`base_missing`,
    `base_mismatch`).
    """
    kind = check_folder(path, digest)
    device = placement.device()
    chosen = choose_precision(precision, device)
    if kind in ("embedding", "reranking"):
        # Vectors are kept for long and compared with others: they shall not tell the machine
        chosen = "fp32" if precision == "auto" else chosen
        embedder = cast(
            ResidentEmbedder, family(kind).resident(path, precision=chosen, device=device)
        )
        log.info("loaded base %s in %s, %d MB", digest, chosen, embedder.nbytes >> 20)
        if kind == "reranking":
            return RankingBase(digest, embedder, PairEncoder(path))
        return EmbeddingBase(digest, embedder, TextEncoder(path))
    encoder = RowEncoder(load_tokenizer(path))
    model = cast(ResidentBase, family(kind).resident(path, precision=chosen, device=device))
    log.info("loaded base %s in %s, %d MB", digest, chosen, model.nbytes >> 20)
    return Base(digest, model, encoder, encoder.stop_ids | model.stop_ids)


def choose_precision(asked: Precision, device: Device) -> Literal["fp32", "bf16"]:
    """bf16 where the processor multiplies it natively; elsewhere fp32 is faster."""
    if asked != "auto":
        return asked
    if device == "cuda":
        return "bf16" if placement.gpu_has_bf16(placement.capability()) else "fp32"
    return "bf16" if placement.native_bf16() else "fp32"


def check_folder(path: Path, digest: str) -> FamilyName:
    """The family that base.json names; a folder without one is of the first. Raises OurFault
    `base_missing`, `base_mismatch`."""
    if not (path / "config.json").is_file():
        raise OurFault("base_missing", "The base model's folder is not there.", where=str(path))
    path /= "base.json"
    known = json.loads(path.read_bytes()) if path.is_file() else {"digest": digest}
    if known.get("digest") != digest:
        raise OurFault(
            "base_mismatch",
            f"The folder holds base {known.get('digest')}, not {digest}.",
            where=str(path.parent),
        )
    kind: FamilyName = known.get("family", get_args(FamilyName)[0])
    return kind
