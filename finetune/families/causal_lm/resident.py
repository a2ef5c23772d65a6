"""A causal language model that stays in memory and answers rows of several adapters at once."""

import inspect
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from faults import UserFault
from finetune.families.adapters.assignment import Adapter, Assignment
from finetune.families.adapters.files import read_adapter
from finetune.families.adapters.switch import AdapterSwitch
from finetune.families.causal_lm import attention
from finetune.families.causal_lm.cache import RaggedCache
from finetune.families.causal_lm.layout import Row, lay_out
from finetune.families.causal_lm.loading import DTYPES, load_base
from finetune.families.causal_lm.masks import MaskMaker
from finetune.families.causal_lm.shape import shape_of
from finetune.families.contract import Device, Precision, Shape

_PROBE_TOKENS = 12


class ResidentLM:
    """`forward` and `last_states` are the only ways its weights are used."""

    def __init__(self, model: Any, switch: AdapterSwitch | None = None) -> None:
        """`switch`: that of a model whose linear layers have one already."""
        self.model = model  # a transformers causal LM
        self.device: torch.device = next(model.parameters()).device
        self.dtype: torch.dtype = next(model.parameters()).dtype
        shape = _shape(model)
        self.vocabulary_size = shape.vocabulary_size
        self.context_length = shape.context_length
        self.stop_ids = _stop_ids(model)
        self.kv_bytes_per_token = 0  # of one row; measured by `probe`
        self._switch = switch or AdapterSwitch(model)
        self._masks = MaskMaker(model.config.get_text_config(), self.dtype)
        if not self._masks.supported:
            raise _unsupported(type(model).__name__, "it has layers other than attention")
        names = inspect.signature(model.forward).parameters
        # transformers renamed the argument in 5.2x
        self._cache_name = "cache" if "cache" in names else "past_key_values"

    @cached_property
    def nbytes(self) -> int:
        return sum(p.numel() * p.element_size() for p in self.model.parameters())

    def read_adapter(self, safetensors: bytes, config: dict[str, Any]) -> Adapter:
        return read_adapter(self.model, safetensors, config, may_score=True)

    def new_cache(self) -> RaggedCache:
        return RaggedCache()

    @torch.inference_mode()
    def forward(
        self,
        cache: RaggedCache,
        tokens: list[list[int]],
        adapters: Sequence[Adapter | None],
        *,
        every_position: bool = False,
    ) -> Tensor:
        counts = [len(row) for row in tokens]
        width = max(counts)
        padded = [row + [0] * (width - len(row)) for row in tokens]
        positions = cache.begin(counts, width, self.device)
        last = torch.tensor(counts, device=self.device)[:, None] - 1
        with self._switch.using(Assignment.by_row(adapters, self.device)):
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

    @torch.inference_mode()
    def last_states(
        self, rows: Sequence[Sequence[int]], adapters: Sequence[Adapter | None]
    ) -> Tensor:
        """[rows, d]: of each row the last hidden state of its last token. The rows are packed as in
        training, and those of one adapter share what they begin with. Raises UserFault
        `architecture_unsupported`."""
        if not self._packs:
            raise _unsupported(type(self.model).__name__, "packed rows have other hidden states")
        return self._packed(rows, adapters)

    @cached_property
    def _packs(self) -> bool:
        """Whether packed rows have the states that the model's own way gives; tried once."""
        ids = [(7 * i + 3) % self.vocabulary_size for i in range(_PROBE_TOKENS)]
        rows = [ids, [*ids[: _PROBE_TOKENS // 2], ids[0]], ids[1:]]
        body = getattr(self.model, self.model.base_model_prefix)
        with self._switch.using(Assignment()):
            wanted = [
                body(torch.tensor([row], device=self.device), use_cache=False).last_hidden_state
                for row in rows
            ]
        found = self._packed(rows, [None] * len(rows)).float()
        expected = torch.stack([each[0, -1] for each in wanted]).float()
        gap = float((found - expected).abs().max() / expected.abs().max())
        return gap < (0.1 if self.dtype == torch.bfloat16 else 1e-3)

    def _packed(self, rows: Sequence[Sequence[int]], adapters: Sequence[Adapter | None]) -> Tensor:
        held = list({id(each): each for each in adapters}.values())
        owners = [next(n for n, each in enumerate(held) if each is mine) for mine in adapters]
        order = sorted(range(len(rows)), key=lambda n: (owners[n], len(rows[n])))
        layout = lay_out(
            [Row(rows[n], bytes(len(rows[n]))) for n in order],
            owners=[owners[n] for n in order],
            device=self.device,
        )
        segments = [(held[owner], nodes) for owner, nodes in layout.segments]
        body = getattr(self.model, self.model.base_model_prefix)
        own = self.model.config._attn_implementation
        self.model.set_attn_implementation(attention.NAME)
        try:
            with self._switch.using(Assignment.by_segment(segments)):
                states = body(
                    input_ids=layout.input_ids,
                    position_ids=layout.positions,
                    use_cache=False,
                    layout=layout,
                ).last_hidden_state[0]
        finally:
            self.model.set_attn_implementation(own)
        last = [0] * len(rows)
        for n, path in zip(order, layout.paths, strict=True):
            last[n] = path[-1]
        found: Tensor = states.index_select(0, torch.tensor(last, device=self.device))
        return found

    def try_out(self) -> None:
        """Raises UserFault `architecture_unsupported`, whatever breaks."""
        try:
            self.probe()
        except (TypeError, RuntimeError, NotImplementedError) as error:
            raise _unsupported(type(self.model).__name__, str(error)) from error

    def probe(self) -> None:
        """Compare our batched way with the model's own on a few tokens, before anybody asks.

        Raises UserFault `architecture_unsupported`: better no answer than a wrong one.
        """
        ids = [(7 * i + 3) % self.vocabulary_size for i in range(_PROBE_TOKENS)]
        with torch.inference_mode():
            expected = self.model(torch.tensor([ids], device=self.device), use_cache=False).logits
        cache = self.new_cache()
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


def load_resident(base_dir: Path, *, precision: Precision, device: Device) -> ResidentLM:
    """Raises UserFault `architecture_unsupported`."""
    try:
        model = load_base(base_dir, dtype=DTYPES[precision])
    except (ValueError, KeyError) as error:
        raise _unsupported(base_dir.name, str(error)) from error
    resident = ResidentLM(model.to(device).eval().requires_grad_(False))
    resident.try_out()
    return resident


def _stop_ids(model: Any) -> frozenset[int]:
    named = getattr(model.generation_config, "eos_token_id", None)
    listed = named if isinstance(named, list) else [named]
    return frozenset(token for token in listed if token is not None)


def _shape(model: Any) -> Shape:
    try:
        return shape_of(model.config)
    except AttributeError as error:
        raise _unsupported(type(model).__name__, f"its configuration is short: {error}") from error


def _unsupported(name: str, reason: str) -> UserFault:
    return UserFault(
        "architecture_unsupported",
        f"The base model {name} cannot be served here: {reason}",
        fix="docs/reference/architectures.md lists what was run here; choose one of those.",
    )
