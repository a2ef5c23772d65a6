"""A base model in memory: weights, tokenizer, and what is known about its prompts and its end."""

import inspect
import json
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from faults import OurFault, UserFault
from finetune.families import placement
from finetune.families.causal_lm.adapters import Adapter, AdapterSwitch
from finetune.families.causal_lm.cache import RaggedCache
from finetune.families.causal_lm.loading import DTYPES
from finetune.families.causal_lm.loading import load_base as load_weights
from finetune.families.causal_lm.masks import MaskMaker
from finetune.records.encode import RowEncoder, load_tokenizer
from finetune.serving.tools import speaks_tool_calls
from finetune.serving.vocabulary import Vocabulary

log = logging.getLogger(__name__)

Precision = Literal["auto", "fp32", "bf16"]
_PROBE_TOKENS = 12


@dataclass(eq=False)
class Base:
    """One loaded base. `forward` is the only way its weights are used."""

    digest: str
    model: Any  # a transformers causal LM
    encoder: RowEncoder
    stop_ids: frozenset[int]
    context_length: int

    def __post_init__(self) -> None:
        self.switch = AdapterSwitch(self.model)
        self.vocabulary = Vocabulary(self.tokenizer)
        self.kv_bytes_per_token = 0  # of one row; measured by `probe`
        self._masks = MaskMaker(self.model.config, self.dtype)
        names = inspect.signature(self.model.forward).parameters
        # transformers renamed the argument in 5.2x
        self._cache_name = "cache" if "cache" in names else "past_key_values"

    @property
    def tokenizer(self) -> Any:
        return self.encoder.tokenizer

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = next(self.model.parameters()).dtype
        return dtype

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def vocabulary_size(self) -> int:
        return int(self.model.config.vocab_size)

    @cached_property
    def nbytes(self) -> int:
        return sum(p.numel() * p.element_size() for p in self.model.parameters())

    @cached_property
    def speaks_tool_calls(self) -> bool:
        return speaks_tool_calls(self.tokenizer.chat_template)

    @torch.inference_mode()
    def forward(
        self,
        cache: RaggedCache,
        tokens: list[list[int]],
        adapters: list[Adapter | None],
        *,
        every_position: bool = False,
    ) -> Tensor:
        """New tokens of every row of `cache` in; logits of each row's last one out, fp32.

        Returns [rows, vocab], or [rows, longest new, vocab] with `every_position`.
        """
        counts = [len(row) for row in tokens]
        width = max(counts)
        padded = [row + [0] * (width - len(row)) for row in tokens]
        positions = cache.begin(counts, width, self.device)
        last = torch.tensor(counts, device=self.device)[:, None] - 1
        with self.switch.using(adapters, self.device):
            output = self.model(
                input_ids=torch.tensor(padded, device=self.device),
                attention_mask=self._masks.make(positions, cache.span),
                position_ids=positions,
                use_cache=True,
                logits_to_keep=0 if every_position else last,
                **{self._cache_name: cache},
            )
        logits: Tensor = output.logits.float()
        return logits if every_position else logits[:, 0]

    def probe(self) -> None:
        """Compare our batched way with the model's own on a few tokens, before anybody asks.

        Raises UserFault `architecture_unsupported`: better no answer than a wrong one.
        """
        ids = [(7 * i + 3) % self.vocabulary_size for i in range(_PROBE_TOKENS)]
        with torch.inference_mode():
            expected = self.model(torch.tensor([ids], device=self.device), use_cache=False).logits
        cache = RaggedCache()
        cache.lengths = [0, 0]
        half = _PROBE_TOKENS // 2
        self.forward(cache, [ids[:half], ids[:2]], [None, None])
        got = self.forward(cache, [ids[half:], ids[2:4]], [None, None])
        self.kv_bytes_per_token = cache.bytes_per_token
        for row, at in (0, _PROBE_TOKENS - 1), (1, 3):
            want = expected[0, at].float()
            error = float((got[row] - want).abs().max() / want.abs().max())
            if not error < (0.1 if self.dtype == torch.bfloat16 else 1e-3):
                raise _unsupported(type(self.model).__name__, f"logits differ by {error:.2g}")


def load_base(path: Path, digest: str, precision: Precision = "auto") -> Base:
    """Read a base from its folder: safetensors only, no code of the model's, no network.

    Raises UserFault (`architecture_unsupported`, `no_tokenizer`) or OurFault (`base_missing`,
    `base_mismatch`).
    """
    _check_folder(path, digest)
    device = torch.device(placement.device())
    dtype = choose_dtype(precision, device)
    encoder = RowEncoder(load_tokenizer(path))
    try:
        model = load_weights(path, dtype=dtype)
    except (ValueError, KeyError) as error:
        raise _unsupported(path.name, str(error)) from error
    model = model.to(device).eval().requires_grad_(False)
    base = Base(digest, model, encoder, _stop_ids(model, encoder), _context_length(model))
    if not MaskMaker(model.config, dtype).supported:
        raise _unsupported(type(model).__name__, "it has layers other than attention")
    try:
        base.probe()
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise _unsupported(type(model).__name__, str(error)) from error
    log.info("loaded base %s as %s, %d MB", digest, dtype, base.nbytes >> 20)
    return base


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """bf16 where the processor multiplies it natively; elsewhere fp32 is faster."""
    if precision != "auto":
        return DTYPES[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if placement.native_bf16() else torch.float32


def _check_folder(path: Path, digest: str) -> None:
    if not (path / "config.json").is_file():
        raise OurFault("base_missing", "The base model's folder is not there.", where=str(path))
    record = path / "base.json"
    if record.is_file():
        found = json.loads(record.read_bytes()).get("digest")
        if found != digest:
            raise OurFault(
                "base_mismatch", f"The folder holds base {found}, not {digest}.", where=str(path)
            )


def _stop_ids(model: Any, encoder: RowEncoder) -> frozenset[int]:
    named = getattr(model.generation_config, "eos_token_id", None)
    listed = named if isinstance(named, list) else [named]
    return encoder.stop_ids | {token for token in listed if token is not None}


def _context_length(model: Any) -> int:
    length = getattr(model.config, "max_position_embeddings", None)
    if length is None:
        raise _unsupported(type(model).__name__, "its configuration names no context length")
    return int(length)


def _unsupported(name: str, reason: str) -> UserFault:
    return UserFault(
        "architecture_unsupported",
        f"The base model {name} cannot be served here: {reason}",
        fix="Use a LLaMA-, Mistral-, Qwen2/3- or Gemma-type causal language model.",
    )
