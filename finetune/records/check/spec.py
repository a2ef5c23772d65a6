"""What a check is told and what it reports. Both are JSON files in the check's folder."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from finetune.records.check.codes import Severity
from finetune.records.thinking import Thinking

RowFormat = Literal[
    "chat",
    "completion",
    "alpaca",
    "sharegpt",
    "fengshenbang",
    "text",
    "preference",
    "chosen",
    "prompt",
    "rated",
    "retrieval",
    "scored",
]
Format = Literal["auto", RowFormat, "csv", "parquet"]
Overflow = Literal["refuse", "drop", "cut", "chunk"]
Container = Literal["jsonl", "text", "csv", "parquet"]
Compression = Literal["none", "gzip", "zstd"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Strict):
    """What a file may ask of the check. `decoded_bytes` counts what comes out of gzip, zstd or
    Parquet, while it comes out: a few kilobytes can unpack to terabytes."""

    decoded_bytes: PositiveInt = 8 * 2**30
    line_bytes: PositiveInt = 16 * 2**20
    rows: PositiveInt = 20_000_000
    listed: PositiveInt = 1000


LONGEST_DEFAULT = 2048  # tokens a row; longer ones are trained on request


def longest_by_default(context_length: int) -> int:
    """Tokens a row may have where nothing was asked."""
    return min(context_length, LONGEST_DEFAULT)


class CheckSpec(_Strict):
    """`workers`: processes that read a large file; their number changes nothing of the report.
    `compare_with`: canonical rows of the other set (training against validation). `columns`:
    field of a format -> what the file calls it."""

    source: Path
    source_name: str
    format: Format = "auto"
    tokenizer_dir: Path | None = None
    max_length: PositiveInt | None = None
    overflow: Overflow = "refuse"
    thinking: Thinking = "each"
    columns: dict[str, str] = {}
    compare_with: Path | None = None
    workers: PositiveInt = 1
    limits: Limits = Limits()


class Problem(_Strict):
    """`line`: of the unpacked file, or the row of a Parquet file, from 1; None: the whole file.
    `values`: the numbers and names in `message`, by what they are."""

    line: int | None
    field: str | None
    code: str
    severity: Severity
    message: str
    fix: str
    values: dict[str, str | int] = {}


class LengthBin(_Strict):
    """Rows with more tokens than the bin before and at most `up_to`."""

    up_to: int
    rows: int


class CheckReport(_Strict):
    """The reading of the whole file. Equal bytes, spec and tokenizer give an equal report.

    `rows` counts what the file holds, usable or not; tokens are those of the usable rows, after
    cutting; `trained` are the tokens that are labels.
    """

    ok: bool
    source_name: str
    columns: dict[str, str] = Field(description="the mapping by which the file was read")
    container: Container | None
    compression: Compression
    format: RowFormat | None
    rows: int
    rows_usable: int
    rows_dropped: int
    rows_cut: int
    tokens_total: int | None = Field(description="None without a tokenizer")
    tokens_trained: int | None
    thinking: dict[str, int] | None = Field(
        default=None,
        description="answers by whether their prompt asks for thinking; None: the base knows none",
    )
    packs: int | None = Field(
        default=None,
        description="packs of max_length tokens that the rows make; None: not told, or no limit",
    )
    good: int | None = Field(
        default=None, description="rated rows whose answer is good; None: they are not rated"
    )
    chunks: int | None = Field(
        default=None, description="records that documents were cut into; None: they were not"
    )
    longest_row: int | None = Field(
        default=None, description="tokens of the longest row used, all its sequences, after cutting"
    )
    lengths: list[LengthBin]
    length_percentiles: dict[str, int]
    duplicates: int
    overlap: int | None = Field(description="rows that are in compare_with too")
    errors: int
    warnings: int
    problem_counts: dict[str, int]
    problems: list[Problem]
    source_bytes: int
    decoded_bytes: int
    rows_bytes: int
    tokens_bytes: int = Field(default=0, description="of the frozen token ids; 0: there are none")
    source_sha256: str
    rows_sha256: str

    @property
    def records(self) -> int:
        """What training takes one by one: the usable rows, or the chunks of documents."""
        return self.rows_usable if self.chunks is None else self.chunks

    def figures(self) -> dict[str, Any]:
        """What may stand in the clear: counts, codes and one line number, no word of the file's.

        The problems quote rows and name the customer's own keys; they go to the vault. The mapping
        stands with the reading, and goes with the file.
        """
        figures = self.model_dump(mode="json", exclude={"problems", "source_name", "columns"})
        first = next((each for each in self.problems if each.severity == "error"), None)
        return figures | {
            "first_error": {"code": first.code, "line": first.line} if first else None
        }
