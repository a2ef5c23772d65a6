"""What goes with what: settings that are refused together, and settings of which one gives way.

Asked when a job is made, and again of a spec by hand; docs/reference/settings-together.md is made
of these tables.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from faults import UserFault
from finetune.trainer.spec import RunSpec

Asked = TypeVar("Asked")


@dataclass(frozen=True)
class Clash(Generic[Asked]):
    """Two settings, as a request names them, that are refused together; `param` is the one to
    change."""

    settings: tuple[str, str]
    param: str
    holds: Callable[[Asked], bool]
    reason: str
    fix: str
    code: str = "settings_clash"


@dataclass(frozen=True)
class Yielding:
    """Where `first` is in use, `second` is not what was asked, and the result is in order."""

    settings: tuple[str, str]
    holds: Callable[[RunSpec], bool]
    told: str


@dataclass(frozen=True)
class Way:
    """A setting at a value other than its default, as a spec has it."""

    name: str
    spec: dict[str, Any]


CLASHES: tuple[Clash[RunSpec], ...] = (
    Clash(
        ("adapter.init_lora_weights: olora, pissa, pissa_niter_N", "adapter.dropout"),
        "adapter.dropout",
        lambda spec: spec.adapter.begins_in_the_base and spec.adapter.dropout > 0,
        "An adapter that begins as a part of the base cannot have dropout: its mask would take "
        "that part from the model and leave what takes it off.",
        "Leave `adapter.dropout` out, or begin with `default` or `gaussian`.",
    ),
)

_TWICE = (
    "A step computes each text twice, once for the loss and once for its gradient, and what is "
    "drawn by lot would make them two vectors."
)
# Of a family whatever else is asked, so that they are of no two settings
OF_FAMILIES: tuple[Clash[RunSpec], ...] = (
    Clash(
        ("family: embedding", "adapter.dropout"),
        "adapter.dropout",
        lambda spec: spec.family == "embedding" and spec.adapter.dropout > 0,
        _TWICE,
        "Leave `adapter.dropout` out.",
    ),
    Clash(
        ("family: embedding", "neftune_noise_alpha"),
        "neftune_noise_alpha",
        lambda spec: spec.family == "embedding" and spec.neftune_noise_alpha > 0,
        _TWICE,
        "Leave `neftune_noise_alpha` out.",
    ),
    Clash(
        ("family: embedding", "packing"),
        "packing",
        lambda spec: spec.family == "embedding" and spec.packing,
        "Texts that become vectors are laid out one by one: an encoder looks ahead.",
        "Leave `packing` out.",
    ),
    Clash(
        ("family: reranking", "neftune_noise_alpha"),
        "neftune_noise_alpha",
        lambda spec: spec.family == "reranking" and spec.neftune_noise_alpha > 0,
        "There is no noise on a reranker's embeddings.",
        "Leave `neftune_noise_alpha` out.",
    ),
    Clash(
        ("family: reranking", "packing"),
        "packing",
        lambda spec: spec.family == "reranking" and spec.packing,
        "Pairs are laid out one by one: an encoder looks ahead.",
        "Leave `packing` out.",
    ),
)

YIELDINGS = (
    Yielding(
        ("adapter.dropout, neftune_noise_alpha", "share_prefixes"),
        lambda spec: spec.draws and spec.share_prefixes,
        "rows that begin alike share no states: each draws its own",
    ),
    Yielding(
        ("adapter.dropout, neftune_noise_alpha", "lanes"),
        lambda spec: spec.draws and spec.lanes > 1,
        "one lane works: what is drawn comes from one generator, in the rows' order",
    ),
    Yielding(
        ("device: cuda", "lanes"),
        lambda spec: spec.device == "cuda" and spec.lanes > 1,
        "one lane works",
    ),
)

WAYS = (
    Way("packing", {"packing": True, "max_length": 256}),
    Way("gradient_checkpointing", {"gradient_checkpointing": True}),
    Way("lanes", {"lanes": 2}),
    Way("stability: watched", {"stability": "watched"}),
    Way("deterministic", {"deterministic": True}),
    Way("adapter.use_dora", {"adapter": {"use_dora": True}}),
    Way("adapter.use_rslora", {"adapter": {"use_rslora": True}}),
    Way("adapter.dropout", {"adapter": {"dropout": 0.1}}),
    Way("adapter.init_lora_weights: gaussian", {"adapter": {"init_lora_weights": "gaussian"}}),
    Way("adapter.init_lora_weights: olora", {"adapter": {"init_lora_weights": "olora"}}),
    Way("adapter.init_lora_weights: pissa", {"adapter": {"init_lora_weights": "pissa_niter_4"}}),
    Way("optimizer.loraplus_lr_ratio", {"optim": {"loraplus_lr_ratio": 4.0}}),
    Way("neftune_noise_alpha", {"neftune_noise_alpha": 5.0}),
)


def with_ways(*ways: Way, **more: Any) -> RunSpec:
    """A spec with all of them."""
    merged: dict[str, Any] = {"adapter": {"r": 4}}
    for each in (*(way.spec for way in ways), more):
        for name, value in each.items():
            known = merged.get(name)
            merged[name] = known | value if isinstance(known, dict) else value
    return RunSpec.model_validate(merged)


def require_together(spec: RunSpec) -> None:
    """Raises UserFault `settings_clash` for the first two that do not go together."""
    refuse(spec, (*CLASHES, *OF_FAMILIES))


def refuse(asked: Asked, clashes: Iterable[Clash[Asked]]) -> None:
    """Raises UserFault for the first that holds."""
    for clash in clashes:
        if clash.holds(asked):
            raise UserFault(clash.code, clash.reason, param=clash.param, fix=clash.fix)
