"""A causal language model with its adapter, through transformers and peft: the body runs on packed
rows, and the head only where a label is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from torch import Tensor, nn

from faults import OurFault, UserFault
from finetune.families.causal_lm import attention, lora
from finetune.families.causal_lm.head import HeadMath, sum_cross_entropy
from finetune.families.causal_lm.layout import Layout, Row, lay_out
from finetune.families.causal_lm.loading import DTYPES, load_base
from finetune.families.contract import AdapterSpec, Device, Precision

PROBE_TOKENS = 32
# of the largest logit; a leak or a forgotten scale is orders of magnitude above
PROBE_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 0.1}


class CausalLM:
    """A frozen base with a trainable adapter."""

    def __init__(self, peft_model: PeftModel) -> None:
        self.peft_model = peft_model
        inner: Any = peft_model.get_base_model()
        self.inner = inner
        self.body: nn.Module = getattr(inner, inner.base_model_prefix)
        self.head: Tensor = inner.get_output_embeddings().weight
        self.head_math = _head_math(inner.config)
        trained = [(n, p) for n, p in peft_model.named_parameters() if p.requires_grad]
        self.parameter_names = [name for name, _ in trained]
        self.parameters = [parameter for _, parameter in trained]

    def lay_out(self, rows: Sequence[Row], *, share_prefixes: bool) -> Layout:
        return lay_out(rows, share_prefixes=share_prefixes, device=self.head.device)

    def hidden(self, layout: Layout) -> Tensor:
        """Last hidden states, [nodes, d]."""
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

    @torch.no_grad()
    def check_faithful(self, rows: Sequence[Row]) -> None:
        """Packed rows must give what transformers gives for each row alone, on this very base.

        An architecture that mixes rows, or does more to its logits than we know, is refused
        here and not trained wrongly. Raises OurFault `unfaithful_architecture`.
        """
        short = [Row(row.input_ids[:PROBE_TOKENS], row.labels[:PROBE_TOKENS]) for row in rows]
        self.train(False)
        layout = self.lay_out([*short, *short[:1]], share_prefixes=True)
        ours = self.head_math.logits(self.hidden(layout) @ self.head.t())
        self.inner.set_attn_implementation("sdpa")
        try:
            for row, path in zip(short, layout.paths, strict=False):
                ids = torch.tensor([list(row.input_ids)], device=self.head.device)
                theirs = self.inner(input_ids=ids, use_cache=False).logits[0]
                gap = (ours[list(path)] - theirs).float().abs().max() / theirs.float().abs().max()
                if not gap < PROBE_TOLERANCE[self.head.dtype]:
                    raise OurFault(
                        "unfaithful_architecture",
                        f"Packed rows give other logits than the model itself (by {gap:.1e}).",
                        fix="This architecture is not supported yet; choose another base.",
                    )
        finally:
            self.inner.set_attn_implementation(attention.NAME)

    def train(self, mode: bool) -> None:
        self.peft_model.train(mode)

    def adapter_state(self) -> dict[str, Tensor]:
        """peft's names -> contiguous CPU tensors."""
        state = get_peft_model_state_dict(self.peft_model)
        return {name: t.detach().cpu().contiguous() for name, t in sorted(state.items())}

    def load_adapter_state(self, state: dict[str, Tensor]) -> None:
        set_peft_model_state_dict(self.peft_model, state)

    def adapter_config(self, base_name: str) -> dict[str, Any]:
        """What peft writes as adapter_config.json, naming the base instead of a local folder."""
        config = self.peft_model.peft_config[lora.ADAPTER].to_dict()
        return {
            **{k: sorted(v) if isinstance(v, set) else v for k, v in config.items()},
            "base_model_name_or_path": base_name,
            "inference_mode": True,
        }


def load(
    base_dir: Path,
    adapter: AdapterSpec,
    *,
    precision: Precision,
    device: Device,
    seed: int,
    gradient_checkpointing: bool = False,
) -> CausalLM:
    """Base in `precision`; the adapter in float32 (float64 where the base is), seeded."""
    model = load_base(base_dir, dtype=DTYPES[precision], attention=attention.NAME).to(device)
    if gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return attach(model, adapter, seed=seed)


def attach(model: Any, adapter: AdapterSpec, *, seed: int) -> CausalLM:
    """Put a fresh, seeded adapter on a loaded base. Raises UserFault where it does not fit."""
    torch.manual_seed(seed)
    try:
        peft_model = get_peft_model(model, _lora_config(adapter))
    except ValueError as error:
        raise UserFault(
            "bad_adapter",
            f"The adapter does not fit the base: {error}",
            param="adapter.targets",
            fix='Name linear layers of the base, such as "q_proj", or use "all-linear".',
        ) from error
    _refuse_trained_head(peft_model)
    lora.quicken(peft_model)
    return CausalLM(peft_model)


def _refuse_trained_head(peft_model: PeftModel) -> None:
    """The loss takes the head as frozen; peft's all-linear leaves it out, a name may not."""
    base: Any = peft_model.get_base_model()
    head = base.get_output_embeddings()
    if not isinstance(head, nn.Linear) or head.weight.requires_grad:
        raise UserFault(
            "head_is_target",
            "The output head cannot carry an adapter.",
            param="adapter.targets",
            fix='Leave the head out of the targets, or use "all-linear".',
        )


def _lora_config(spec: AdapterSpec) -> LoraConfig:
    targets = spec.targets if isinstance(spec.targets, str) else list(spec.targets)
    return LoraConfig(
        r=spec.r,
        lora_alpha=int(spec.alpha) if spec.alpha == int(spec.alpha) else spec.alpha,  # type: ignore[arg-type]
        lora_dropout=spec.dropout,
        target_modules=targets,
        use_dora=spec.use_dora,
        use_rslora=spec.use_rslora,
        bias="none",
        task_type="CAUSAL_LM",
    )


def _head_math(config: Any) -> HeadMath:
    """What a few architectures do to their logits after the head."""
    scale = getattr(config, "logit_scale", None) or 1.0  # Cohere
    scale /= getattr(config, "logits_scaling", None) or 1.0  # Granite
    return HeadMath(scale=scale, softcap=getattr(config, "final_logit_softcapping", None))
