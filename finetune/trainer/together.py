"""Which settings do not go together, and why: asked when a job is made, and again of a spec by
hand."""

from collections.abc import Callable
from dataclasses import dataclass

from faults import UserFault
from finetune.trainer.spec import RunSpec


@dataclass(frozen=True)
class Clash:
    """`settings` as a request names them; `param` is the one to change."""

    settings: tuple[str, str]
    param: str
    holds: Callable[[RunSpec], bool]
    reason: str
    fix: str


CLASHES = (
    Clash(
        ("adapter.init_lora_weights: olora, pissa, pissa_niter_N", "adapter.dropout"),
        "adapter.dropout",
        lambda spec: spec.adapter.begins_in_the_base and spec.adapter.dropout > 0,
        "An adapter that begins as a part of the base cannot have dropout: its mask would take "
        "that part from the model and leave what takes it off.",
        "Leave `adapter.dropout` out, or begin with `default` or `gaussian`.",
    ),
)


def require_together(spec: RunSpec) -> None:
    """Raises UserFault `settings_clash` for the first two that do not."""
    for clash in CLASHES:
        if clash.holds(spec):
            raise UserFault("settings_clash", clash.reason, param=clash.param, fix=clash.fix)
