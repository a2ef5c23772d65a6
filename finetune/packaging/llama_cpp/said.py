"""`python -m finetune.packaging.llama_cpp.said FOLDER`: what a GGUF file says, by llama.cpp alone,
in a process that has seen neither the weights it was made of nor the signing key.

FOLDER/asked.json has the rows; leaves FOLDER/said.safetensors and FOLDER/said.json.
"""

import os
import sys
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from finetune.lifeline import die_with_parent
from finetune.packaging.llama_cpp.native import Floats, Model, opened

ASKED, LOGITS, SAID = "asked.json", "said.safetensors", "said.json"


class AskedGguf(BaseModel):
    """`rows`: tokens; `answers`: what each shall go on with; `texts`: to be read as tokens;
    `stops`: tokens that end an answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path
    rows: list[list[int]]
    answers: list[list[int]]
    texts: list[str]
    stops: list[int]


class SaidGguf(BaseModel):
    """`gap`: by how much, of all tokens of the answers, the likeliest one's logit was beyond that
    of the answer's own; `unstopped`: stops that do not end an answer for llama.cpp."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    texts: list[list[int]]
    gap: float
    unstopped: list[int]


def main(folder: Path) -> None:
    from safetensors.numpy import save_file

    asked = AskedGguf.model_validate_json((folder / ASKED).read_bytes())
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    with opened(asked.model, threads=threads) as model:
        logits, gap = _logits(model, asked)
        told = SaidGguf(
            texts=[model.tokens(text) for text in asked.texts],
            gap=gap,
            unstopped=[token for token in asked.stops if not model.ends(token)],
        )
    save_file({"logits": logits}, folder / LOGITS)
    (folder / SAID).write_text(told.model_dump_json(), encoding="utf-8")


def _logits(model: Model, asked: AskedGguf) -> tuple[Floats, float]:
    """Those of the rows themselves, end to end."""
    found, gap = [], 0.0
    for row, answer in zip(asked.rows, asked.answers, strict=True):
        logits = model.logits(row + answer)
        found.append(logits[: len(row)])
        before = logits[len(row) - 1 : len(row) - 1 + len(answer)]
        if answer:
            chosen = before[np.arange(len(answer)), answer]
            gap = max(gap, float((before.max(axis=1) - chosen).max()))
    return np.concatenate(found), gap


if __name__ == "__main__":
    die_with_parent()
    main(Path(sys.argv[1]))
