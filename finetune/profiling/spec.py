"""What a profile or a scrub is told and what it reports: JSON files in the work's folder."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from finetune.profiling.personal import Kind
from finetune.records.check.spec import LengthBin

VERSION = 1  # of what is found: a profile by an older one is made anew when it is asked for
LISTED = 100_000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProfileSpec(_Strict):
    """`rows`: canonical rows; `against`: rows of the file that is held out, canonical or an
    evaluation's. `kinds` not None: the rows are written anew with these kinds masked, and
    nothing else is looked for."""

    rows: Path
    against: Path | None = None
    kinds: tuple[Kind, ...] | None = None
    listed: PositiveInt = LISTED


class Places(_Strict):
    """`rows` that have it, and how often in all."""

    rows: int
    places: int


class HeldOut(_Strict):
    """Rows of the other file whose question stands in this one, and rows of this one that ask what
    the other does."""

    rows: int
    equal: int
    near: int
    rows_here: int


class ProfileReport(_Strict):
    """Figures and no word of the file's. Numbers of rows are those of rows that can be used."""

    version: int = VERSION
    rows: int
    compared: int = Field(description="rows of which near repeats were looked for")
    equal: int = Field(description="rows that repeat an earlier one but for case, width and space")
    near: int = Field(description="rows that are nearly an earlier one")
    held_out: HeldOut | None = Field(description="None: profiled against no other file")
    lengths: list[LengthBin] = Field(description="rows by characters")
    length_percentiles: dict[str, int]
    scripts: dict[str, int] = Field(description="rows by the script of their letters")
    personal: dict[Kind, Places]
    tagged: int = Field(description="rows that have a tag")
    findings: int
    listed: int = Field(description="of the findings, the first so many are kept one by one")


class ScrubReport(_Strict):
    version: int = VERSION
    rows: int
    changed: int
    masked: dict[Kind, Places]
    rows_sha256: str
    rows_bytes: int
