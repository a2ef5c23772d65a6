"""A causal language model with the adapter that it is trained with: transformers' body runs on
packed rows, and the head only where a label is."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from faults import OurFault
from finetune.families.adapters.adapted import Adapted
from finetune.families.adapters.assignment import Adapter, Assignment
from finetune.families.adapters.fresh import TrainableAdapter, fresh_adapter
from finetune.families.adapters.switch import AdapterSwitch
from finetune.families.adapters.targets import has_experts
from finetune.families.causal_lm import attention
from finetune.families.causal_lm.head import HeadMath, sum_cross_entropy, token_losses
from finetune.families.causal_lm.layout import Layout, Row, lay_out
from finetune.families.causal_lm.loading import DTYPES, load_base
from finetune.families.causal_lm.noise import EmbeddingNoise
from finetune.families.causal_lm.probing import Probe, head_logits
from finetune.families.causal_lm.resident import ResidentLM
from finetune.families.causal_lm.shape import FITTED_ROPE
from finetune.families.contract import AdapterSpec, Device, Precision
from finetune.families.widening import widened

PROBE_TOKENS = 32
# of the largest logit; a leak or a forgotten scale is orders of magnitude above
PROBE_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 0.1}


class CausalLM(Adapted):
    """A frozen base with a trainable adapter."""

    def __init__(
        self,
        model: Any,
        switch: AdapterSwitch,
        trained: TrainableAdapter,
        noise: EmbeddingNoise | None = None,
    ) -> None:
        super().__init__(switch, trained)
        self.inner = model
        self.noise = noise
        self.body: nn.Module = getattr(model, model.base_model_prefix)
        self.head: Tensor = model.get_output_embeddings().weight
        self.head_math = _head_math(model.config.get_text_config())

    @property
    def vocabulary_size(self) -> int:
        return self.head.shape[0]

    @property
    def side_by_side(self) -> bool:
        """Not with rotary embeddings that fit their frequencies, in place, to what they are shown.
        A rotary module names its kind, or one for each type of layer."""
        named = (getattr(module, "rope_type", None) for module in self.body.modules())
        kinds = {k for kind in named for k in (kind.values() if isinstance(kind, dict) else [kind])}
        return not kinds & FITTED_ROPE

    def lay_out(self, rows: Sequence[Row], *, share_prefixes: bool) -> Layout:
        return lay_out(rows, share_prefixes=share_prefixes, device=self.head.device)

    def hidden(self, layout: Layout) -> Tensor:
        """Last hidden states, [nodes, d]."""
        with self.noise.over(layout) if self.noise else nullcontext():
            out = self.body(
                input_ids=layout.input_ids,
                position_ids=layout.positions,
                use_cache=False,
                layout=layout,
            )
        return out.last_hidden_state[0]

    def cross_entropy(self, layout: Layout) -> tuple[Tensor, Tensor]:
        """(sum of losses [nats], right guesses) where something is learnt, and only there."""
        hidden = self.hidden(layout).index_select(0, layout.predict)  # [trained, d]
        return sum_cross_entropy(hidden, self.head, layout.targets, self.head_math)

    def token_losses(self, layout: Layout) -> Tensor:
        """[trained]: the loss [nats] at each trained position, the rows' end to end."""
        hidden = self.hidden(layout).index_select(0, layout.predict)  # [trained, d]
        return token_losses(hidden, self.head, layout.targets, self.head_math)

    def log_likelihoods(self, layout: Layout, labels: Sequence[int]) -> Tensor:
        """[rows], float64: of each row the summed log-probability [nats] of its labels, of which it
        has so many."""
        parts = self.token_losses(layout).split(list(labels))
        return -torch.stack([part.sum(dtype=torch.float64) for part in parts])

    def token_log_probs(self, layout: Layout, temperature: float) -> Tensor:
        """[trained], float32 or wider: the log-probability [nats] of each label, the rows' end to
        end, where tokens are drawn at that temperature."""
        hidden = self.hidden(layout).index_select(0, layout.predict)  # [trained, d]
        math = replace(self.head_math, temperature=temperature)
        return -token_losses(hidden, self.head, layout.targets, math)

    @contextmanager
    def answering(self) -> Iterator[tuple[ResidentLM, Adapter]]:
        """As a base that answers with a cache, and the adapter as it is now, for the calls inside.

        The base's weights are the very same; the adapter is copied into its type once, not for
        every token. Raises UserFault `architecture_unsupported`.
        """
        self.train(False)
        self.inner.set_attn_implementation(self._plain_attention)
        try:
            resident = self._resident
            with torch.no_grad():
                layers = {
                    name: layer.settled(self.inner.get_submodule(name).weight)
                    for name, layer in self.trained.adapter.layers.items()
                }
            yield resident, Adapter(layers)
        finally:
            self.inner.set_attn_implementation(attention.NAME)

    @property
    def _plain_attention(self) -> str:
        return "sdpa" if self.inner._supports_sdpa else "eager"

    @cached_property
    def _resident(self) -> ResidentLM:
        resident = ResidentLM(self.inner, self.switch)
        with self.without_adapter():
            resident.try_out()
        return resident

    def without_adapter(self) -> AbstractContextManager[None]:
        """The plain base, for the calls of this thread inside."""
        return self.switch.using(Assignment())

    @torch.no_grad()
    def check_faithful(self, rows: Sequence[Row]) -> None:
        """Packed rows must give what transformers gives for each row alone, on this very base.

        An architecture that mixes rows, or does more to its logits than we know, is refused
        here and not trained wrongly. Raises OurFault `unfaithful_architecture`.
        """
        short = [Row(row.input_ids[:PROBE_TOKENS], row.labels[:PROBE_TOKENS]) for row in rows]
        # rows of one file may begin alike: what follows a fork shows whether rows are kept apart
        short += [self._forked(row) for row in short]
        self.train(False)
        layout = self.lay_out([*short, *short[:1]], share_prefixes=True)
        # rounding may send a token to another expert, which is no fault of the layout
        routed = has_experts(self.inner)
        wide = partial(widened, self.inner) if routed else nullcontext
        tolerance = PROBE_TOLERANCE[self.head.dtype]
        if routed:
            tolerance = min(tolerance, PROBE_TOLERANCE[torch.float32])
        with wide():
            ours = self.head_math.logits(head_logits(self.hidden(layout), self.head))
        self.inner.set_attn_implementation(self._plain_attention)
        try:
            for row, path in zip(short, layout.paths, strict=False):
                ids = torch.tensor([list(row.input_ids)], device=self.head.device)
                with wide():
                    theirs = self.inner(input_ids=ids, use_cache=False).logits[0]
                gap = (ours[list(path)] - theirs).float().abs().max() / theirs.float().abs().max()
                if not gap < tolerance:
                    raise OurFault(
                        "unfaithful_architecture",
                        f"Packed rows give other logits than the model itself (by {gap:.1e}).",
                        fix="This architecture is not supported yet; choose another base.",
                    )
        finally:
            self.inner.set_attn_implementation(attention.NAME)

    def _forked(self, row: Row) -> Row:
        """A row that begins like this one and goes on with other tokens."""
        kept = len(row) // 2
        others = [(token + 1) % self.vocabulary_size for token in row.input_ids[kept:]]
        return Row([*row.input_ids[:kept], *others], row.labels)

    @torch.no_grad()
    def probe(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """What it says at a few places of these rows, for `comparing.compare`."""
        self.train(False)

        def adapted(tokens: list[int], places: list[int]) -> Tensor:
            layout = self.lay_out([Row(tokens, [False] * len(tokens))], share_prefixes=False)
            with widened(self.body):
                hidden = self.hidden(layout)[places]
            return self.head_math.logits(head_logits(hidden, self.head))

        def plain(tokens: list[int], places: list[int]) -> Tensor:
            with self.without_adapter():
                return adapted(tokens, places)

        return Probe.taken([row.input_ids for row in rows], adapted, plain).tensors()

    def train(self, mode: bool) -> None:
        self.inner.train(mode)


def load(
    base_dir: Path,
    adapter: AdapterSpec,
    *,
    precision: Precision,
    device: Device,
    seed: int,
    gradient_checkpointing: bool = False,
    noise_alpha: float = 0.0,
) -> CausalLM:
    """Base in `precision`; the adapter in float32 (float64 where the base is), seeded."""
    model = load_base(base_dir, dtype=DTYPES[precision], attention=attention.NAME).to(device)
    adapted = attach(model, adapter, seed=seed, noise_alpha=noise_alpha)
    if gradient_checkpointing:
        adapted.switch.recompute()
    return adapted


def attach(model: Any, adapter: AdapterSpec, *, seed: int, noise_alpha: float = 0.0) -> CausalLM:
    """Put a fresh, seeded adapter on a loaded base. Raises UserFault where it does not fit."""
    fresh = fresh_adapter(model, adapter, seed=seed)
    noise = EmbeddingNoise(model.get_input_embeddings(), noise_alpha) if noise_alpha else None
    return CausalLM(model, AdapterSwitch(model), fresh, noise)


def _head_math(config: Any) -> HeadMath:
    """What a few architectures do to their logits after the head."""
    scale = getattr(config, "logit_scale", None) or 1.0  # Cohere
    scale /= getattr(config, "logits_scaling", None) or 1.0  # Granite
    return HeadMath(scale=scale, softcap=getattr(config, "final_logit_softcapping", None))
