"""What an objective tells the loop: what it takes and needs, and the sums of a micro-batch, never
means. No torch is needed to read this page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from finetune.families.contract import FamilyName
from finetune.records.check.spec import Overflow, RowFormat
from finetune.records.kinds import Item, RecordKind

if TYPE_CHECKING:
    from torch import Tensor

Need = Literal["reference", "reward_model", "generation"]
"""The likelihood of each sequence by the base alone, as its item's `reference` (see
`finetune.trainer.reference`); a model that scores answers; answers of the model's."""


class Ask(Protocol):
    """How likely sequences are, without a gradient: [nats] of each item's. `longest`: tokens that
    one may have."""

    @property
    def longest(self) -> int: ...

    def __call__(self, items: Sequence[Item], /, *, plain: bool = False) -> list[tuple[float, ...]]:
        """`plain`: by the base alone."""
        ...


@dataclass(frozen=True)
class Placed:
    """Of an item among the rows of its step: its share of the step's loss, that share's gradient by
    its sequences' vectors [sequences, dimensions], and its metrics by name."""

    loss: float
    gradient: "Tensor"
    metrics: Mapping[str, float] = field(default_factory=dict)


class Embed(Protocol):
    """Items' vectors as the model makes them now, without a gradient: [sequences, dimensions] of
    all their sequences, end to end."""

    def __call__(self, items: Sequence[Item], /) -> "Tensor": ...


class Settings(BaseModel):
    """What an objective can be told, with its defaults: numbers and words."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Sums:
    """Of one micro-batch. `loss` [nats, summed] carries the graph, and `weight` is what a step's
    loss and gradient are divided by; `metrics`: by name (sum, what it is divided by)."""

    loss: "Tensor"
    weight: float
    metrics: "Mapping[str, tuple[Tensor, float]]" = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """A figure besides the loss, called `train_<name>` of a step and `valid_<name>` of an
    evaluation, unless OpenAI's wire calls it otherwise there; or of steps only. `between`: it is no
    quotient of sums but the first of these figures less the second."""

    name: str
    valid_name: str | None = None
    between: tuple[str, str] | None = None
    evaluated: bool = True

    @property
    def train_column(self) -> str:
        return f"train_{self.name}"

    @property
    def valid_column(self) -> str:
        return f"valid_{self.valid_name or self.name}"


@dataclass(frozen=True)
class Objective:
    """`sums` takes a model, a batch that it laid out, and the batch's items: their sequences, end
    to end, are the batch's."""

    name: str
    records: RecordKind
    sums: Callable[[Any, Any, Sequence[Item]], Sums]
    metrics: tuple[Metric, ...] = ()
    needs: frozenset[Need] = frozenset()
    guessing: Callable[[Any], float] | None = None  # the loss of a model that knows nothing
    # Of each item of a batch, apart: its loss [nats, summed], and what `sums` divides it by
    each: Callable[[Any, Any, Sequence[Item]], Sequence[tuple[float, float]]] | None = None
    # What all rows of a step have in common, which no micro-batch can tell: each item has it as
    # `common`. Rows held out are taken as steps of the same size, in the file's order
    common: Callable[[Sequence[Any], Ask], float] | None = None
    # Where a row's loss is of the step's other rows, too: what each row is among them. Then `sums`
    # finds it as each item's `known`, a micro-batch's gradient is exact whatever is in it, and a
    # step may have more rows than stand in memory at once (Gao et al. 2021, GradCache)
    together: Callable[[Sequence[Any], Embed], Sequence[Placed]] | None = None
    # Of each pair of a batch, whether the model favours what is preferred
    favours: Callable[[Any, Any, Sequence[Item]], Sequence[bool]] | None = None
    family: FamilyName = "causal_lm"  # whose models compute it
    shown: Callable[[Item], Item] | None = None  # an item as it is laid out, where not as it is
    formats: frozenset[RowFormat] | None = None  # that it takes of its kind of record; None: all
    overflow: Overflow = "refuse"  # what becomes of long records where nothing else is asked
    settings: type[Settings] | None = None  # what `sums` and `each` take under that name
    # Settings say how rows are rearranged before they are laid out (`PretrainSettings.holes`), and
    # change no sums
    rearranges: bool = False
    fewest: int = 1  # rows that a step may have
    rate: float = 1.0  # of the base's learning rate: what suits this objective
    # What it measures with settings, where that follows from them
    measures: Callable[[Any], tuple[Metric, ...]] | None = None

    def told(self, values: Mapping[str, Any]) -> "Objective":
        """This objective with these settings. Raises pydantic's ValidationError."""
        if self.settings is None:
            return self
        settings = self.settings.model_validate(values)
        if self.rearranges:
            return self
        sums: Callable[..., Sums] = self.sums
        each: Callable[..., Any] | None = self.each
        together: Callable[..., Any] | None = self.together
        if together is not None:  # what the rows are to each other is all that settings change
            return replace(self, together=partial(together, settings=settings))
        return replace(
            self,
            sums=partial(sums, settings=settings),
            each=partial(each, settings=settings) if each else None,
            metrics=self.measures(settings) if self.measures else self.metrics,
        )

    @property
    def train_columns(self) -> tuple[str, ...]:
        return ("train_loss", *(metric.train_column for metric in self.metrics))

    @property
    def valid_columns(self) -> tuple[str, ...]:
        evaluated = (metric.valid_column for metric in self.metrics if metric.evaluated)
        return ("valid_loss", *evaluated)
