"""RunSpec: all that a training process is told, with every choice made before it starts.

The spec is part of the result's identity: two runs with equal spec, base digest and data digests
end in the same bytes on the same machine type. There is no "auto" in it.
"""

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from finetune.families.contract import AdapterSpec, Device, FamilyName, Precision
from finetune.records.thinking import Thinking


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, serialize_by_alias=True)


class OptimSpec(_Strict):
    """AdamW with linear warm-up and cosine decay to zero."""

    learning_rate: PositiveFloat = 2e-4
    beta1: float = 0.9
    beta2: float = 0.999
    eps: PositiveFloat = 1e-8
    weight_decay: float = Field(default=0.0, ge=0)
    warmup_ratio: float = Field(default=0.03, ge=0, le=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    max_grad_norm: PositiveFloat = 1.0


class DataSpec(_Strict):
    """Paths are relative to the run folder; rows are canonical (see finetune.records)."""

    train: str = "data/train.jsonl"
    valid: str | None = None
    train_sha256: str | None = None
    valid_sha256: str | None = None


class RunSpec(_Strict):
    """What to train, on what, and how. `batch_size` counts rows (packs, when packing) per
    optimizer step; `micro_batch_tokens` caps the tokens that stand in memory at once.

    `lanes`: a micro-batch's rows are dealt to so many, which share `threads`; how many of them work
    at once follows from the machine and changes no bit.
    """

    version: Literal[1] = 1
    family: FamilyName = "causal_lm"
    # Written as `method`: jobs that wait and runs that are resumed have it under that key, and a
    # checkpoint holds the digest of the spec as it was written
    objective: str = Field(
        default="sft",
        validation_alias=AliasChoices("objective", "method"),
        serialization_alias="method",
    )
    base: str = "base"
    base_digest: str | None = None
    base_name: str = "base"
    data: DataSpec = DataSpec()
    adapter: AdapterSpec = AdapterSpec()
    optim: OptimSpec = OptimSpec()
    epochs: PositiveInt = 3
    batch_size: PositiveInt = 8
    micro_batch_tokens: PositiveInt = 2048
    max_length: PositiveInt = 1024
    # Not written where it is the default: see `lanes`
    thinking: Thinking = Field(default="each", exclude_if=lambda thinking: thinking == "each")
    packing: bool = False
    share_prefixes: bool = True  # rows that begin alike are computed once (same sums; see layout)
    seed: int = 0
    precision: Precision = "fp32"
    device: Device = "cpu"
    threads: PositiveInt | None = None
    # Not written where there is one: checkpoints hold the digest of the spec as it was written
    # before there were lanes
    lanes: PositiveInt = Field(default=1, exclude_if=lambda lanes: lanes == 1)
    gradient_checkpointing: bool = False
    eval_every: PositiveInt | None = None  # optimizer steps; None: at each epoch's end
    save_every: PositiveInt | None = None  # optimizer steps; None: at each epoch's end
    early_stop_patience: PositiveInt | None = None  # evaluations without a better loss
    keep: Literal["last", "best"] = "last"

    @classmethod
    def read(cls, run_dir: Path) -> "RunSpec":
        return cls.model_validate_json((run_dir / "spec.json").read_bytes())

    def write(self, run_dir: Path) -> None:
        (run_dir / "spec.json").write_text(self.model_dump_json(indent=2), encoding="utf-8")
