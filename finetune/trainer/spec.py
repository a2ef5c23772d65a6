"""RunSpec: all that a training process is told, with every choice made before it starts.

The spec is part of the result's identity: two runs with equal spec, base digest and data digests
end in the same bytes on the same machine type. There is no "auto" in it.
"""

from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import AliasChoices, Field, PositiveFloat, PositiveInt

from finetune.families.contract import AdapterSpec, Device, FamilyName, Precision
from finetune.families.growing import Growing
from finetune.records.thinking import Thinking

Stability = Literal["watched", "off"]
ROLLOUTS = "rollouts"  # in a RUN_DIR: what steps have drawn; named here, where no torch is needed


class OptimSpec(Growing):
    """AdamW with linear warm-up and cosine decay to zero. `loraplus_lr_ratio`: so many times the
    rate for B (LoRA+, Hayou et al. 2024)."""

    always_written: ClassVar = frozenset(
        [
            "learning_rate",
            "beta1",
            "beta2",
            "eps",
            "weight_decay",
            "warmup_ratio",
            "schedule",
            "max_grad_norm",
        ]
    )

    learning_rate: PositiveFloat = 2e-4
    beta1: float = 0.9
    beta2: float = 0.999
    eps: PositiveFloat = 1e-8
    weight_decay: float = Field(default=0.0, ge=0)
    warmup_ratio: float = Field(default=0.03, ge=0, le=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    max_grad_norm: PositiveFloat = 1.0
    loraplus_lr_ratio: float = Field(default=1.0, ge=1)


class FurtherData(Growing):
    """Another file of rows to train; see DataSpec."""

    always_written: ClassVar = frozenset({"train", "train_sha256", "weight"})

    train: str
    train_sha256: str | None = None
    train_tokens_sha256: str | None = None
    weight: PositiveFloat = 1.0


class DataSpec(Growing):
    """Paths are relative to the run folder; rows are canonical (see finetune.records).

    `weight`: how often an epoch takes each row of `train`, where there are further files. Below 1
    it takes a share of them, other ones each epoch, until all were taken.
    """

    always_written: ClassVar = frozenset(["train", "valid", "train_sha256", "valid_sha256"])

    train: str = "data/train.jsonl"
    valid: str | None = None
    train_sha256: str | None = None
    valid_sha256: str | None = None
    # Of the frozen token ids beside `train` and `valid` (`tokens_of`), where the rows were encoded
    # when they were checked; only these are then read
    train_tokens_sha256: str | None = None
    valid_tokens_sha256: str | None = None
    # Rows of `train` that are held out, as a JSON list of numbers from 0, and their digest
    # (`records.splitting.digest_of`)
    held_out: str | None = None
    held_out_sha256: str | None = None
    weight: PositiveFloat = 1.0
    further: tuple[FurtherData, ...] = ()

    @property
    def weights(self) -> tuple[float, ...]:
        """Of each file of rows to train."""
        return (self.weight, *(each.weight for each in self.further))


ADAPTER = "adapter_model.safetensors"  # of a checkpoint, a result or a start
OPTIMIZER = "optimizer.safetensors"  # of a checkpoint or a start
START = "start"  # folder of a run folder: the files of a `StartSpec`


def tokens_of(rows: Path) -> Path:
    """Where the token ids of a file of rows stand."""
    return rows.with_suffix(".tokens")


class Relief(Growing):
    """What a run goes on with after its memory was not enough, from its last checkpoint."""

    always_written: ClassVar = frozenset({"gradient_checkpointing", "micro_batch_tokens"})

    gradient_checkpointing: bool
    micro_batch_tokens: PositiveInt


class CurveSpec(Growing):
    """Parts of the rows to train, each within the next (`records.nesting`), that the same settings
    are trained on as well, once the run's own training has ended: for a learning curve."""

    always_written: ClassVar = frozenset({"parts", "sha256"})

    parts: str = "data/curve.json"
    sha256: str | None = None


class StartSpec(Growing):
    """An adapter that training goes on from, in `START` of the run folder: its weights, and the
    optimizer's state where it was asked for. Its rank, targets and kind are the spec's `adapter`.
    """

    always_written: ClassVar = frozenset({"adapter_sha256"})

    adapter_sha256: str
    optimizer_sha256: str | None = None


class RunSpec(Growing):
    """What to train, on what, and how. `batch_size` counts rows (packs, when packing) per
    optimizer step; `micro_batch_tokens` caps the tokens that stand in memory at once.

    `lanes`: a micro-batch's rows are dealt to so many, which share `threads`; how many of them work
    at once follows from the machine and changes no bit.
    """

    always_written: ClassVar = frozenset(
        [
            "version",
            "family",
            "objective",
            "base",
            "base_digest",
            "base_name",
            "data",
            "adapter",
            "optim",
            "epochs",
            "batch_size",
            "micro_batch_tokens",
            "max_length",
            "packing",
            "share_prefixes",
            "seed",
            "precision",
            "device",
            "threads",
            "gradient_checkpointing",
            "eval_every",
            "save_every",
            "early_stop_patience",
            "keep",
        ]
    )

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
    thinking: Thinking = "each"
    packing: bool = False
    share_prefixes: bool = True  # rows that begin alike are computed once (same sums; see layout)
    seed: int = 0
    precision: Precision = "fp32"
    device: Device = "cpu"
    threads: PositiveInt | None = None
    lanes: PositiveInt = 1
    gradient_checkpointing: bool = False
    deterministic: bool = False  # True: an operation that has no fixed order of sums ends the run
    eval_every: PositiveInt | None = None  # optimizer steps; None: at each epoch's end
    save_every: PositiveInt | None = None  # optimizer steps; None: at each epoch's end
    early_stop_patience: PositiveInt | None = None  # evaluations without a better loss
    keep: Literal["last", "best"] = "last"
    relief: Relief | None = None
    neftune_noise_alpha: float = Field(default=0.0, ge=0)  # of noise on embeddings; 0: none
    # watched: blow-ups are rolled back (see finetune.trainer.settling), so many times at most; off:
    # only a step that is not finite is passed over
    stability: Stability = "off"
    max_rollbacks: PositiveInt = 10
    settings: dict[str, float | str] = {}  # of the objective's own
    start: StartSpec | None = None  # None: a fresh adapter, seeded
    grader: dict[str, Any] | None = None  # in OpenAI's form, where completions are rewarded
    curve: CurveSpec | None = None  # None: nothing but the run's own training

    @property
    def draws(self) -> bool:
        """Whether steps draw by lot, from one generator in the rows' order: each row its own, so
        that rows share no states."""
        return self.adapter.dropout > 0 or self.neftune_noise_alpha > 0

    @property
    def in_memory(self) -> Relief:
        """How the training stands in memory from now on."""
        return self.relief or Relief(
            gradient_checkpointing=self.gradient_checkpointing,
            micro_batch_tokens=self.micro_batch_tokens,
        )

    @classmethod
    def read(cls, run_dir: Path) -> "RunSpec":
        return cls.model_validate_json((run_dir / "spec.json").read_bytes())

    @property
    def sha256(self) -> str:
        """Of its written form, which a version that adds fields leaves as it is: by it a checkpoint
        knows its spec. A relief is left out: the run that goes on with less memory is still this
        one."""
        written = self.model_copy(update={"relief": None}).model_dump_json()
        return sha256(written.encode()).hexdigest()

    def write(self, run_dir: Path) -> None:
        (run_dir / "spec.json").write_text(self.model_dump_json(indent=2), encoding="utf-8")
