"""The passport of an artifact: what it was made from, how, and how good it is (`passport.json`)."""

import re
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from finetune.families.contract import Precision


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BaseUsed(_Part):
    """The base that the adapter was trained on and needs; where it comes from is told if it is a
    public place, and a path of the operator's never."""

    name: str
    digest: str
    licence: str
    hub_id: str | None = None
    revision: str | None = None
    architecture: str
    parameters: int


_HUB = re.compile(r"(?P<hub_id>[\w.-]+/[\w.-]+)@(?P<revision>[0-9a-f]{40})")


def hub_place(source: str) -> dict[str, str]:
    """`hub_id` and `revision` of a catalogue's `source` that is a download: `owner/name@commit`."""
    found = _HUB.fullmatch(source)
    return found.groupdict() if found else {}


class DatasetUsed(_Part):
    """One file of training or validation rows, by digest; never its content.

    `rows_sha256` is the digest of the canonical rows that were read from it, as the run's spec has
    it, and `columns` the mapping by which they were, field -> what the file calls it: one file read
    in two ways is two sets of rows. None: not told by older artifacts, or without a mapping.
    `weight`: how often an epoch took each row, where there were several files to train.
    """

    role: Literal["train", "validation"]
    name: str
    sha256: str
    rows_sha256: str | None = None
    columns: dict[str, str] | None = None
    rows: int
    tokens: int | None = None
    trained_tokens: int | None = None
    weight: float | None = None


class AncestorData(_Part):
    """Rows that an ancestor was trained on or held against, by digest."""

    role: Literal["train", "validation"]
    sha256: str
    rows_sha256: str | None = None
    rows: int
    trained_tokens: int | None = None


class Ancestor(_Part):
    """A model that training went on from: its weights were the start. `adapter_sha256` of those,
    which are a checkpoint's where there is a `step`; `digest` of the whole model's bundle."""

    model: str
    digest: str
    adapter_sha256: str
    step: int | None = None
    method: str
    steps: int
    trained_tokens: int | None = None
    datasets: list[AncestorData] = []


class SplitUsed(_Part):
    """The training file was split: so many of its rows were trained, and the others kept apart for
    validation. `sha256` is of their numbers in it, from 0, in decimal with a line break each;
    `clusters`: sets of rows that belong together and stay on one side."""

    share: float
    seed: int
    training_rows: int
    validation_rows: int
    clusters: int
    sha256: str


class Change(_Part):
    """Of the validation loss by training, row by row: the mean's change in nats per trained token,
    its 95% interval (bootstrap over rows) and the p of the paired permutation test, two-sided."""

    rows: int
    difference: float
    interval: tuple[float, float] | None = None
    p_value: float


class Accuracy(_Part):
    """Of a reward model: the share of pairs whose preferred answer scores higher, and its 95%
    interval (Wilson)."""

    accuracy: float
    interval: tuple[float, float]


class Preferences(_Part):
    """Over the pairs held out: as training began, under a head drawn by lot unless it went on from
    a reward model, and after it; their difference with its 95% interval (bootstrap over pairs) and
    the p of the paired permutation test, two-sided."""

    pairs: int
    before: Accuracy
    after: Accuracy
    difference: float
    interval: tuple[float, float] | None = None
    p_value: float


class CurvePoint(_Part):
    """The validation loss after the same training on so many of the rows."""

    rows: int
    loss: float


class CurveAhead(_Part):
    """At `factor` times the training rows: the loss, and how far it is below today's; medians and
    95% intervals of the power laws that agree with the points."""

    factor: int
    rows: int
    loss: float
    interval: tuple[float, float]
    gain: float
    gain_interval: tuple[float, float]


class CurveNeeded(_Part):
    """Training rows until the loss; null: not within a thousand times the rows."""

    loss: float
    rows: int | None
    interval: tuple[int | None, int | None]


class LearningCurve(_Part):
    """What more rows would bring: `outlook` is `falls`, `flat`, `rises`, `unsure` or `too_few`
    (points). `trained_tokens`: of the smaller trainings, beside the result's own."""

    model_config = ConfigDict(extra="ignore", frozen=True)  # the report tells more of each training

    points: list[CurvePoint]
    outlook: str
    ahead: list[CurveAhead]
    needed: list[CurveNeeded]
    trained_tokens: int


class Evaluation(_Part):
    """Mean losses in nats per trained token; `base_` is the base without the adapter, and `start_`,
    in its place where training went on from a model, that model.

    `validation_rows_in_training`: validation rows that stand in the training rows, too, over which
    a loss says nothing of new data. None: not told by older artifacts, or there are none, as with
    `validation_change`.
    """

    train_loss: float | None = None
    validation_loss: float | None = None
    base_validation_loss: float | None = None
    start_validation_loss: float | None = None
    validation_rows: int | None = None
    validation_rows_in_training: int | None = None
    validation_change: Change | None = None
    preferences: Preferences | None = None  # of a reward model alone
    learning_curve: LearningCurve | None = None  # of a job that asked for one
    metrics: dict[str, float] = {}


class Parity(_Part):
    """The packed files, loaded by plain peft, against the adapter as it was trained: the largest
    differences of log-probabilities in nats over a probe of `tokens` tokens, of the base alone in
    `base_diff`; `moved` is how far training took the base."""

    tokens: int
    max_abs_diff: float
    base_diff: float | None = None  # not told by older artifacts
    moved: float
    same_top_token: bool


class Receipt(_Part):
    """What the training took, and in `expected` what was expected when it began: of the trained
    tokens, steps, seconds of its steps and peak memory in MB. Null: not known."""

    trained_tokens: int
    steps: int
    training_seconds: float
    peak_memory_mb: int
    expected: dict[str, float | None] | None = None


class RecipeUsed(_Part):
    """Of a base that makes vectors: how a text becomes one. `prompts`: by name, what stands before
    a text."""

    pooling: str
    normalize: bool
    max_length: int
    prompts: dict[str, str] = {}
    default_prompt: str | None = None


class RankingUsed(_Part):
    """Of a base that ranks: how a query and a document become a score."""

    max_length: int
    segments: bool
    sigmoid: bool


class Passport(_Part):
    format: Literal["privatune-passport/1"] = "privatune-passport/1"
    name: str
    tenant: str
    created: AwareDatetime
    code_version: str
    base: BaseUsed
    datasets: list[DatasetUsed]
    split: SplitUsed | None = None  # None: validation rows are of a file, or there are none
    family: str
    recipe: RecipeUsed | None = None  # None: the base makes no vectors
    ranking: RankingUsed | None = None  # None: the base does not rank
    method: str  # the objective that ran; this key of the format is older than the word
    hyperparameters: dict[str, Any]
    seed: int
    precision: Precision
    # How the training was kept apart on its machine, the weakest of its attempts; None: not told
    isolation: Literal["bubblewrap", "namespaces", "none"] | None = None
    # What its prompts print as today's date, where the base's chat template writes one; None: it
    # writes none, or an older artifact, whose template has that day all the same
    printed_day: str | None = None
    # Whether every operation of the training had a deterministic algorithm, and which had none, in
    # torch's words: the same job may then end in other last bits. None: not told by older artifacts
    deterministic: bool | None = None
    nondeterministic: list[str] = []
    # Blow-ups of the training that were rolled back, the training rows left out for them (counted
    # from 1) and what the planned rate was lowered by; None: not told by older artifacts
    rollbacks: int | None = None
    skipped_rows: list[int] = []
    rate_factor: float | None = None
    steps: int
    epochs: float
    seconds: float | None = None
    receipt: Receipt | None = None  # None: an older artifact
    evaluation: Evaluation = Evaluation()
    parents: list[str] = []  # name of the model that training went on from
    lineage: list[Ancestor] = []  # that model and those before it, the oldest first
    parity: dict[str, Parity] = {}
