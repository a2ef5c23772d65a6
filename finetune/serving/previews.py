"""Rows as a base will see them in training: its tokenizer is read for it, its weights are not."""

from functools import lru_cache
from pathlib import Path
from typing import cast

from finetune.records.check.spec import CheckSpec, Overflow
from finetune.records.pieces import Preview
from finetune.records.preview import Previewer
from finetune.records.rows import Row
from finetune.records.thinking import Thinking
from finetune.serving.bases import check_folder
from finetune.serving.protocol import PreviewRequest

KEPT = 2  # tokenizers; a large vocabulary takes a hundred megabytes


class Previews:
    def __init__(self) -> None:
        self._previewer = lru_cache(KEPT)(_previewer)

    def of(self, request: PreviewRequest) -> Preview:
        """Raises UserFault `no_tokenizer`, OurFault `base_missing`, `base_mismatch`."""
        settings = request.max_length, request.overflow, request.thinking
        previewer = self._previewer(request.base_path, request.base_digest, *settings)
        return previewer.preview(cast(Row, request.row), request.row_format)


def _previewer(
    base_path: str,
    base_digest: str,
    max_length: int | None,
    overflow: Overflow,
    thinking: Thinking,
) -> Previewer:
    base_dir = Path(base_path)
    check_folder(base_dir, base_digest)
    spec = CheckSpec(
        source=base_dir,
        source_name="",
        max_length=max_length,
        overflow=overflow,
        thinking=thinking,
    )
    return Previewer.of(spec, base_dir)
