"""Rows as a base will see them in training: its tokenizer is read for it, its weights are not.

Only the tokenizer is kept. Whatever encodes a row remembers words of it, and they are a tenant's.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from finetune.records.check.spec import CheckSpec
from finetune.records.encode import load_tokenizer
from finetune.records.infilling import holes_in_all
from finetune.records.pieces import Preview
from finetune.records.preview import Previewer
from finetune.records.rows import Row
from finetune.serving.bases import check_folder
from finetune.serving.protocol import PreviewRequest

KEPT = 2  # tokenizers; a large vocabulary takes a hundred megabytes


class Previews:
    def __init__(self) -> None:
        self._tokenizer = lru_cache(KEPT)(_tokenizer)

    def of(self, request: PreviewRequest) -> Preview:
        """Raises UserFault `no_tokenizer`, `cannot_infill`, `no_document`, OurFault `base_missing`,
        `base_mismatch`."""
        base_dir = Path(request.base_path)
        spec = CheckSpec(
            source=base_dir,
            source_name="",
            tokenizer_dir=base_dir,
            max_length=request.max_length,
            overflow=request.overflow,
            thinking=request.thinking,
        )
        previewer = Previewer.of(spec, self._tokenizer(base_dir, request.base_digest))
        holes = holes_in_all(request.fim, request.fim_cut)
        return previewer.preview(cast(Row, request.row), request.row_format, holes)


def _tokenizer(base_dir: Path, digest: str) -> Any:
    check_folder(base_dir, digest)
    return load_tokenizer(base_dir)
