"""What the child that mines is told and what it reports: JSON files in the work's folder."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveInt

from finetune.mining.negatives import MiningOptions


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Vectors(_Strict):
    """`file`: float32, little-endian, [texts, dimensions], of the listed texts in their order."""

    file: Path
    dimensions: PositiveInt


class MiningSpec(_Strict):
    """`rows`: canonical rows of queries and answers; `corpus`: canonical rows of texts. `vectors`
    None: the texts that are to be embedded are listed, else the negatives are found. `most_texts`,
    `most_bytes`: of the new file, beyond which it is refused."""

    rows: Path
    corpus: Path | None = None
    vectors: Vectors | None = None
    options: MiningOptions = MiningOptions()
    most_texts: PositiveInt
    most_bytes: PositiveInt


class ListReport(_Strict):
    texts: int


class MiningReport(_Strict):
    """Figures and no word of the file's. `rows_by_negatives`: rows by how many each was given;
    `skipped`: candidates by the filter that left them out."""

    rows: int
    queries: int
    documents: int
    negatives: int
    rows_by_negatives: dict[int, int]
    skipped: dict[str, int]
    rows_sha256: str
    rows_bytes: int
